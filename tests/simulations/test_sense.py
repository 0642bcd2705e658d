"""What a scenario's lines contradict is refused before anything runs; what may come right is left to the run."""

from __future__ import annotations

import pytest

from identity.errors import Refused
from simulations.faults import kinds
from simulations.scenario import parse, run_scenario
from simulations.schedule import draw

NOTE = "servers 3\nclass Note text:string\n"

LINE = "servers 4 line, no other links\n"

WRONG = [
    (
        "servers 2\nclass Note text:strng",
        "story:2: 'strng' is no type of field",
        "the types are bool, int",
    ),
    ("servers 2\n1.1 commits 2 Note", "story:2: '1.1 commits 2 Note': no line makes a class Note", "class Note text:s"),
    ("servers 2\n1.1 commits 2 Note\nclass Note text:string", "no line above makes a class Note", "write before it"),
    ("servers 2\nat 1s 1 gets 2 Note of 1.1", "no line makes a class Note", "class Note text:string"),
    (NOTE + "1 deletes 1 Nota", "no line makes a class Nota", "class Nota text:string"),
    ("servers 2\nclass Note size:int\n1 commits 1 Note", "Note has no field for a text", "class Note size:int text:s"),
    (
        "servers 2\nclass Note text:int near:reference index\n1 commits 1 Note",
        "no field for a text",
        "Note text:string near",
    ),
    (
        NOTE + "class Note text:int",
        "story:3: 'class Note text:int': line 2 makes Note with other",
        "class Note2 text:int",
    ),
    (
        NOTE + "at 2s class Note text:string size:int",
        "line 2 makes Note with other fields: text:string",
        "leave one of",
    ),
    (
        "servers 2\nclass Note text:int text:string",
        "story:2: Note has two fields of the name text",
        "class Note text:int",
    ),
    ("servers 2\nclass Ünï text:string", "story:2: 'Ünï' is no name of a class", "as in: class Note text:string"),
    ("servers 2\nclass Note größe:int", "story:2: 'größe' is no name of a field", "as in: class Note text:string"),
    ("servers 2\n1 and 1.1 commit 2 Item at 1 with the same values", "no line makes a class Item", "class Item text:s"),
    (NOTE + "1 and 1.1 commit 2 Note at 1 with the same values", "Note has no unique field", "serial:int unique"),
    (NOTE + "1 changes 2 Note to taken values", "Note has no unique field", "class Note text:string serial:int unique"),
    (NOTE + "1 passes values of 2 Note round", "Note has no unique field", "class Note text:string serial:int unique"),
    ("servers 2\nclass Note size:int unique\n1 commits 1 Note", "Note has no field for a text", "unique text:s"),
    ("servers 2\ncrash 1.1\ncrash 1.1", "story:3: 'crash 1.1': 1.1 is down since line 2", "restart 1.1"),
    ("servers 2\nstop 1.1\nkill 1.1", "1.1 is down since line 2", "restart 1.1"),
    ("servers 2\ncrash 1.1 with a torn write\npause 1.1", "1.1 is down since line 2", "restart 1.1"),
    (NOTE + "crash 1.1\n1.1 commits 1 Note", "story:4: '1.1 commits 1 Note': 1.1 is down since line 3", "restart 1.1"),
    ("servers 2\ncrash 1.1\nclass Note text:string", "1.1 is down since line 2 and cannot adopt it", "restart 1.1"),
    ("servers 2\nrestart 1.1", "1.1 is up", "crash 1.1"),
    ("servers 2\ncrash 1.1\nheal\nrestart 1.1", "1.1 is up", "crash 1.1"),
    (
        "servers 2\npause 1.1\nclass Note text:string",
        "story:3: 'class Note text:string': 1.1 is paused since line 2, and the line would wait for ever",
        "write before it: resume 1.1",
    ),
    (NOTE + "1 commits 1 Note\npause 1\n1 gets 1 Note of 1", "1 is paused since line 4", "resume 1"),
    (NOTE + "pause 1.1\nrun 3s\n1.1 asks Note", "1.1 is paused since line 3", "resume 1.1"),
    (NOTE + "1 commits 1 Note\npause 1.1\n1 and 1.1 change 1 Note of 1 as last seen", "1.1 is paused", "resume 1.1"),
    ("servers 3\npause 1.1\n1.1 mirrors 1", "1.1 is paused since line 2", "resume 1.1"),
    ("servers 3\npause 1.1\nstop 1.1", "1.1 is paused since line 2", "resume 1.1"),
    ("servers 3\npause 1\n1.1 joins", "1 is paused since line 2", "resume 1"),
    ("servers 3\npause 1.1\nat 5s crash 1.2\nexpect 1.1 has all of 1\n1.1 asks Note", "no line makes", "class"),
    ("servers 3\n1.1 stops mirroring 1", "no line lets 1.1 mirror 1", "write before it: 1.1 mirrors 1"),
    ("servers 3\n1.1 stops mirroring 1\n1.1 mirrors 1", "no line above lets 1.1 mirror 1", "1.1 mirrors 1"),
    ("servers 3\n1.2 mirrors 1\n1.1 stops mirroring 1", "no line lets 1.1 mirror 1", "1.1 mirrors 1"),
    (
        "servers 3\n1.1 mirrors 1.* but not 1.2\nat 3s 1.1 stops mirroring 1.2",
        "no line lets 1.1 mirror 1.2",
        "it does by: 1.1 mirrors 1.* but not 1.2",
    ),
    (NOTE + "1.1 commits 2 Note at 1 within 0s or not at all", "story:3: within 0s nothing can be done", "within 10s"),
    ("servers 2\nat 3s crash 1.1 at write 0", "story:2: there is no write 0", "the next one is: write 1"),
    ("servers 2\ndisk of 1.1 fails at sync 0", "story:2: there is no sync 0", "the next one is: sync 1"),
    ("servers linked 1-1.1 1.1-1.2 1.1-1", "story:1: '1.1-1' is a link that is there already", "each link once"),
    ("servers 2\nresume 1.1", "no line pauses 1.1", "pause 1.1"),
    ("servers 2\n1 joins", "story:2: '1 joins': 1 is the root, and nobody can invite it", "such as 1.1"),
    (
        "servers linked 1-1.1 1.1-1.1.1\n1.1 joins",
        "1.1.1 is certified by 1.1, and is there before it",
        "let 1.1.1 join",
    ),
    (
        LINE + "at 1s 1.2 joins",
        "1 must let it in, which is no neighbour of it, and the mesh has no",
        "let one join that is: 1.1",
    ),
    ("servers 3\nat 1s 1.1 joins\nrun 2s\n1.1 joins", "1.1 joins in line 2 already", "restart 1.1"),
    (NOTE + "1.1 commits 1 Note\n1.1 joins", "1.1 is not there yet: it joins in line 4", "write it after that line"),
    (
        "servers 4 line\n1.1 joins",
        "the others are in pieces that have not heard of one another: 1.1 stands",
        "at the edge",
    ),
    ("servers 3\ncrash 1.1\n1.1 joins", "1.1 is not there yet", "write it after that line"),
    ("servers 2\nmend 1 > 1.1", "no line cuts anything", "cut 1 > 1.1"),
    (
        "servers 2\nat 5s back up 1.1\nat 2s restore 1.1\nrun 9s",
        "no line before it backs up 1.1",
        "write before it: back up",
    ),
    ("servers 2\nexpect 1.1 has attacked", "no line turns 1.1 hostile", "1.1 turns hostile: forges"),
    ("servers 2\nmend 1 > 1.1\ncut 1 > 1.1", "story:2: 'mend 1 > 1.1': no line above cuts anything", "cut 1 > 1.1"),
    ("servers 2\nresume 1.1\npause 1.1", "story:2: 'resume 1.1': no line above pauses 1.1", "pause 1.1"),
    ("servers 2\nback up 1\nrestore 1.1", "story:3: 'restore 1.1': no line backs up 1.1", "back up 1.1"),
    ("servers 2\nat 3s restore 1.1", "no line backs up 1.1", "back up 1.1"),
    ("servers 2\nrestore 1.1\nback up 1.1", "no line above backs up 1.1", "back up 1.1"),
    ("servers 2\n1.1 turns honest", "no line turns 1.1 hostile", "1.1 turns hostile: forges"),
    (
        NOTE + "1 gets 1 Note of 1.1",
        "story:3: '1 gets 1 Note of 1.1': no line lets 1.1 commit any Note",
        "1.1 commits 5",
    ),
    (NOTE + "1 commits 1 Note\n1 gets 1 Note of 1.1 as held here", "no line lets 1.1 commit", "1.1 commits 5 Note"),
    (NOTE + "1.1 gets 1 Note of 1.1\n1.1 commits 1 Note", "no line above lets 1.1 commit any Note", "1.1 commits 5"),
    (NOTE + "1.1 commits 1 Note at 1\n1.1 deletes 1 Note", "no line lets 1.1 commit any Note", "1.1 commits 5 Note"),
    (NOTE + "1.1 commits 1 Note\n1.1 changes 1 Note together of 1", "no line lets 1 commit any", "1 commits 5 Note"),
    (
        NOTE + "class Item text:string\n1 commits 2 Note of 3kB\n1 and 1.1 change 1 Item of 1 as last seen",
        "no line lets 1 commit any Item",
        "1 commits 5 Item",
    ),
    (
        "servers 2\nclass Item text:string serial:int unique\n1.1 commits 2 Item at 1 with taken values",
        "no line lets 1 commit any Item",
        "1 commits 5 Item",
    ),
    (LINE + "cut 1 > 1.2", "story:2: 'cut 1 > 1.2': there is no link of 1 and 1.2", "1 has these: cut 1 > 1.1"),
    (LINE + "at 3s cut 1.1 <> 1.3 for 2s", "no link of 1.1 and 1.3, and the mesh has no other links", "cut 1.1 <> 1.2"),
    (LINE + "cut 1 > 1.1\nmend 1.3 > 1", "there is no link of 1.3 and 1", "1.3 has these: mend 1.3 > 1.2"),
    (LINE + "link 1 > 1.2 loss 5%", "there is no link of 1 and 1.2", "1 has these: link 1 > 1.1"),
    ("servers 2\nrun 99999999999999s", "story:2: 99999999999999s is longer than a day", "at most 1440m"),
    ("servers 2\nat 1441m crash 1.1", "story:2: 1441m is longer than a day", "at most 1440m"),
    ("servers 2\ncrash 1.1 for 9999999s", "story:2: 9999999s is longer than a day", "at most 1440m"),
    ("servers 2\nexpect every promise within 9999999s", "story:2: 9999999s is longer", "at most 1440m"),
    ("servers 2\nexpect 1.1 has all of 1 within 9999999s", "story:2: 9999999s is longer", "at most 1440m"),
    ("servers 2\ndisk of 1.1 takes 9999999s a sync", "story:2: 9999999s is longer", "at most 1440m"),
    (NOTE + "1 commits 99999999 Note", "story:3: 99999999 is more than 100000 in one line", "at most 100000"),
    (NOTE + "1 commits 2000 Note of 60kB", "story:3: 120000 is more than 100000 kB in one line", "at most 100000"),
    (NOTE + "1 gets 999999 Note of 1.1", "story:3: 999999 is more than 100000 in one line", "at most 100000"),
    (NOTE + "1 changes 999999 Note", "story:3: 999999 is more than 100000 in one line", "at most 100000"),
    (NOTE + "1 deletes 999999 Note", "story:3: 999999 is more than 100000 in one line", "at most 100000"),
    ("servers 2\ndisk of 1.1 rots 9999999 bytes", "story:2: 9999999 is more than 100000 bytes", "at most 100000"),
    ("servers 2\ncrash 1.1 at write " + "9" * 50, "story:2: 9999999999999999... is too large", "15 digits"),
    ("servers 2\nback up 1.1 and restore it after 9999999s", "story:2: 9999999s is longer", "at most 1440m"),
]


