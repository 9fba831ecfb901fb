"""BSON to JSON, held against the driver's own reading and `orjson`'s writing."""

import json
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from bson import DatetimeMS, Int64, ObjectId, Timestamp, decode, encode
from bson.raw_bson import RawBSONDocument
from hypothesis import example, given
from hypothesis import strategies as st

from service.bson.transcoding import Documents, Place, Row, Transcoder

UNBOUNDED = 2**40
YEAR_1 = datetime(1, 1, 1)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999000)

times = st.datetimes(YEAR_1, LAST).map(
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
keys = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=40)
    | times
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)
documents = st.builds(
    # What has been stored: the driver puts an `_id` first.
    lambda fields, id_, time: decode(encode({**fields, "id": id_, "at": time})),
    st.dictionaries(keys, values, max_size=8),
    st.text(st.characters(codec="utf-8"), max_size=20),
    times,
)


def transcoder(names: set[str] | None = None, suffix: str = "!thread") -> Transcoder:
    return Transcoder(time_field="at", id_suffix=suffix, names=names)


def cursor_of(found: Sequence[Mapping[str, Any]], **others: Any) -> bytes:
    return encode({"firstBatch": found, "id": Int64(0), "ns": "a.b", **others})


def documents_of(*found: Mapping[str, Any]) -> Documents:
    return Documents(cursor_of(list(found)))


def row_of(document: Mapping[str, Any], **how: Any) -> Row:
    (row,) = transcoder(**how).each(documents_of(document))
    return row


def text_of(value: Any) -> Any:
    """The value as `orjson` writes it."""
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_NAIVE_UTC))


def shown(document: dict[str, Any], **how: Any) -> Any:
    return json.loads(row_of(document, **how).json)


def place_of(document: dict[str, Any]) -> Place:
    milliseconds = (document["at"] - datetime(1970, 1, 1)) // timedelta(milliseconds=1)
    return Place(milliseconds, document["id"])


@given(st.lists(documents, max_size=4), st.integers(0, 4))
@example([], 1)
def test_rows_are_the_documents(found: list[dict[str, Any]], at_most: int) -> None:
    rows = transcoder(suffix="").rows(documents_of(*found), at_most, UNBOUNDED)

    taken, left = found[:at_most], found[at_most:]
    # Not `==` alone: 1.0 is 1, and -0.0 is 0.
    assert repr(orjson.loads(b"[" + rows.json + b"]")) == repr(text_of(taken))
    assert rows.number == len(taken)
    assert rows.last == (place_of(taken[-1]) if taken else None)
    assert rows.following == (place_of(left[0]) if left else None)


@given(st.lists(documents, max_size=4))
def test_rows_come_one_by_one(found: list[dict[str, Any]]) -> None:
    rows = list(transcoder(suffix="").each(documents_of(*found)))

    assert [row.place for row in rows] == [place_of(document) for document in found]
    assert repr([orjson.loads(row.json) for row in rows]) == repr(text_of(found))


@pytest.mark.parametrize("byte", range(128))
def test_every_character_is_escaped_wherever_it_stands(byte: int) -> None:
    """Eight bytes are looked at together: each place among them, and each neighbour."""
    texts = [
        "x" * before + chr(byte) * times + "é" * after
        for before in range(10)
        for times in (1, 2)
        for after in range(10)
    ]
    assert shown({"id": "", "at": YEAR_1, "texts": texts})["texts"] == texts
    if byte:
        keyed = {text + "k": 1 for text in texts}
        assert shown({"id": "", "at": YEAR_1, "keys": keyed})["keys"] == keyed


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (YEAR_1, "0001-01-01T00:00:00+00:00"),
        (LAST, "9999-12-31T23:59:59.999000+00:00"),
        (datetime(1969, 12, 31, 23, 59, 59, 999000), "1969-12-31T23:59:59.999000+00:00"),
        (datetime(2024, 2, 29, 1, 2, 3, 1000), "2024-02-29T01:02:03.001000+00:00"),
    ],
)
def test_dates_are_printed_as_the_contract_has_them(time: datetime, text: str) -> None:
    assert shown({"id": "", "at": time})["at"] == text


def test_numbers_that_json_does_not_have_are_null() -> None:
    """No event can bring one; a hand may."""
    numbers = [float("nan"), float("inf"), -float("inf")]

    assert shown({"id": "", "at": YEAR_1, "numbers": numbers})["numbers"] == [None] * 3


