"""Floor 5: whole networks in one process, replayable from a seed.

Promise: the nodes are the real ones; clock, network, disks and randomness are simulated and come from one seed, so
that any behaviour of a mesh, faults included, replays to the bit in any process (DESIGN P6 and section 10).

    story ---> world ---> real nodes
                 |          |  seams
               engine    network   faulty_disk   generators
                 \\____________\\_________\\____________\\____ trace (one hash over all that happened)

Reading order:

    engine.py        trio on virtual time; the one file that touches trio's private names
    standby.py       a task that is called again and again, and not woken for it
    guard.py         calls that would make runs differ are refused, with file and line
    stand_ins.py     what stands in the places of those calls while a run lasts
    watchdog.py      a program that never gives the word back is told where it stands
    garbage.py       what is in use no more is collected at the same steps of every run
    cores.py         routers alone on the agenda, thousands of them; core_sessions.py is what they stand on
    core_sessions.py
    trace.py         one hash over everything that happened
    links.py         what can be said of a link, as values
    link_text.py     how people say it, read and written
    rules.py         what it does to a datagram: small verdicts
    nat.py           NATs and firewalls in front of hosts
    streams.py       byte streams with the contract of trio's own
    stream_ends.py   their ends: numbered, acknowledged, sent again
    ports.py         hosts and datagram ports, as nodes hold them
    network.py       all hosts, their links, and the faults that lie over them in layers
    medium.py        bytes and names on a disk: durable or not, and what power cuts and time do to them
    faulty_disk.py   a disk that forgets what was not synced, fails, fills up and rots
    faulty_tables.py tables on such a disk: a fold is there wholly or not at all
    marks.py         what a person wants to see of a run, and when it happened
    promises.py      what a checker is, and what it says when a promise was broken
    history.py       what people asked of servers, and what they were told
    ledger.py        what owners made durable and others took: the truth for all answers
    linearize.py     whether a history could have happened one operation at a time
    topologies.py    shapes of meshes: lines, rings, small worlds, trees of authorities, files
    founding.py      server ids, keys and certificates of a world
    ending.py        how a node's life ends, for those who wait for it
    machine.py       what of a server survives, the node while it is up, and all that can befall it
    server.py        one server: a machine, and the words of its node
    trick.py         what every trick of a hostile server has in common; the tricks stand in
    tricks_feeds.py, tricks_names.py, tricks_ways.py
    hostile.py       real servers that lie, steal, flood and forge, altered on their instances only
    world.py         (heart) a seed becomes clock, network, disks and real nodes; crash, restart, part, heal
    stage.py         what verbs may use: the same of a simulated world and of real processes
    truth.py         what leaves and records say, for the checkers
    check_commits.py what was answered is there, wholly or not at all
    check_adopting.py    who comes back from a backup goes on from what others have of it
    check_unique.py  no unique value is had twice, or denied without a cause
    check_outbox.py  what was said to wait waits, until its owner has said what became of it; or it is taken back
    check_expiry.py  what is of use for a while only is not asked for later
    check_mirrors.py mirrors are prefixes of their owner's history, and the whole of it in the end
    check_asked.py   they are of whom they were asked for, by patterns too, and of nobody else
    check_order.py   each update once, in order
    check_traffic.py each update once over a link, and then it is known
    check_signed.py  nobody believes the unsigned
    check_packets.py no packet is opened twice
    check_forks.py   who tells two stories is found out
    check_linearizable.py  an owner's own answers have one order
    check_answers.py an answer is what it says it is; row_model.py: which rows a question asks for, and their order
    check_denials.py only an owner says that there is none; check_paths.py: the way an answer came
    check_answered.py who gave it is told, and who did is not told as missing
    check_loops.py   no packet circles
    check_reached.py every pair gets through in the end
    check_memory.py  nothing grows without end
    checkers.py      all of them, and their names
    steps.py         what a scenario is made of: verbs, steps, and the run they speak to
    class_lines.py   a scenario's classes, and what is written into their fields
    verbs.py         all that a scenario can say, gathered from:
    verbs_work.py, verbs_mirrors.py, verbs_outbox.py, verbs_contest.py, verbs_network.py, verbs_walls.py,
    verbs_servers.py, verbs_joining.py, verbs_hostile.py, verbs_expect.py
    misread.py       which word of a line that cannot be read is wrong, and what it may have been meant as
    sense.py         what a scenario says that cannot be, known from its lines alone; sense_questions.py: what it asks
    patience.py      how long a line may take: one that never ends is told with its place
    scenario.py      text scripts: read, run, print a transcript
    faults.py        the table of fault kinds, and how a line of each is drawn
    schedule.py      a scenario drawn from a seed; standing.py, coping.py: what stands at its end
    two_stories.py   what it draws of an owner that lies
    latecomers.py    of servers that join later
    second_thoughts.py   of patterns, and of changes that are taken back
    drawn_conditions.py  of what questions ask for
    strategies.py    the same drawn by hypothesis
    cases.py         a scenario and a seed, judged by every checker
    worker.py        a process that runs cases
    sweep.py         many cases on all cores, each twice if wished; sweep_dask.py: on several machines
    shrink.py        a failing scenario made small: lines, words, numbers, servers
    failure.py       a failure of a sweep made small, and told
    report.py        what a run or a sweep is told as: tables, transcript, JSON
    timeline.py      a run as a picture, servers as lanes; timeline_page.py: with all the rest as one page
    timeline_layout.py, timeline_updates.py, timeline_lanes.py, timeline_sheet.py, timeline_glyphs.py
    progress.py      what a person sees while it runs, and Ctrl-C
    output.py        where a run is told; none of it turns a verdict round
    command.py       `bangpath simulate`; command_numbers.py: seeds and times; words.py: what a scenario can say
    estimate.py      how long a run will take, said before it does
    play.py          what it does with one run; play_many.py: with many
    real.py          a scenario on real processes, in real time: the same text and verbs
    real_server.py   one of them: its process, and the simulator's words said to it as a client
    real_ground.py   where they stand: network namespaces, or loopback
    real_promises.py two promises, as seen from outside
    real_network.py  the simulator's rules of links under real packets
    client.py        the words of `bangpath.connect` to a simulated server, for applications
    plugin.py        the pytest plugin: `@simulate`, the `mesh` fixture, a seed a test; and its parts:
    plugin_options.py, plugin_seeds.py, plugin_story.py, plugin_awaits.py, plugin_twin.py, plugin_picture.py

It reaches into the product only through the seams (`transport.ports`, `store.disk`, `store.tables`) and `node.node`;
hostile servers and checkers also look into a running node, which is what they are for.
"""