@pytest.mark.parametrize(("text", "cause", "right"), WRONG)
def test_what_cannot_be_is_refused_with_its_line_and_what_would_be_right(text: str, cause: str, right: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text, name="story")
    assert cause in refused.value.cause
    assert refused.value.cause.startswith("story:")
    assert right in refused.value.next_step


@pytest.mark.parametrize(
    "lines",
    [
        "crash 1.1\nrestart 1.1\ncrash 1.1\nheal\ncrash 1.1",
        "crash 1.1 for 1s\nrun 2s\ncrash 1.1",
        "crash 1.1 at write 1\n1.1 commits 1 Note\nrestart 1.1",
        "at 1s restart 1.1\ncrash 1.1\nrun 2s\n1.1 commits 1 Note",
        "at 1s heal\ncrash 1.1\nrun 2s\ncrash 1.1",
        "1.2 commits 1 Note\ncrash 1.1\n1.1 gets 1 Note of 1.2\n1 mirrors 1.1",
        "1.1 commits 1 Note at 1.2\n1.1 gets 1 Note of 1.2 by their owner\n1.2 deletes 1 Note",
        "class Note text:string",
        "at 3s 1 gets 1 Note of 1.1",
        "at 1s 1.1 commits 1 Note\nrun 2s\n1 gets 1 Note of 1.1",
        "at 1s back up 1.1\nrun 2s\nrestore 1.1",
        "back up 1.1 and restore it after 2s\nrestore 1.1",
        "1.1 turns hostile: forges for 2s\n1.1 turns honest",
        "at 3s resume 1.1\nat 1s pause 1.1",
        "at 3s mend 1 > 1.1\npart 1 | 1.1 1.2",
        "run 1s\nlink 1 <> 1.1 cut\nmend 1 > 1.1",
        "pause 1.1\nresume 1.1\n1.1 commits 1 Note",
        "pause 1.1\nheal\n1.1 commits 1 Note",
        "pause 1.1\ncrash 1.1\nrestart 1.1\n1.1 commits 1 Note",
        "pause 1.1 for 3s\n1.1 commits 1 Note",
        "at 9s resume 1.1\npause 1.1\n1.1 commits 1 Note",
        "pause 1.1\n1 commits 1 Note at 1.1\n1 gets 1 Note of 1.1\n1 asks Note from 1.1\n1 mirrors 1.1",
        "at 9s heal\npause 1.1\n1.1 commits 1 Note",
        "1.1 mirrors 1.*,-1.2\n1.1 stops mirroring 1.* but not 1.2",
        "at 3s 1.1 mirrors 1 as backup\nrun 5s\n1.1 stops mirroring 1",
        "run 1440m",
        "clock of 1.1 is 525600m ahead",
    ],
)
def test_what_may_come_right_is_left_to_the_run(lines: str) -> None:
    assert len(parse(NOTE + lines).steps) == 1 + len(lines.splitlines())


