"""Floor 3: every mirror gets every update once and in its owner's order, sooner or later (DESIGN P3, section 7).

    commit, synced --> Flood --> UPDATE along the tree of its origin, VECTOR to the others, SENDME for what is missing
    UPDATE         --> Flood --> verified, chained, passed on --> Apply --> store --> GOT, VECTOR

Files, in reading order:

    messages    FEED FEEDOK DIGEST VECTOR SENDME UPDATE LAZY GOT REFUSE FORK; Apply and Report
    leaves      what is signed: leaf, Merkle root, head; the sealer that the store calls; verification
    coverage    what is durable here, in the order of names; digests of it
    chain       one feed as it grows here; what continues it, what is a fork, what a rollback
    feeds       what is known of one greeted neighbour; whom a live update is pushed
    spool       what these parts share
    flood       (heart) the machine: verbs, sessions, messages to parts
    intake      from a peer's update to the disk: verify, order, hand over, release
    telling     pushes, advertisements, regular vectors, a full queue
    catch_up    digests and vectors compared; what is missing is asked for
    serving     what others asked for, as fast as they granted
    forks       proofs of lying, kept and passed on
    status      what people are told
    routed      farther servers that are kept for a feed which no neighbour carries

    entries     vocabulary of the outbox: a change that waits, and every step it can take
    outbox      changes to others' objects, in order, until their owner has answered

What it leaves to others: whose key it is and what a chain of certificates proves (`node`'s directory, as callables),
what leaves mean (`store`), how messages travel (`transport`), who is greeted (`routing`, `node`).
"""
