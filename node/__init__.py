"""Floor 4: the floors put together; the only place where they meet.

      clients                        the same words: in process, HTTP, command
         |                                        |
    http  cli  client --> node.node (heart) --> lookup  federate
                             |                    |
        greeting  joining  directory     asking  requests  serving
                             |
                   dispatch  pump --> endpoint, outstanding, router, flood --> ports
                             |
                          applying --> store

In reading order:

    config.py       the file bangpath.toml, checked in one place
    running.py      what every group of words stands on
    switches.py     what only tests switch off
    observing.py    a seam for those who look on
    secrets.py      where a passphrase comes from: a file, the environment, a person
    opening.py      a server's directory: made, checked, opened in order, closed in the other
    node.py         (heart) one nursery, one pump, and the words people say to a server
    parts.py        the machines of a running node, wired
    dispatch.py     which machine takes which message: the one table
    pump.py         the loop: sockets, deadlines, outputs, datagrams
    blocking.py     links that are cut at our port, unknown to everything above it
    links.py        the same as words of the node
    sessions.py     connections become sessions with servers
    succession.py   sessions replaced by newer ones that have yet to greet
    greeting.py     who is on which connection
    joining.py      how a stranger becomes a server: tickets
    directory.py    every server known: keys, addresses, classes
    detours.py      ways by gateways, carried out
    dialling.py     which addresses are dialled at all
    inviting.py     tickets given out, newcomers certified
    admitting.py    the task that admits one
    newcomer.py     the newcomer's side of it
    adopting.py     a server that came back from a backup learns what it had signed since
    announcing.py   what this server tells the mesh of itself in its registry feed
    mirroring.py    which owners are mirrored or backed up, durably
    farther.py      farther servers kept for a feed that no neighbour carries
    applying.py     the one task that hands updates of others to the store
    requests.py     what servers ask each other (vocabulary)
    requesting.py   the asker's side: words that wait for an answer
    serving.py      the owner's side: answers to GET, QUERY, MODIFY
    owning.py       changes to own objects, by own people and by other servers
    changing.py     operations on own objects, within one transaction
    posting.py      changes of others' objects: asked at once, or left in the outbox
    delivering.py   the outbox made durable, and brought to the owners
    outcomes.py     what an owner's answer means for a change
    altering.py     the same as words of the node
    recorded.py     answers kept until their asker has them
    standpoint.py   what this server sees of the mesh, and how it asks the others
    watching.py     once a second, a look at how everything goes
    tracing.py      ways to others, as words of the node: route, trace, ping
    saying.py       the same as words of the node
    tending.py      the store looked at while it is in use: check, scrub
    answering.py    get and query as words of the node
    reporting.py    status, peers, servers, feeds, mirrors, classes: what a server says of itself
    asking.py       what a question sees of the node (vocabulary)
    wanted.py       how good an answer must be: consistency, max_age, after
    racing.py       several who may answer, one after another: the first good answer wins
    lookup.py       one question about one object
    language.py     the text form of a question, and the Python builder
    sentences.py    from the grammar's pieces (language.lark) to a question
    federate.py     a query over all owners, merged in order, with the completeness report
    tellers.py      who may tell one owner's rows, and in which order
    fan_out.py      its shell: one task a source, rows given on as they become certain
    calls.py        what a client says to a node, word by word, and how answers are read
    client_words.py the words of its two twins
    client.py       what people import: a connection to a node; trio and blocking twins
    embedded.py     the store alone: a directory, no port, no peers
    embedded_blocking.py  the same for programs without trio, from any thread
    rows.py         rows of text or JSON read by their class, bad ones named
    importing.py    rows into a node, in chunks: resumable, never half in silence
    exporting.py    rows out of a node, into files that other programs read
    cbor_sequence.py  one of their formats, read too
    parquet.py      another, when pyarrow is installed
    airports.py     the real data of the mesh, and which server owns which
    children.py     one child process: started, awaited, watched, stopped
    mesh_control.py servers killed and revived, links cut and mended, of a mesh that runs
    mesh.py         six servers on one machine: the supervisor
    mesh_view.py    what the supervisor shows as lines
    mesh_map.py     the map: servers, links, what happened, keys, as lines of a screen
    mesh_map_story.py     events of the logs as sentences
    mesh_map_keys.py      keys as commands
    mesh_map_terminal.py  the terminal: taken over, painted, given back
    mesh_map_live.py      the map, alive
    tour.py         the mesh is broken in twelve ways, and looked at: the runner
    tour_steps.py   the twelve
    tour_acts.py    how each is played
    tour_checks.py  what must hold at each
    tour_view.py    what is shown of it
    http/  cli/     the same words over HTTP, and the command; each has its own map

Left to others: everything a floor below decides. What stands here joins and never repeats.
"""
