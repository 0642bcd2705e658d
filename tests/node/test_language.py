"""A text is a question, or it is refused at the very column where it stops being one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Refused
from identity.names import Pattern
from node.language import Asked, F, find, parse, text_of
from store.query import MAX_NESTING, And, Compare, Not, Or, Question


def test_a_sentence_becomes_a_question() -> None:
    text = 'City where population > 5000000 and name ^= "S" from 1.7.* order by -population limit 10'
    question = Question(
        "City",
        And((Compare("population", ">", 5_000_000), Compare("name", "^=", "S"))),
        (("population", True),),
        10,
        None,
    )
    assert parse(text) == Asked(question, Pattern("1.7.*"))
    assert text_of(*parse(text)) == text


def test_the_builder_says_the_same() -> None:
    built = find("City").where((F.population > 5_000_000) & F.name.startswith("S")).servers("1.7.*")
    built = built.order_by("-population").limit(10)
    text = 'City where population > 5000000 and name ^= "S" from 1.7.* order by -population limit 10'
    assert str(built) == text
    assert built.asked() == parse(text)
    assert str(find("City").where(~(F.name == None) | F.name.one_of("a", "b"))) == (  # noqa: E711 - it builds
        'City where (not (name is null)) or name in ["a", "b"]'
    )


def test_a_builder_condition_is_no_yes_or_no() -> None:
    with pytest.raises(Refused, match="no yes or no"):
        bool(F.a == 1 and F.b == 2)


X = Compare("x", "=", 1)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("A where x = 1 or y = 2 and z = 3", Or((X, And((Compare("y", "=", 2), Compare("z", "=", 3)))))),
        ("A where (x = 1 or y = 2) and z = 3", And((Or((X, Compare("y", "=", 2))), Compare("z", "=", 3)))),
        ("A where not x is not null", Not(Not(Compare("x", "is null", None)))),
        ("A where x not in (1, 2.5)", Not(Compare("x", "in", (1, 2.5)))),
        ("A where x = 'it\\'s \"so\"'", Compare("x", "=", 'it\'s "so"')),
        ('A where x = "\\u00e9\\n"', Compare("x", "=", "é\n")),
        ("A where x != -1.5e3", Compare("x", "!=", -1500.0)),
        ("A where limit = true", Compare("limit", "=", True)),
        ("A where orbital = false", Compare("orbital", "=", False)),
        ("A\n where\tx=1", Compare("x", "=", 1)),
    ],
)  # fmt: skip
def test_conditions(text: str, where: object) -> None:
    assert parse(text).question.where == where


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "expected a name, but the question ends there"),
        ("City whre x = 1", 6, "'whre' stands there"),
        ("City where", 11, "expected a name, ( or not"),
        ("City where x ~ 1", 14, "a comparison"),
        ("City where x =", 15, "the question ends there"),
        ("City from x", 11, "a pattern of servers"),
        ("City limit -3", 12, "a limit of -3"),
        ("City limit 99999999999999999999", 12, "beyond 64 bits"),
        ("A where x in []", 15, "']' stands there"),
        ('A where x = "\\q"', 13, "an escape that JSON does not know"),
        ("A where x = 1e999", 13, "beyond a float"),
        ("A limit 1 limit 2", 11, "'limit' stands there twice"),
        ("A show x from 1 show y", 17, "'show' stands there twice"),
        ("A ü", 3, "'ü' stands there"),
    ],
)
def test_a_refusal_names_the_column_and_what_was_expected(text: str, column: int, words: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse(text)
    assert f"column {column} of the question" in refusal.value.cause
    assert words in refusal.value.cause


def test_a_refusal_in_a_text_of_lines_names_the_line() -> None:
    with pytest.raises(Refused, match="line 3, column 4"):
        parse("A\nwhere x=\n 1 2")


@pytest.mark.parametrize(
    "text",
    [
        "A where " + "(" * 30_000 + "x = 1",
        "A where " + "not " * 10_000 + "x = 1",
        "A where " + " and ".join(["x = 1"] * 5_000),
        "A" * 70_000,
        "A where x in [" + "1," * 5_000 + "]",
    ],
)
def test_what_is_too_deep_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse(text)


def test_nesting_up_to_the_bound_is_allowed() -> None:
    assert parse("A where " + "not " * (MAX_NESTING - 1) + "x = 1")
    with pytest.raises(Refused, match="nested"):
        parse("A where " + "not " * MAX_NESTING + "x = 1")


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
values = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
comparisons = st.one_of(
    st.builds(Compare, names, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "^="]), values),
    st.builds(Compare, names, st.just("in"), st.lists(values, min_size=1, max_size=3).map(tuple)),
    st.builds(Compare, names, st.just("is null"), st.none()),
)
several = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
questions = st.builds(
    Question,
    names,
    st.none() | several,
    st.lists(st.tuples(names, st.booleans()), max_size=3).map(tuple),
    st.none() | st.integers(0, 10**9),
    st.none() | st.lists(names, min_size=1, max_size=3).map(tuple),
)
patterns = st.none() | st.sampled_from(["1", "1.7.*", "*", "*,-1.7.3", "1.2,1.3"]).map(Pattern)


@given(questions, patterns)
def test_what_is_written_is_read_back(question: Question, servers: Pattern | None) -> None:
    assert parse(text_of(question, servers)) == Asked(question, servers)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_ask_or_be_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        assert isinstance(parse(text), Asked)


def test_clauses_may_stand_in_any_order() -> None:
    usual = parse("A where x = 1 from 1.* order by -y limit 3 show z")
    assert parse("A show z limit 3 order by -y from 1.* where x = 1") == usual


def test_what_a_list_contains() -> None:
    for text, condition in (
        ('City where tags contains "a"', Compare("tags", "contains", "a")),
        ("City where marks contains 5", Compare("marks", "contains", 5)),
        ("City where `contains` contains true", Compare("contains", "contains", True)),
        ('City where not tags contains "a"', Not(Compare("tags", "contains", "a"))),
    ):
        assert parse(text).question.where == condition
        assert parse(text_of(parse(text).question)) == parse(text)
    assert find("City").where(F.tags.contains("a")).asked() == parse('City where tags contains "a"')
    with pytest.raises(Refused, match="expected a text in quotes"):
        parse("City where tags contains")
