"""A scenario drawn from a seed: who mirrors whom, what is asked of whom and when, and what breaks meanwhile. As text.

    seed 17 --draw--> servers 5 ring                           the text is the truth: what fails is this text,
                      link delay 35ms jitter 4ms loss 1%       run with that seed; shrinking removes its lines
                      class Note text:string
                      1.2 mirrors 1.1
                      at 4.1s 1.3 commits 2 Note at 1.1        work goes on all the time,
                      at 6.3s part 1 1.4 | 1.1 1.2 1.3 for 8s  faults overlap,
                      at 7.7s crash 1.1 for 2s                 and end,
                      run 60s
                      heal                                     all of them;
                      expect every promise within 120s         then everything must come right;
                      cut 1.1 > 1.2                            and where one link breaks in the quiet (`standing.py`),
                      expect everybody reached within 8s       another way is soon found; or something else
                                                               stands, and news spreads (`coping.py`)

Promise: the same arguments give the same text in every process, as long as the verbs are the same ones; and it can be
read. Every use of chance has a generator of its own, so that asking for other faults leaves the work as it was.
Nothing runs here: `scenario.py` does that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random

import networkx

from identity.errors import Refused
from simulations.coping import LINKS, WALLS, copes
from simulations.drawn_conditions import condition
from simulations.faults import WEIGHTS, Kind, Mesh, echoes, kinds
from simulations.latecomers import latecomer
from simulations.second_thoughts import asked_as, taken_back
from simulations.sense import is_of_no_link
from simulations.standing import stands
from simulations.topologies import NO_OTHERS, not_late
from simulations.two_stories import two_stories
from simulations.verbs_network import read_servers

SHAPES = ("full", "ring", "star", "line", "grid", "random", "small world", "scale free", "tree")  # where they can be
BY_CHANCE = ("random", "small world", "scale free")  # which of many such graphs, the line says
FEWEST_FAULTS, MOST_FAULTS = 4, 10  # in a minute
CLASSES = ("Note", "Memo")  # of texts only, much written and little written
ITEM = "class Item text:string serial:int unique size:int index weight:float done:bool near:reference index"
INDEXED = 0.5  # of the schedules have Item in the place of Note, and Note in that of Memo
RIVALS = 0.4  # of what is written of it wants unique values that others want or have, or becomes a question
PACES = (0.5, 1.0, 1.0, 2.0)  # quiet meshes, and busy ones
STEPS_A_MINUTE = 30  # of work; measured: a minute of 5 servers is about one second of CPU
SETTLED_S = 2.0  # before the first timed step: classes, mirrors and first objects are there
WITHIN_S = 120  # for everything to come right: a search for a way may take 60 s, and catching up another 30
AWAITED = 0.3  # of the minutes have a change that waits for its owner when its asker crashes: else one in fifty
ALONE = 0.5  # of the meshes that are not full have no links but those of their shape
STANDING = 0.5  # have a cut that stands before `heal`, and again in the quiet at the end: who is reached by then?
BACKUPS = 0.15  # of the mirrors of the beginning are backups, of which nothing is shown
COPING = 0.5  # have a fault that stands in the quiet while news spreads (`coping.py`)
SOON_S = 8  # for a way round it in the quiet, where everybody is a possible gateway; measured: 3 at most
REPEATED = 0.4  # have changes that an owner carries out, whose answers are lost and which it forgets in a crash
CROWDS, CROWDED = 3, 0.6  # moments of a minute, and how much of everything falls there
DURATIONS_S = (0.5, 3.0, 8.0, 20.0)  # of faults, half of it to half as much again: hiccups, and what is noticed (10 s)
MOST_OWNERS, MOST_MIRRORS = 6, 12
ORDERS = ("", " order by size", " order by -size", " order by -serial", " order by weight", " order by done, -size")


def draw(
    seed: int,
    *,
    servers: int = 5,
    shape: str | None = None,
    faults: Iterable[str] | None = None,
    minutes: float = 1.0,
) -> str:
    """The text of a scenario. `shape`: None draws one; `faults`: names of kinds, None for all, empty for none.

    Raises `Refused` for what there is not.
    """
    if not 0 < minutes <= 24 * 60:
        raise Refused(f"a schedule of {minutes:g} minutes", next_step="ask for more than 0 and at most 1440")
    drawing = _Drawing(seed, minutes * 60.0)
    head, mesh = drawing.mesh(servers, shape)
    chosen = kinds(faults)
    timed = [*drawing.work(mesh), *drawing.latecomer(mesh), *drawing.faults(mesh, chosen)]
    timed.sort(key=lambda each: each[0])
    standing, quiet = drawing.standing(mesh, chosen)
    coping = [] if quiet else drawing.coping(mesh, chosen)
    told = f"# drawn from seed {seed}: {len(mesh.servers)} servers, {minutes:g} min, faults: "
    lines = [
        told + (", ".join(drawing.drawn) or "none"),
        *head,
        *drawing.opening(mesh),
        *[f"at {when:g}s {line}" for when, line in timed],
        f"run {minutes * 60:g}s",
        *standing,
        "heal",
        f"expect every promise within {WITHIN_S}s",
        *(quiet or coping),
    ]
    return "\n".join(lines) + "\n"


def said_as_options(
    *, servers: int = 5, shape: str | None = None, faults: Iterable[str] | None = None, minutes: float = 1.0
) -> tuple[str, ...]:
    """What to say to `bangpath simulate` to have the same drawn, beside the seed."""
    said = ["--nodes", str(servers), "--minutes", f"{minutes:g}"]
    if shape is not None:
        said += ["--topology", shape]
    if faults is not None:
        said += ["--faults", ",".join(faults) or "none"]
    return tuple(said)


class _Drawing:
    """One schedule while it is drawn."""

    def __init__(self, seed: int, seconds: float) -> None:
        self._seed = seed
        self._seconds = seconds
        self.drawn: list[str] = []  # names of the faults
        self._owners: list[str] = []
        self._graph = networkx.Graph()
        indexed = self._random("classes").random() < INDEXED
        self._classes = ("Item", CLASSES[0]) if indexed else CLASSES
        self._indexed = self._random("indexed")
        self._alone = False  # the mesh has no links but its own
        self._mirrors: list[tuple[str, str]] = []
        self._asked_as: dict[tuple[str, str], str] = {}  # what these say: the owner, or a pattern
        self._patterns = self._random("patterns")
        crowds = self._random("crowds")
        self._crowds = [crowds.uniform(0.1, 0.75) * seconds for _ in range(max(round(CROWDS * seconds / 60), 1))]

    def _random(self, what: str) -> Random:
        return Random(f"bangpath/schedule/{self._seed}/{what}")

    # -- the mesh

    def mesh(self, servers: int, shape: str | None) -> tuple[list[str], Mesh]:
        random = self._random("mesh")
        lines = [f"servers {servers} {each}" for each in ([shape] if shape else SHAPES)]
        if shape is None:
            lines = [line for line in lines if _is_mesh(line)] or [f"servers {servers}"]
        line = random.choice(lines)
        if line.endswith(BY_CHANCE):
            line += f" draw {random.randint(1, 99)}"
        graph, names = read_servers(line, "the mesh")
        self._alone = shape is None and len(graph.edges) < servers * (servers - 1) // 2
        self._alone = self._alone and self._random("links").random() < ALONE
        if self._alone:
            line += f", {NO_OTHERS}"
            graph.graph[NO_OTHERS] = True
        self._graph = graph
        links = tuple(sorted((min(pair), max(pair)) for pair in graph.edges))
        delay = random.choice((1, 5, 20, 20, 50, 150))
        link = f"link delay {delay}ms jitter {random.choice((1, 5, 10, 30))}ms"
        if random.random() < 0.5:
            link += f" loss {random.choice((1, 1, 2, 5))}%"
        if random.random() < 0.3:
            link += " duplicate 1%"
        classes = [ITEM if name == "Item" else f"class {name} text:string" for name in self._classes]
        return [line, link, *classes], Mesh(tuple(names), links)

    def opening(self, mesh: Mesh) -> list[str]:
        """Who mirrors whom from the start, and what there is to change."""
        random, backup = self._random("backups"), " as backup"
        mirrors = [
            f"{pair[0]} mirrors {self._asked_as[pair]}{backup * (random.random() < BACKUPS)}" for pair in self._mirrors
        ]
        return [*mirrors, *[f"{owner} commits 2 {name}" for owner in self._owners for name in self._classes]]

    # -- work

    def work(self, mesh: Mesh) -> list[tuple[float, str]]:
        random = self._random("work")
        number = len(mesh.servers)
        self._owners = sorted(random.sample(mesh.servers, min(max(2, round(number * 0.6)), MOST_OWNERS, number)))
        pairs = [(name, owner) for owner in self._owners for name in mesh.servers if name != owner]
        wished = min(max(len(self._owners), round(number * 0.8)), MOST_MIRRORS, len(pairs))
        self._mirrors = sorted(random.sample(pairs, wished))
        self._asked_as = {pair: asked_as(self._patterns, *pair, mesh.servers) for pair in self._mirrors}
        count = max(round(STEPS_A_MINUTE * random.choice(PACES) * self._seconds / 60), 3)
        steps = [(self._moment(random), self._step(random, mesh)) for _ in range(count)]
        return [*steps, *self._awaited(mesh)[0], *self._repeated(mesh)[0], *self._taken_back(mesh)[0]]

    def latecomer(self, mesh: Mesh) -> list[tuple[float, str]]:
        """Now and then: a server that is not there from the beginning. Of those that nothing is asked of until then."""
        busy = {*self._owners, *(name for name, _ in self._mirrors)}
        idle = [name for name in mesh.servers if name not in busy and not not_late(name, self._graph)]
        random, what = self._random("latecomer"), self._classes[0]
        return self._in_time(latecomer(random, idle, self._owners, self._seconds, what=what)) if idle else []

    def _taken_back(self, mesh: Mesh) -> tuple[list[tuple[float, str]], ...]:
        """Now and then: changes that wait for an owner that is cut off, and are cancelled. Work, and two of faults."""
        random = self._random("taken back")
        begin = self._moment(random, until=0.5)
        lines = taken_back(random, mesh.servers, self._owners, self._seconds, what=self._classes[0], begin=begin)
        return tuple(self._in_time(each) for each in lines)

    def _awaited(self, mesh: Mesh) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
        """Now and then: changes for an owner that is cut off, whose asker crashes while they wait. Work, and faults."""
        random = self._random("awaited")
        others = [name for name in mesh.servers if name not in self._owners[:1]]
        if not others or random.random() > AWAITED * self._seconds / 60:
            return [], []
        owner, other = self._owners[0], random.choice(others)
        begin = self._moment(random, until=0.5)
        asked = [begin + random.uniform(0.1, 3.0) for _ in range(2)]
        crash = max(asked) + random.uniform(2.0, 8.0)
        mended = random.uniform(1.0, 6.0) + crash - begin
        work = [
            (asked[0], f"{other} changes 2 Note of {owner}"),
            (asked[1], f"{other} commits 1 {self._classes[1]} at {owner}"),
        ]
        breaking = [(begin, f"isolate {owner} for {mended:.1f}s"), (crash, f"crash {other} for 1s")]
        return self._in_time(work), self._in_time(breaking)

    def _repeated(self, mesh: Mesh) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
        """Now and then: nobody hears an owner, which is asked, and crashes: it is asked again. Work, and faults."""
        random = self._random("repeated")
        others = [name for name in mesh.servers if name not in self._owners[-1:]]
        if not others or random.random() > REPEATED * self._seconds / 60:
            return [], []
        owner, other = self._owners[-1], random.choice(others)
        begin = self._moment(random, until=0.5)
        asked = [begin + random.uniform(0.1, 1.5) for _ in range(2)]  # before anybody notices: 2 s
        crash = max(asked) + random.uniform(0.5, 5.0)
        mended = random.uniform(1.0, 6.0) + crash - begin
        rest = " ".join(name for name in mesh.servers if name != owner)
        work = [(asked[0], f"{other} commits 2 Note at {owner}"), (asked[1], f"{other} changes 1 Note of {owner}")]
        breaking = [(begin, f"part one way {owner} > {rest} for {mended:.1f}s"), (crash, f"crash {owner} for 1s")]
        return self._in_time(work), self._in_time(breaking)

    def _in_time(self, lines: list[tuple[float, str]]) -> list[tuple[float, str]]:
        return [(round(min(when, self._seconds * 0.95), 1), line) for when, line in lines]

    def _moment(self, random: Random, *, until: float = 0.95) -> float:
        """More than half of all that happens crowds together around a few moments: there it meets."""
        first, last = min(SETTLED_S, self._seconds / 4), self._seconds * until
        when = random.uniform(first, last)
        if random.random() < CROWDED:
            when = random.choice(self._crowds) + random.uniform(-0.5, 4.0)
        return round(min(max(when, first), last), 1)

    def _step(self, random: Random, mesh: Mesh) -> str:
        owner = random.choice(self._owners)
        other = random.choice([name for name in mesh.servers if name != owner] or [owner])
        few = random.choice((1, 1, 2, 3, 5))
        what = random.choices(self._classes, weights=(4, 1))[0]
        size = random.choice(("",) * 7 + (" of 3kB", " of 20kB"))
        read = random.choice(("", "", " by their owner", " as held here", " after the last change"))
        asked = random.choice((what, what, f"{what} from {owner}", f'{what} where text ^= "{owner} "'))
        asked += random.choice(("", "", " order by -text", " order by text limit 5"))
        ways = {
            f"{owner} commits {few} {what}{size}": 8,
            f"{owner} commits {few} {what}{size} together": 2,
            f"{other} commits {few} {what}{size} at {owner}": 3,
            f"{owner} changes {few} {what}{random.choice(('', '', ' as last seen'))}": 6,
            f"{owner} changes {few} {what} together": 2,
            f"{other} changes {few} {what} of {owner}{random.choice(('', '', ' as last seen'))}": 5,
            f"{owner} deletes 1 {what}": 1,
            f"{other} deletes 1 {what} of {owner}": 1,
            f"{random.choice((owner, *mesh.servers))} and {other} change {few} {what} of {owner} as last seen": 3,
            f"{other} gets {few} {what} of {owner}{read}": 5,
            f"{other} asks {asked}{random.choice(('', ' of their owners'))}": 4,
        }
        if other != owner:
            who = asked_as(self._patterns, other, owner, mesh.servers)
            ways[f"{other} mirrors {who}{random.choice(('', '', ' as backup'))}"] = 1
        if self._mirrors:
            name, mirrored = random.choice(self._mirrors)
            ways[f"{name} stops mirroring {self._asked_as[name, mirrored]}"] = 1
        line = random.choices(list(ways), weights=list(ways.values()))[0]
        return self._of_items(line, owner, other) if " Item" in line else line

    def _of_items(self, line: str, owner: str, other: str) -> str:
        """The same for a class with indexes: questions of its fields, and wishes for values that only one can have.

        It has a generator of its own: everything else is drawn as it is where there is no such class.
        """
        random = self._indexed
        asked = re.fullmatch(r"(\S+ asks Item)(?: from \S+)?.*?( of their owners)?", line)
        if asked is not None:
            return f"{asked[1]}{self._question(owner)}{asked[2] or ''}"
        if random.random() > RIVALS or " and " in line:
            return line
        asker = random.choice((owner, other))
        at, of = ("", "") if asker == owner else (f" at {owner}", f" of {owner}")
        few = random.choice((1, 2, 3))
        if " changes " in line:
            return random.choice(
                (
                    f"{asker} changes {few} Item{of} to taken values",
                    f"{asker} passes values of {few + 1} Item{of} round",
                    f"{other} asks Item{self._question(owner)}",
                    f"{other} asks Item{self._question(owner)} of their owners",
                )
            )
        if " commits " not in line:
            return line
        return random.choice((
            f"{random.choice((owner, other))} and {asker} commit {few} Item at {owner} with the same values",
            f"{random.choice((owner, other))} and {asker} commit {few} Item at {owner} with the same values",
            f"{asker} commits {random.choice((2, 2, 3))} Item together{at} with the same values",
            f"{asker} commits {few} Item{at} with taken values",
        ))  # fmt: skip

    def _question(self, owner: str) -> str:
        random = self._indexed
        servers = random.choice(("", "", f" from {owner}"))
        few = random.choice(("", f" limit {random.randint(1, 4)}"))
        return f"{condition(random, owner)}{servers}{random.choice(ORDERS)}{few}"

    # -- faults

    def faults(self, mesh: Mesh, chosen: tuple[Kind, ...]) -> list[tuple[float, str]]:
        if not chosen:
            return []
        random = self._random("faults")
        number = max(round(random.randint(FEWEST_FAULTS, MOST_FAULTS) * self._seconds / 60), 1)
        left = list(chosen)
        found: list[tuple[float, str]] = []
        if {"isolation", "crash"} <= {kind.name for kind in chosen} and (awaited := self._awaited(mesh)[1]):
            found += awaited
            self.drawn += ["isolation", "crash"]
        if {"one-way partition", "crash"} <= {kind.name for kind in chosen} and (repeated := self._repeated(mesh)[1]):
            found += repeated
            self.drawn += ["one-way partition", "crash"]
        for name, story in zip(("isolation", "crash"), self._taken_back(mesh)[1:], strict=True):
            if story and name in {kind.name for kind in chosen}:
                found += story
                self.drawn.append(name)
        told: list[tuple[float, str]] = []
        if "hostile" in {kind.name for kind in chosen}:
            told = two_stories(
                self._random("two stories"), mesh.servers, self._owners, seconds=self._seconds,
                what=self._classes[0], alone=len(chosen) == 1,
            )  # fmt: skip
            self.drawn += ["hostile"] * bool(told)
            left = [kind for kind in left if kind.family != "hostile" or not told]
        for _ in range(number):
            if not left or len(found) >= number:
                break
            families = sorted({kind.family for kind in left})
            family = random.choices(families, weights=[WEIGHTS[each] for each in families])[0]
            kind = random.choice([each for each in left if each.family == family])
            if kind.family == "hostile":  # one at most: the honest must be the more
                left.remove(kind)
            line = kind.draw(random, mesh)
            if line is None or is_of_no_link(line, self._graph):  # so small a mesh has none of it
                continue
            when = self._moment(random, until=0.8)
            for after, each in [(0.0, line), *(echoes(random, line, mesh) if kind.family == "servers" else ())]:
                lasting = f" for {round(random.choice(DURATIONS_S) * random.uniform(0.5, 1.5), 1):g}s"
                found.append((round(min(when + after, self._seconds * 0.8), 1), each + lasting * kind.lasting))
            self.drawn.append(kind.name)
        del found[number:]
        self.drawn = sorted(set(self.drawn))
        return [*found, *told]

    def standing(self, mesh: Mesh, chosen: tuple[Kind, ...]) -> tuple[list[str], list[str]]:
        """Links that stay cut, and who is reached all the same: before all is healed, and when it is quiet."""
        random = self._random("standing")
        if len(mesh.servers) < 3 or "one-way cut" not in {kind.name for kind in chosen} or random.random() > STANDING:
            return [], []
        self.drawn = sorted({*self.drawn, "one-way cut"})
        before, after = stands(random, self._random("one way"), mesh, within_s=WITHIN_S, soon_s=SOON_S)
        return before, after if not self._alone and "hostile" not in self.drawn else []

    def coping(self, mesh: Mesh, chosen: tuple[Kind, ...]) -> list[str]:
        """A fault that stands at the very end while an owner that is mirrored has news."""
        random = self._random("coping")
        names = sorted({kind.name for kind in chosen} & {*LINKS, *WALLS})
        if not names or not self._mirrors or not mesh.links or random.random() > COPING or "hostile" in self.drawn:
            return []
        name, (_, owner) = random.choice(names), random.choice(self._mirrors)
        self.drawn = sorted({*self.drawn, name})
        return copes(random, mesh, name, owner=owner, what=self._classes[0])


def _is_mesh(line: str) -> bool:
    try:
        read_servers(line, "the mesh")
    except Refused:
        return False
    return True
