"""Floor 1: who is speaking, and by what right.

Promise: every name, number and value has one canonical form; nothing is believed that a pinned root, through a chain
of certificates, did not give the speaker the right to say.

    ServerId 1.7.3 ---- certificate chain 1 -> 1.7 -> 1.7.3 ---- keys ---- signatures
         |                         |
    Reference 1.7.3/42        pinned root 1#fingerprint

Reading order:

    errors.py      the kinds of failure, each saying who must act
    machine.py     the verbs that every machine speaks
    encoding.py    extensible integers and strict CBOR
    names.py       (heart) ServerId, ObjectId, Reference, Position, Pattern
    keys.py        one server's key pairs, and the key file
    trust.py       certificates, and what a chain of them proves
    tickets.py     an invitation in one line

Left to others: who is where (`routing`), what may be done with an object (rights come with their own issue), and
everything that moves or is stored. This floor imports no other.
"""