@given(documents, st.sets(keys | st.sampled_from(["id", "at"])))
@example({"first": 1, "id": "", "at": YEAR_1, "last": 1}, {"id"})
@example({"first": {"id": 1}, "id": "", "at": YEAR_1}, {"first"})
@example({"first": 1, "id": "", "at": YEAR_1}, set())
def test_only_named_fields_are_shown(document: dict[str, Any], names: set[str]) -> None:
    expected = {name: value for name, value in document.items() if name in names}

    row = row_of(document, names=names, suffix="")

    assert repr(orjson.loads(row.json)) == repr(text_of(expected))
    assert row.place == place_of(document)


def test_a_name_is_a_name_to_its_last_character() -> None:
    document = {"id": "a", "identity": "b", "i": "c", "at": YEAR_1, "at2": LAST, "a": LAST, "?": 1}

    row = row_of(document, names={"id", "a", "\udcff"})

    assert row.place == Place(place_of(document).time, "a")
    assert json.loads(row.json) == {"id": "a", "a": "9999-12-31T23:59:59.999000+00:00"}


@pytest.mark.parametrize(
    ("stored", "id_"),
    [
        ("acti_1!thread", "acti_1"),
        ("!thread", ""),
        ("thread", "thread"),
        ("acti_1", "acti_1"),
        ("", ""),
    ],
)
def test_an_id_is_shown_without_the_suffix(stored: str, id_: str) -> None:
    inner = {"id": "acti_2!thread"}
    row = row_of({"id": stored, "at": YEAR_1, "inner": inner})

    assert orjson.loads(row.json) == {"id": id_, "at": "0001-01-01T00:00:00+00:00", "inner": inner}
    assert row.place.id == stored


def test_no_more_is_written_than_tells_that_it_is_too_much() -> None:
    found = [{"id": str(n), "at": YEAR_1, "note": "x" * 1000} for n in range(9)]
    size = len(row_of(found[0]).json)

    assert transcoder().rows(documents_of(*found), 9, size - 1).number == 1
    assert transcoder().rows(documents_of(*found), 9, size).number == 2
    assert transcoder().rows(documents_of(*found), 9, UNBOUNDED).number == 9


def test_a_transcoder_can_be_used_again() -> None:
    reader = transcoder()
    (first,) = reader.each(documents_of({"id": "a", "at": YEAR_1}))

    (second,) = reader.each(documents_of({"id": "b", "at": LAST, "note": "x" * 5000}))

    assert orjson.loads(first.json)["id"] == "a"
    assert orjson.loads(second.json)["note"] == "x" * 5000


