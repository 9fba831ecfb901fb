"""What other tools put around an event is taken off (contract 1.2)."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.activities.events import parse_event
from service.activities.examples import wrapped
from service.errors import Rejected
from tests.examples import examples
from tests.factories import WRAPPINGS, event, record
from tests.unit.test_events_against_model import assert_read_alike

FRAME = b"\0\0\0\0\7"


def in_connect(content: object) -> dict[str, Any]:
    return {"schema": None, "payload": content}


def in_cloud_event(content: object) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/a", "type": "b", "data": content}


def in_webhook(content: object) -> dict[str, Any]:
    return {"subscription_id": "whsub_1", "event": content}


LAYERS = (in_connect, in_cloud_event, in_webhook)


def code_of(value: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        parse_event(value)
    return caught.value.code


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_wrapped_event_is_the_plain_one(wrap: Any) -> None:
    assert parse_event(wrap(event())) == parse_event(record(event()))


@pytest.mark.parametrize("name", list(wrapped()))
def test_examples_are_read_as_what_they_wrap(name: str) -> None:
    plain, value = wrapped()[name]

    assert parse_event(value) == parse_event(record(plain))


@pytest.mark.parametrize("frame", [b"", FRAME])
@pytest.mark.parametrize("count", [2, 3])
def test_one_of_each_is_taken_off_in_order(frame: bytes, count: int) -> None:
    for layers in combinations(LAYERS, count):
        content: Any = event()
        for layer in reversed(layers):
            content = layer(content)
        assert parse_event(frame + record(content)) == parse_event(record(event()))


@pytest.mark.parametrize("outer", LAYERS)
@pytest.mark.parametrize("inner", LAYERS)
def test_none_is_taken_off_twice_or_out_of_order(outer: Any, inner: Any) -> None:
    value = record(outer(inner(event())))

    if LAYERS.index(outer) < LAYERS.index(inner):
        assert parse_event(value) == parse_event(record(event()))
    else:
        assert code_of(value) == "invalid_event"


def test_frames_are_taken_off_once() -> None:
    assert code_of(FRAME + FRAME + record(event())) == "invalid_json"


@pytest.mark.parametrize("frame", [b"\0", FRAME[:4], FRAME, b"\1\0\0\0\7"])
def test_what_is_too_short_or_begins_otherwise_is_no_frame(frame: bytes) -> None:
    is_short = len(frame) <= len(FRAME) and frame[0] == 0
    assert code_of(frame if is_short else frame + record(event())) == "invalid_json"


@pytest.mark.parametrize(
    "half",
    [
        {"payload": event()},
        {"schema": None, "payload": event(), "topic": "a"},
        {"specversion": "1.0", "data_base64": ""},
        {"subscription_id": "whsub_1"},
        {"event": event()},
    ],
)
def test_half_a_wrapping_is_no_event(half: dict[str, Any]) -> None:
    assert code_of(record(half)) == "invalid_event"


@pytest.mark.parametrize("content", [None, [], "text", 5])
@pytest.mark.parametrize("layer", LAYERS)
def test_what_is_wrapped_must_be_an_object(layer: Any, content: object) -> None:
    assert code_of(record(layer(content))) == "invalid_event"


def test_headers_of_binary_cloud_events_need_nothing() -> None:
    value = record(event() | {"type": "activity.note.created", "source": "/a"})

    assert parse_event(value) == parse_event(record(event()))


PIECES = st.recursive(
    st.sampled_from([None, {}, [], event(), {"object_type": "lead"}]),
    lambda inner: st.one_of(
        [st.builds(layer, inner) for layer in LAYERS]
        + [st.builds(lambda one: {**in_connect(one), "data": one, "specversion": 1}, inner)]
    ),
    max_leaves=4,
)


@settings(max_examples=examples(200), deadline=None)
@given(PIECES, st.sampled_from([b"", b"\0", FRAME, FRAME * 2]))
def test_wrappings_are_taken_off_alike(content: object, frame: bytes) -> None:
    assert_read_alike(frame + record(content))
