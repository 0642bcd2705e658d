"""Floor 3: which way to a server, per direction; and when there is none, that is said soon (DESIGN section 6).

    router.know(1.3, key, addresses)      from tickets, configuration, greetings, registry feeds
    router.want(1.3)            -->  Dial(address) .. Reached(connection) | Unreachable(since)
    router.route(1.3)           -->  Direct(connection) | Gateway(connection, path) | Nowhere(reason, since)

    1.1 ----x---- 1.2      Doubted: 1.1 asks 1.5, 1, 1.4: do you reach 1.2? 1.5 asks 1.2, has an answer, confirms.
      \\          /         Every packet to 1.2 goes by 1.5, sealed end to end, and a copy directly now and then, until
       `- 1.5 --'          1.2 says that it hears us directly again. The way back from 1.2 is 1.2's business.

Files, in reading order:

    neighbours   whom we hear and who hears us; the table of states; which of two crossing connections survives
    addresses    keys and addresses of servers, which one is tried next, how long to pause
    probes       vocabulary: FORWARD, LOST, PROBE, CONFIRM, SEEK, TRACE; the rules of a path
    ways         what the router puts out and answers
    table        verified routes, the best first, one as standby
    dialling     who is dialled, which connection is kept
    probing      contact lost: whom to ask, in rounds, farther each time
    inquiring    probes of others: yes only after a real answer of the target
    forwarding   packets of others, handed on or LOST
    seeking      a way over links that carry one way only, which no probe finds
    using        ways in use, and who may be asked
    mending      a session whose way is in doubt: gateway, standby, back to direct, unreachable
    timers       when each server is looked at again
    showing      what the router answers
    router       (heart) all of it: direct, by a gateway and direct, or nowhere

What it leaves to others: packets, handshakes, and seeing that nothing is acknowledged (`transport`), who is who
(`node`'s HELLO and directory), which addresses may be dialled and for whom packets are forwarded (`node`'s policies),
and what is done while somebody is unreachable.
"""
