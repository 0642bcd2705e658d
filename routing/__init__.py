"""Floor 3: which way to a server; and when there is none, that is said at once.

    router.know(1.3, key, addresses)      from tickets, configuration, greetings, registry feeds
    router.want(1.3)            -->  Dial(address) .. Reached(connection) | Unreachable(since)
    router.route(1.3)           -->  Direct(connection) | Nowhere(reason, since)

Files, in reading order:

    neighbours   whom we hear and who hears us; the table of states; which of two crossing connections survives
    table        keys and addresses of servers, which one is tried next, how long to pause
    ways         what the router puts out and answers
    router       (heart) dials, judges, answers: a pure machine

What it leaves to others: packets and handshakes (`transport`), who is who (`node`'s HELLO and directory), which
addresses may be dialled (`node`'s policy, as `may_dial`), and what is done while somebody is unreachable. Gateways
and probes come with the next issue.
"""
