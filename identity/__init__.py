"""Floor 1: who is speaking, and by what right. It knows no other floor, and every floor knows it.

    ServerId 1.7.3 --is proven by--> certificates 1 -> 1.7 -> 1.7.3 --sign--> keys --sign--> everything else

In reading order:

    errors.py      the kinds of failure, each saying who must act
    names.py       (heart) ServerId, Reference, Position, Pattern: text, bytes, order
    encoding.py    the one canonical form of numbers and values, and the only reader of strangers' CBOR
    machine.py     the verbs that every machine of the upper floors speaks
    keys.py        one server's signing and exchange keys, and the file that holds them
    trust.py       certificates from parent to child, and what a chain of them proves
    tickets.py     one line of text by which a newcomer is let in once

Left to others: whom a proven server may ask for what (`node`), and every byte on disk or wire that is not a name, a
key, a certificate or a ticket.
"""
