"""The table of fault kinds: every verb that breaks something is drawn, and what is drawn can be read."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest

from identity.errors import Refused
from simulations.faults import Kind, Mesh, check_kinds, kinds, like, understands
from simulations.scenario import parse
from simulations.steps import ID, NUMBER, SECONDS, Verb

FIVE = Mesh(("1", "1.1", "1.2", "1.3", "1.4"), (("1", "1.1"), ("1.1", "1.2"), ("1.2", "1.3"), ("1.3", "1.4")))


def nothing(*groups: Any) -> Any:
    return groups


def accepts_small(name: str, number: str, unit: str) -> Any:
    if float(number) > 100:
        raise Refused("too long")
    return name, unit


def test_every_fault_of_every_verb_can_be_drawn_and_read() -> None:
    random = Random(1)
    table = kinds()
    assert len(table) >= 3
    for kind in table:
        lines = [kind.draw(random, FIVE) for _ in range(20)]
        for line in lines:
            assert line is not None
            timed = f"at 3s {line}" + (" for 2s" if kind.lasting else "")
            parse(f"servers 5 line\nclass Note text:string\n{line}\n{timed}")
        if any(re.search(r"\d", verb.says) for verb in kind.verbs):
            assert len(set(lines)) > 1, f"{kind.name} is always the same"


def test_a_new_verb_joins_by_its_example_alone() -> None:
    verb = Verb(rf"{ID} sneezes {NUMBER} times", (1,), nothing, "at 3s 1.2 sneezes 4 times for 8s", True, "sneeze")
    kind = kinds(verbs=[verb])[0]
    assert kind == Kind("sneeze", (verb,))
    drawn = {kind.draw(Random(seed), FIVE) for seed in range(60)}
    assert {line.split()[0] for line in drawn} == set(FIVE.servers)
    assert {line.split()[2] for line in drawn} == {"1", "2", "4", "8", "16"}
    assert all(understands(verb, line, FIVE) for line in drawn)


def test_two_servers_of_an_example_are_neighbours_mostly() -> None:
    verb = Verb(rf"cut {ID} > {ID}", (1, 2), nothing, "cut 1.1 > 1.2")
    drawn = [tuple(like(verb, Random(seed), FIVE).replace("cut ", "").split(" > ")) for seed in range(200)]
    assert all(one != other for one, other in drawn)
    near = sum(pair in FIVE.links or pair[::-1] in FIVE.links for pair in drawn)
    assert 150 < near < 200
    assert len(set(drawn)) > 8  # both ways


def test_groups_hold_everybody_once() -> None:
    for seed in range(50):
        line = kinds(["partition"])[0].draw(Random(seed), FIVE)
        groups = [each.split() for each in line.removeprefix("part ").split("|")]
        assert sorted(name for group in groups for name in group) == list(FIVE.servers)
        assert all(groups)


def test_a_figure_that_its_verb_refuses_is_drawn_again() -> None:
    verb = Verb(rf"{ID} naps {SECONDS}", (1,), accepts_small, "1.2 naps 90s", fault="nap")
    kind = kinds(verbs=[verb])[0]
    figures = {kind.draw(Random(seed), FIVE).split()[2] for seed in range(40)}
    assert figures == {"90s", "45s", "22.5s"}


def test_a_name_that_is_the_same_in_an_example_stays_the_same() -> None:
    verb = Verb(rf"{ID} tells {ID} of {ID}", (1, 2, 3), nothing, "1.2 tells 1.1 of 1.2")
    one, _, other, _, again = like(verb, Random(3), FIVE).split()
    assert one == again != other


def test_a_mesh_of_one_is_drawn_on_too() -> None:
    alone = Mesh(("1",), ())
    verb = Verb(rf"crash {ID}", (1,), nothing, "crash 1.2", True, "crash")
    assert kinds(verbs=[verb])[0].draw(Random(1), alone) == "crash 1"
    assert kinds(["one-way cut"])[0].draw(Random(1), alone) is None


def test_an_unknown_fault_is_refused_with_what_is_near() -> None:
    assert [kind.name for kind in kinds(["crash"])] == ["crash"]
    with pytest.raises(Refused, match="no fault 'crsh'") as refused:
        kinds(["crsh"])
    assert "crash" in refused.value.next_step


def test_an_example_that_is_none_is_found() -> None:
    verb = Verb(rf"crash {ID}", (1,), nothing, "smash 1.2", fault="smash")
    with pytest.raises(Refused, match="does not fit its own verb"):
        kinds(verbs=[verb])[0].draw(Random(1), FIVE)


def test_what_a_mesh_cannot_have_is_not_drawn_and_refused_where_it_was_asked_for() -> None:
    three = Mesh(("1", "1.1", "1.2"), (("1", "1.1"), ("1.1", "1.2")))
    assert kinds(["majority ring"])[0].draw(Random(1), three) is None
    assert kinds(["bridge"])[0].draw(Random(1), three) is not None
    with pytest.raises(Refused, match="3 servers are too few for the fault 'majority ring'") as refused:
        check_kinds(["crash", "majority ring"], 3)
    assert refused.value.next_step == "write --nodes 4 or more, or other --faults"
    check_kinds([kind.name for kind in kinds()], 4)
    check_kinds(["crash"], 1)
