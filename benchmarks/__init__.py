"""Ours and its peers, measured in one run, in turn; one file per area. `python -m benchmarks AREA --json`.

    store        commits against SQLite, with the number of syncs told
    transport    packets against aioquic and a bare socket
    routing      requests while a link is cut, in network namespaces (root, `ip`, `nft`); without them the rest of it
    replication  copies of each update, useless ones under churn, missing ones; by count, on virtual time
    simulator    servers and routers in one process, schedules a minute, virtual time by real time, equal traces

    netlab         a laboratory of network namespaces, whose links the kernel cuts; delay_line: links that take time
    diamond        four real servers in it; driver: the one that has a load beside it
    cuts           requests at 200/s while the link that they use is cut and healed
    moments        the gateway dies, hangs, goes blind; a link flaps; no way is left
    healing        simulated: pairs whose link was cut, and which are connected again

    flooding       Flood machines alone, on a small world of up to 1000 servers; schedules: whatever can break, by seed
    small_world    50 real nodes on such a graph, a third of them crashing and coming back
    kill_loop      kill -9 of a committing process, again and again: nothing answered may be missing
    crash_states   the same on a simulated disk that forgets what was not synced, at every write and sync of a store in
                   use; crash_lives: one state, recovered twice by the shipped code

Only ratios of one run count: the machine is shared and noisy. Each area has `measure(rounds=...) -> rows`.
"""
