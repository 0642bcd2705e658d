"""The twelve steps of the tour, in their order: what breaks, what is asked then, and what must be answered.

    whole          1 ask for everything
    Europe dies    2 kill -9    3 one airport    4 everything    5 a change waits    6 it is delivered, once
    links break    7 both ways: a gateway    8 one way: two ways    9 mended: direct again
    more breaks    10 the authority dies     11 two halves          12 mended: everything is equal

Each is a sentence or two for a newcomer, what is expected, and the function that plays it (`node.tour_acts`). A step
may rely on all before it. In texts `{name}`, `{icao}` and `{reference}` are the airport that is changed.
"""

from __future__ import annotations

from node import tour_acts as acts
from node.tour import Step
from node.tour_acts import AFRICA, AMERICA, ASIA, EUROPE, OCEANIA

LONDON = "{reference}"
STEPS: tuple[Step, ...] = (
    Step(
        "Ask any server for everything",
        "Six servers run here. Five of them own a part of the world's {total} airports, and no server holds all. "
        "1.3 Asia is asked for every one: it asks the other owners, and says at the end whether anything is missing.",
        "every row of every owner from 1.3",
        acts.ask_everything,
        ((ASIA, "peers"), (ASIA, "query", "Airport", "--whole")),
    ),
    Step(
        "Kill Europe",
        "Its process is killed as a power cut would: it says no goodbye, and writes nothing more.",
        "the five others to notice that 1.2 is gone",
        acts.kill_europe,
        ((ASIA, "peers"),),
    ),
    Step(
        "A neighbour speaks for Europe",
        "1.4 Africa is asked for {name} ({icao}). Its owner does not answer. 1.1 America keeps a mirror of Europe, "
        "and answers in its place: whose word that is, how old, along which path and why, is part of the answer.",
        "an answer by a mirror of 1.2",
        acts.ask_for_one,
        ((AFRICA, "get", LONDON), (AMERICA, "mirror"), (AFRICA, "peers")),
    ),
    Step(
        "Ask for everything again",
        "No row is missing. The report says which owner did not answer, and for how many rows a mirror spoke.",
        "every row from 1.4, those of 1.2 by its mirror",
        acts.ask_everything_without_it,
        ((AFRICA, "query", "Airport limit 1"), (AFRICA, "servers")),
    ),
    Step(
        "Change what a dead server owns",
        "Only Europe may change its airports, and it is gone. So the change waits at 1.1, in its outbox, on disk: "
        "nothing is refused, and nothing is changed behind the owner's back.",
        "the change to wait in the outbox of 1.1",
        acts.change_one_meanwhile,
        ((AMERICA, "outbox"), (AMERICA, "get", LONDON)),
    ),
    Step(
        "Revive Europe",
        "It reads its log and goes on. What waited is delivered and carried out once, the sender learns the outcome, "
        "and the new elevation arrives at the mirror.",
        "the change to be carried out by 1.2, once",
        acts.revive_europe,
        ((AMERICA, "outbox"), (EUROPE, "status")),
    ),
    Step(
        "Cut the link between 1.1 and 1.2, both ways",
        "No packet passes between them, and they are not told. They ask the others for a way round, and from then on "
        "talk through a gateway, which cannot read what it passes on.",
        "1.1 and 1.2 to reach each other by a gateway",
        acts.cut_both_ways,
        ((AMERICA, "peers"), (AMERICA, "route", EUROPE), (EUROPE, "route", AMERICA)),
    ),
    Step(
        "Cut another link in one direction only",
        "What 1.3 sends to 1.4 is lost; what 1.4 sends to 1.3 arrives. Each direction goes its own way, so "
        "only the broken one makes a detour.",
        "1.3 to reach 1.4 by a gateway, and 1.4 to answer directly",
        acts.cut_one_way,
        ((ASIA, "route", AFRICA), (AFRICA, "route", ASIA)),
    ),
    Step(
        "Mend the links",
        "Nobody is told that either. Copies of the packets were tried on the direct way all the time, so the two ends "
        "notice by themselves that they arrive again.",
        "every direction between the six to be direct again",
        acts.heal_links,
        ((AMERICA, "peers"), (AMERICA, "route", EUROPE)),
    ),
    Step(
        "Kill the authority",
        "Server 1 founded this mesh and certified the others. Without it no new server can join, and nothing else "
        "changes: questions, changes and updates of mirrors go on.",
        "questions, changes and mirrors to go on without 1",
        acts.kill_the_authority,
        ((ASIA, "query", "Airport limit 1"), (ASIA, "peers")),
    ),
    Step(
        "Part the mesh into two halves",
        "1, 1.1 and 1.2 on one side, 1.3, 1.4 and 1.5 on the other, no packet between them. Each half goes on with "
        "what it has, and says what it cannot see: exit code 3 where everything was asked for.",
        "each half to answer for what it sees, and to name what it does not",
        acts.part_in_halves,
        (("1", "query", "Airport limit 1"), (OCEANIA, "query", "Airport limit 1")),
    ),
    Step(
        "Mend everything",
        "The halves find each other and exchange what they missed. Then every server is asked for every row, and the "
        "answers are compared, and how far each copy of a feed goes. The tour puts back the elevations it changed.",
        "the same rows from all six servers",
        acts.heal_everything,
        (("1", "feeds"), (ASIA, "feeds"), (OCEANIA, "query", "Airport limit 1")),
    ),
)
