"""The `bangpath` command: the same words as the Python API and HTTP, for people and scripts (DESIGN U2).

    bangpath @1.4 query 'Airport where country = "KE" limit 3' --json
              |    |     |                                      |
              |    |     the words of the command               NDJSON or JSON instead of a table
              |    the family's file below, loaded only when it is said
              a server of this machine (`where` finds its directory); or -C DIR

    exit code    0 done    1 refused or not found    2 usage    3 partial where whole was asked    4 unreachable

Promised: `--help` in less than 100 ms (nothing but click is loaded before a command is known); every error is a
sentence with its cause and the next step, never a traceback.

In reading order:

    main.py          entry, lazy loading, errors to exit codes
    where.py         which directory is meant
    output.py        tables, JSON, the options every command shares
    setting_up.py    init invite join run mesh
    showing.py       status peers servers feeds
    ways.py          route trace ping
    objects.py       put get update delete
    outbox.py        outbox
    asking.py        query explain complete
    importing.py     import
    exporting.py     export
    shaping.py       class mirror
    upkeep.py        check
    backing_up.py    backup restore archive
    securing.py      rekey

Left to others: what is said to a node (`node.client`), what runs (`node.opening`, `node.mesh`).
"""
