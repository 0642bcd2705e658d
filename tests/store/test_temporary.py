"""Temporary objects are as any of their class, end with their session, and lend their handles on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import LocalMistake, NotFound, Refused
from store import temporary
from store.database import Database
from store.definitions import ClassDefinition, definition_from_toml
from store.query import Question
from store.registry import FIRST_USER_NUMBER, Registry
from store.temporary import MAX_HANDLE, Session

NOTE = definition_from_toml(
    """
name = "Note"
[fields]
text = { type = "string", max_length = 9 }
stars = { type = "int", default = 1 }
"""
)
KNOWN = Registry(b"").with_known(FIRST_USER_NUMBER, NOTE)


@pytest.fixture
async def database(server: Any, shoe: ClassDefinition) -> AsyncIterator[Database]:
    async with server.open() as opened:
        await opened.define(shoe)
        yield opened


@given(
    st.lists(
        st.tuples(st.sampled_from(["create", "update", "delete"]), st.integers(0, 9), st.integers(-5, 5)), max_size=60
    )
)
def test_a_session_is_a_dictionary_whose_least_free_number_is_next(acts: list[tuple[str, int, int]]) -> None:
    with Session(lambda: KNOWN) as session:
        model: dict[int, dict[str, Any]] = {}
        for act, number, stars in acts:
            if act == "create":
                handle = session.create("Note", {"stars": stars})
                assert handle == min(set(range(1, len(model) + 2)) - set(model))
                model[handle] = {"text": None, "stars": stars}
            elif number not in model:
                with pytest.raises(NotFound):
                    session.update(number, {}) if act == "update" else session.delete(number)
            elif act == "update":
                session.update(number, {"stars": stars})
                model[number]["stars"] = stars
            else:
                session.delete(number)
                del model[number]
            assert {each: session.get(each) for each in session.handles()} == model
        assert all(1 <= each <= MAX_HANDLE for each in session.handles())


def test_fields_are_checked_as_of_any_object() -> None:
    with Session(lambda: KNOWN) as session:
        handle = session.create("Note", {})
        assert session.get(handle) == {"text": None, "stars": 1}
        assert session.class_of(handle) == "Note"
        for fields in ({"stars": "many"}, {"text": "x" * 10}, {"colour": 1}):
            with pytest.raises(Refused):
                session.update(handle, fields)
            with pytest.raises(Refused):
                session.create("Note", fields)
        assert session.get(handle) == {"text": None, "stars": 1}
        with pytest.raises(Refused, match="Town"):
            session.create("Town", {})


async def test_one_is_kept_as_a_permanent_object(database: Database) -> None:
    with database.session() as session:
        one = session.create("Shoe", {"name": "one", "size": 5})
        double = session.create("Shoe", {"name": "one"})
        kept = await database.transact(lambda t: session.keep(t, one))
        with pytest.raises(Refused, match="is taken"):
            await database.transact(lambda t: session.keep(t, double))
        session.update(one, {"size": 6})
    with database.view() as view:
        assert [(each.reference, each.fields["size"]) for each in view.select(Question("Shoe"))] == [(kept, 5)]


async def test_sessions_share_nothing_and_end(database: Database) -> None:
    with database.session() as one, database.session() as other:
        assert one.create("Shoe", {"name": "one"}) == other.create("Shoe", {"name": "other"}) == 1
        assert (one.get(1)["name"], other.get(1)["name"]) == ("one", "other")
    for act in (lambda: one.get(1), lambda: one.create("Shoe", {"name": "x"}), lambda: one.delete(1)):
        with pytest.raises(LocalMistake, match="after its end"):
            act()
    with database.view() as view:
        assert not list(view.select(Question("Shoe")))


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "MAX_CHANGES", 3)
    monkeypatch.setattr(temporary, "MAX_BODY_BYTES", 30)
    with Session(lambda: KNOWN) as session:
        for _ in range(3):
            session.create("Note", {})
        with pytest.raises(Refused, match="3 and 30 allowed"):
            session.create("Note", {})
        session.update(1, {"text": "x" * 9})
        session.update(2, {"text": "x" * 9})
        with pytest.raises(Refused, match="3 and 30 allowed"):
            session.update(3, {"text": "x" * 9})
        session.delete(1)
        session.update(3, {"text": "x" * 9})
        assert list(session.handles()) == [2, 3]
