from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, Self, final

class Place(NamedTuple):
    time: int | None
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
    def __new__(cls, cursor: bytes | memoryview) -> Self: ...
    @property
    def cursor(self) -> bytes | memoryview: ...
    @property
    def cursor_id(self) -> int: ...

@final
class Transcoder:
    def __new__(
        cls,
        *,
        time_field: str,
        id_suffix: str,
        names: Collection[str] | None,
        show_odd: Callable[[bytes], tuple[bytes, Place]] | None = None,
    ) -> Self: ...
    def each(self, documents: Documents) -> Iterator[Row]: ...
    def rows(self, documents: Documents, at_most: int, max_bytes: int) -> Rows: ...
