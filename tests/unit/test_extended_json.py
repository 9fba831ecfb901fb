"""The slow road of odd documents makes of others what the fast one makes."""

from json import loads
from typing import Any

from bson import encode
from hypothesis import given

from service.bson.transcoding import Place
from service.store.extended_json import to_row
from tests.unit.test_transcoding import documents, row_of


@given(documents)
def test_an_ordinary_document_is_shown_as_by_the_fast_road(document: dict[str, Any]) -> None:
    json, place = to_row(encode(document), time_field="at", id_suffix="!thread", names=None)

    fast = row_of(document)
    assert (read(fast.json), fast.place) == (read(json), place)


def read(text: bytes | bytearray) -> Any:
    """With keys in their order, and floats apart from integers, however they are written: `1e-05`
    is `0.00001`."""
    return loads(text, object_pairs_hook=list, parse_float=lambda one: ("float", float(one)))


def test_what_has_neither_time_nor_id_has_a_place_all_the_same() -> None:
    json, place = to_row(encode({"id": 5, "at": "x"}), time_field="at", id_suffix="", names=None)

    assert (json, place) == (b'{"id":5,"at":"x"}', Place(None, ""))
