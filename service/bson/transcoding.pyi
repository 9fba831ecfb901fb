from collections.abc import Collection, Iterator
from typing import NamedTuple, final

class Place(NamedTuple):
    time: int
    id: str

class Row(NamedTuple):
    json: bytearray
    place: Place

class Rows(NamedTuple):
    json: bytearray
    number: int
    last: Place | None
    following: Place | None

@final
class Documents:
    def __init__(self, cursor: bytes | memoryview) -> None: ...
    @property
    def cursor(self) -> bytes | memoryview: ...
    @property
    def cursor_id(self) -> int: ...

@final
class Transcoder:
    def __init__(
        self, *, time_field: str, id_suffix: str, names: Collection[str] | None
    ) -> None: ...
    def each(self, documents: Documents) -> Iterator[Row]: ...
    def rows(self, documents: Documents, at_most: int, max_bytes: int) -> Rows: ...