def test_a_timed_line_may_stand_before_the_class_it_needs() -> None:
    text = "servers 2\nat 2s 1.1 commits 1 Note\nclass Note text:string\nrun 3s\nexpect 1.1 has all of 1.1"
    assert run_scenario(parse(text), seed=1).transcript[1].endswith("1 objects of 1.1")


def test_what_is_refused_here_is_what_the_servers_refuse() -> None:
    """The rule about lives says of a server what it would say itself."""
    for lines in ("crash 1.1\nrun 1s\ncrash 1.1", "restart 1.1"):
        with pytest.raises(Refused):
            parse(NOTE + lines)
        timed = "\n".join(f"at {number + 1}s {line}" for number, line in enumerate(lines.splitlines()))
        told = run_scenario(parse(f"{NOTE}{timed}\nrun 9s"), seed=1).transcript
        assert any(" already" in line for line in told), told


@pytest.mark.parametrize("seed", range(12))
def test_what_is_drawn_is_never_refused(seed: int) -> None:
    names = tuple(kind.name for kind in kinds())
    parse(draw(seed, servers=5, minutes=1.0, faults=names))


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_drawn_of_links_that_there_are_not(seed: int) -> None:
    text = draw(seed, servers=7, shape="line, no other links", faults=("one-way cut", "loss", "jitter"))
    assert "no other links" in text
    parse(text)


def test_what_is_advised_of_classes_is_not_refused_itself() -> None:
    for text in ("class Note text:int\n1 commits 1 Note", "class Note size:int unique text:int size:string index"):
        with pytest.raises(Refused) as refused:
            parse(f"servers 2\n{text}")
        advised = refused.value.next_step.partition(": ")[2]
        assert parse(f"servers 2\n{advised}").steps[0].text == advised
