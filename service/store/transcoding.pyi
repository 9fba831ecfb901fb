from collections.abc import Collection
from typing import NamedTuple

class Place(NamedTuple):
    time: int
    id: str

class Row(NamedTuple):
    json: bytearray
    place: Place
    end: int

class Rows(NamedTuple):
    json: bytearray
    number: int
    last: Place | None
    following: Place | None

class Transcoder:
    def __init__(
        self, *, time_field: str, id_suffix: str, names: Collection[str] | None
    ) -> None: ...
    def row(self, documents: bytes, start: int) -> Row: ...
    def rows(self, documents: bytes, at_most: int, max_bytes: int) -> Rows: ...