@pytest.mark.parametrize("id_", [0, 1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("as_view", [False, True])
def test_a_reply_names_its_cursor(id_: int, as_view: bool) -> None:
    """Its fields come in any order, among others."""
    cursor = encode(
        {
            "ns": "a.b",
            "postBatchResumeToken": {"firstBatch": 1, "id": Int64(5)},
            "atClusterTime": Timestamp(1, 2),
            "partialResultsReturned": True,
            "ok": 1.0,
            "at": YEAR_1,
            "number": 5,
            "nothing": None,
            "id": Int64(id_),
            "firstBatch": [{"id": "a", "at": YEAR_1}],
        }
    )
    found = Documents(memoryview(cursor) if as_view else cursor)

    assert found.cursor_id == id_
    assert found.cursor == cursor
    assert [row.place.id for row in transcoder().each(found)] == ["a"]


# --- what is no document ------------------------------------------------------------------------


@given(documents, st.data())
def test_broken_bytes_are_refused_or_read_but_never_overrun(
    document: dict[str, Any], data: st.DataObject
) -> None:
    cursor = bytearray(cursor_of([document, document]))
    for _ in range(data.draw(st.integers(1, 3))):
        cursor[data.draw(st.integers(0, len(cursor) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(1, len(cursor)))
    with suppress(ValueError):
        transcoder().rows(Documents(bytes(cursor[:end])), 5, UNBOUNDED)


@given(documents)
def test_a_reply_that_is_cut_off_is_refused(document: dict[str, Any]) -> None:
    cursor = cursor_of([document])
    for end in range(len(cursor)):
        with pytest.raises(ValueError, match=r"BSON|document|reply"):
            Documents(cursor[:end])


@pytest.mark.parametrize(
    ("cursor", "fault"),
    [
        ({"firstBatch": [], "ns": "a.b"}, "without a cursor"),
        ({"firstBatch": [], "id": 5}, "without a cursor"),
        ({"id": Int64(0), "ns": "a.b"}, "without documents"),
        ({"id": Int64(0), "firstBatch": {}}, "without documents"),
        ({"other": b"", "id": Int64(0)}, "kind 5"),
    ],
)
def test_another_reply_is_refused(cursor: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Documents(encode(cursor))


@pytest.mark.parametrize("value", [None, 1, "a", [{"id": "a"}]])
def test_what_is_no_document_is_refused(value: Any) -> None:
    found = Documents(encode({"firstBatch": [value], "id": Int64(0)}))
    with pytest.raises(ValueError, match="a document that is none"):
        transcoder().rows(found, 1, UNBOUNDED)


@pytest.mark.parametrize("lacking", [{"at": YEAR_1}, {"id": "b"}, {"id": 1, "at": YEAR_1}])
def test_a_document_has_an_id_and_a_time(lacking: dict[str, Any]) -> None:
    """What the one before it has is not its own."""
    before = {"id": "a", "at": LAST}
    with pytest.raises(ValueError, match="without an id or a time"):
        transcoder().rows(documents_of(before, lacking), 2, UNBOUNDED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x03\0\0\0xy\0", b"\x04\0\0\0xy\0"),  # a text that takes the document's end in
        (b"\x03\0\0\0xy\0", b"\x00\0\0\0xy\0"),
        (b"\x03\0\0\0xy\0", b"\xff\xff\xff\xffxy\0"),
        (b"\x05\0\0\0\0", b"\x05\0\0\0\x01"),  # a document that has no end
        (b"\x05\0\0\0\0", b"\x04\0\0\0\0"),
    ],
)
def test_a_size_that_is_wrong_by_one_is_noticed(old: bytes, new: bytes) -> None:
    cursor = cursor_of([{"id": "a", "at": YEAR_1, "inner": {}, "text": "xy"}])
    assert cursor.count(old) == 1

    with pytest.raises(ValueError, match=r"BSON|document|text"):
        transcoder().rows(Documents(cursor.replace(old, new)), 1, UNBOUNDED)


def test_a_kind_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 7"):
        row_of({"id": "", "at": YEAR_1, "other": ObjectId()})


@pytest.mark.parametrize("milliseconds", [-62_135_596_800_001, 253_402_300_800_000, -(2**63)])
def test_a_date_beyond_the_years_is_refused(milliseconds: int) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        row_of({"id": "", "at": DatetimeMS(milliseconds)})


@given(st.binary(max_size=24))
def test_a_text_is_utf8_or_refused(data: bytes) -> None:
    """As Python decodes it, which knows no surrogates and nothing longer than it need be."""
    place = b"\x02t\0" + struct.pack("<i", len(data) + 1) + data + b"\0"
    own = encode({"id": "", "at": YEAR_1})
    document = struct.pack("<i", len(own) + len(place)) + own[4:-1] + place + b"\0"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="no UTF-8"):
            row_of(RawBSONDocument(document))
    else:
        assert json.loads(row_of(RawBSONDocument(document)).json)["t"] == text


@pytest.mark.parametrize(
    "data", ["é", "ß\u20ac\U0001f600", "a" * 9 + "é", "\ud7ff\ue000\U0010ffff", "\x80\u0800"]
)
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_text_that_is_cut_inside_a_character_is_refused(data: str, cut: int) -> None:
    test_a_text_is_utf8_or_refused.hypothesis.inner_test(data.encode()[: -cut or None])  # type: ignore[attr-defined]


def test_what_is_odd_is_shown_by_whoever_can() -> None:
    def show(document: bytes) -> tuple[bytes, Place]:
        return b'{"odd":%d}' % len(document), Place(None, "z")

    odd = {"id": "b", "at": YEAR_1, "other": ObjectId()}
    ordinary = {"id": "a", "at": LAST}
    shows = Transcoder(time_field="at", id_suffix="", names=None, show_odd=show)

    rows = shows.rows(documents_of(ordinary, odd, ordinary), 2, UNBOUNDED)

    assert json.loads(b"[%b]" % bytes(rows.json))[1] == {"odd": len(encode(odd))}
    assert rows.last == Place(None, "z")
    assert rows.following == place_of(ordinary)


def test_nesting_has_an_end() -> None:
    """MongoDB's is at 200 levels; the stack of the process must not be the one to say so."""
    assert json.loads(row_of({"id": "", "at": YEAR_1, "deep": nested(199)}).json)
    for levels in (200, 5000):
        with pytest.raises(ValueError, match="too many"):
            row_of({"id": "", "at": YEAR_1, "deep": nested(levels)})


def nested(levels: int) -> RawBSONDocument:
    deep = encode({})
    for _ in range(levels - 1):
        deep = struct.pack("<i", len(deep) + 8) + b"\x03a\0" + deep + b"\0"
    return RawBSONDocument(deep)
