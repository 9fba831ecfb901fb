"""Cursors: opaque, signed, bound to what they walk through (contract 3.4)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.listing.cursor import MAX_CURSOR_CHARACTERS, Cursors
from service.listing.query import Bounds, Condition, Cursor, Fields, Query, Sort

CURSORS = Cursors("a secret of sixteen characters")
QUERY = Query(
    "orga_1",
    types=("Call", "Email"),
    leads=("lead_1",),
    conditions=(Condition("user_id", frozenset({"user_1"})),),
)
POSITION = Cursor(1_767_348_000_001, "acti_1!thread")

times = st.integers(-62_135_596_800_000, 253_402_300_799_999)
stored_ids = st.from_regex(r"\A[A-Za-z0-9_.:@-]{1,128}(!thread)?\Z")


@given(time=times, stored_id=st.none() | stored_ids)
def test_a_cursor_comes_back_as_its_position(time: int, stored_id: str | None) -> None:
    position = Cursor(time, stored_id)

    text = CURSORS.encode(QUERY, position)

    assert CURSORS.decode(text, QUERY) == position
    assert len(text) <= MAX_CURSOR_CHARACTERS


@pytest.mark.parametrize("change", [{"limit": 5}, {"fields": Fields(frozenset({"id"}))}])
def test_the_limit_and_the_fields_may_change(change: dict[str, Any]) -> None:
    text = CURSORS.encode(QUERY, POSITION)

    assert CURSORS.decode(text, replace(QUERY, **change)) == POSITION


@pytest.mark.parametrize(
    "change",
    [
        {"organization_id": "orga_2"},
        {"types": ("Call",)},
        {"leads": ("lead_2",)},
        {"leads": None},
        {"ids": ("acti_1",)},
        {"conditions": ()},
        {"conditions": (Condition("contact_id", frozenset({"user_1"})),)},
        {"only_custom_types": frozenset({"actitype_1"})},
        {"sort": Sort("activity_at")},
        {"sort": Sort(descending=False)},
        {"bounds": Bounds(lowest=0)},
        {"bounds": Bounds(highest=0)},
        {"strips_emails": True},
    ],
    ids=str,
)
def test_a_cursor_of_another_query_is_refused(change: dict[str, Any]) -> None:
    text = CURSORS.encode(replace(QUERY, **change), POSITION)

    with pytest.raises(InvalidRequest, match="_cursor") as refusal:
        CURSORS.decode(text, QUERY)
    assert refusal.value.parameter == "_cursor"


def test_a_cursor_of_another_secret_is_refused() -> None:
    text = Cursors("some other secret of the like").encode(QUERY, POSITION)

    with pytest.raises(InvalidRequest, match="_cursor"):
        CURSORS.decode(text, QUERY)


@given(place=st.integers(0, 10_000), character=st.characters())
@example(place=-1, character="A")
@example(place=-1, character="B")
@example(place=-1, character="C")
@example(place=-1, character="D")
def test_a_changed_cursor_is_refused(place: int, character: str) -> None:
    text = CURSORS.encode(QUERY, POSITION)
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]

    assume(changed != text)
    with pytest.raises(InvalidRequest, match="_cursor"):
        CURSORS.decode(changed, QUERY)


@given(text=st.text())
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="_cursor"):
        CURSORS.decode(text, QUERY)


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_cut_cursor_is_refused(cut: int) -> None:
    with pytest.raises(InvalidRequest, match="_cursor"):
        CURSORS.decode(CURSORS.encode(QUERY, POSITION)[:-cut], QUERY)


def test_an_oversized_cursor_is_refused_unread() -> None:
    with pytest.raises(InvalidRequest, match="_cursor"):
        CURSORS.decode("x" * 1_000_000, QUERY)
