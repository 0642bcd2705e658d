"""A failing scenario made small: what comes out still breaks, and nothing simpler does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulations.shrink import fewer_servers, fewer_words, shrink, smaller_numbers

LONG = """
servers 5 ring
link delay 20ms jitter 10ms loss 1%     # all of them
class Note text:string
1.2 mirrors 1.1
1.3 mirrors 1.1
at 1.2s 1.1 commits 50 Note
at 3s part 1 1.1 | 1.2 1.3 1.4 for 8s
at 4s 1.4 commits 5 Note
at 6.271s crash 1.2 for 4s
at 9s cut 1.1 > 1.4 for 3s
run 60s
heal
expect every promise within 120s
""".strip().splitlines()


def test_two_lines_that_matter_are_found_and_made_plain() -> None:
    shrunk = shrink(LONG, lambda lines: any("mirrors" in line for line in lines) and any("crash" in e for e in lines))
    assert shrunk.minimal
    assert len(shrunk.lines) == 2
    assert shrunk.lines == ("1.2 mirrors 1.1", "crash 1.2")


def test_what_must_stay_stays_and_is_not_changed() -> None:
    kept = ("heal", "expect every promise within 120s")
    shrunk = shrink(LONG, lambda lines: any("crash" in line for line in lines), keep=lambda line: line in kept)
    assert shrunk.lines == ("crash 1.2", *kept)


def test_a_number_goes_to_the_least_that_still_breaks() -> None:
    def breaks(lines: tuple[str, ...]) -> bool:
        commits = [line.split() for line in lines if "commits" in line]
        return any(words[words.index("commits") + 1].isdigit() for words in commits) and any(
            int(words[words.index("commits") + 1]) >= 13 for words in commits
        )

    assert shrink(LONG, breaks).lines == ("1.1 commits 13 Note",)


def test_a_mesh_gets_smaller_when_the_names_allow() -> None:
    def breaks(lines: tuple[str, ...]) -> bool:
        servers = int(lines[0].split()[1]) if lines[0].startswith("servers ") else 0
        named = [int(word[2:]) for line in lines[1:] for word in line.split() if word.startswith("1.")]
        return bool(named) and max(named) < servers

    lines = ("servers 5 ring", "1.4 commits 5 Note", "part 1 1.4 | 1.2")
    shrunk = shrink(lines, breaks)
    assert shrunk.lines[0] == "servers 2"
    assert shrunk.lines[1] == "1.1 commits 1 Note"


def test_the_tries_end_the_search_and_it_says_so() -> None:
    shrunk = shrink(LONG, lambda lines: len(lines) > 3, tries=4)
    assert shrunk.tries == 4
    assert not shrunk.minimal
    assert len(shrunk.lines) > 3


def test_the_same_candidate_is_not_tried_twice() -> None:
    tried: list[tuple[str, ...]] = []

    def breaks(lines: tuple[str, ...]) -> bool:
        tried.append(lines)
        return len(lines) > 5 and lines[0].startswith("servers")

    shrink(LONG, breaks)
    assert len(tried) == len(set(tried))


def test_smaller_ones_are_told_as_they_are_found() -> None:
    told: list[int] = []
    shrink(LONG, lambda lines: len(lines) >= 4, told=lambda lines: told.append(len(lines)))
    assert told == sorted(told, reverse=True)
    assert told[-1] == 4


@given(st.lists(st.integers(0, 12), max_size=4, unique=True))
def test_any_subset_of_lines_is_found_whole(needed: list[int]) -> None:
    names = [f"step{number} x" for number in range(13)]
    wanted = {names[number] for number in needed}
    shrunk = shrink(names, lambda lines: wanted <= set(lines))
    assert set(shrunk.lines) == (wanted or {names[0]}) or (not wanted and len(shrunk.lines) == 1)


def test_words_that_can_go() -> None:
    found = list(fewer_words(("servers 4 ring", "link delay 20ms loss 1%", "at 3s crash 1.1 for 4s")))
    assert [each[0] for each in found[:1]] == ["servers 4"]
    alone = [each[0] for each in fewer_words(("servers 4 ring, no other links",))]
    assert alone == ["servers 4", "servers 4 ring"]
    assert {each[1] for each in found} == {"link delay 20ms loss 1%", "link loss 1%", "link delay 20ms"}
    assert {each[2] for each in found} == {"at 3s crash 1.1 for 4s", "crash 1.1 for 4s", "at 3s crash 1.1"}


def test_numbers_that_are_names_are_left_alone() -> None:
    lines = ("1.2 mirrors 1.1 for 5s", "1 commits 8 Note", "part 1 1.1 | 1.2 1.3", "at 6.271s crash 1.1")
    changed = {after[at] for after in smaller_numbers(lines) for at in range(4) if after[at] != lines[at]}
    assert changed == {
        "1.2 mirrors 1.1 for 1s", "1.2 mirrors 1.1 for 2s", "1.2 mirrors 1.1 for 4s",
        "1 commits 1 Note", "1 commits 4 Note", "1 commits 7 Note",
        "at 0s crash 1.1", "at 3s crash 1.1", "at 6s crash 1.1", "at 6.2s crash 1.1",
    }  # fmt: skip


def test_the_last_server_takes_a_name_that_is_free() -> None:
    found = list(fewer_servers(("servers 4", "1.3 commits 1 Note", "part 1 | 1.3 1.2")))
    assert ("servers 3", "1.1 commits 1 Note", "part 1 | 1.1 1.2") in found
    assert ("servers 3", "1.3 commits 1 Note", "part 1 | 1.2") in found
