from datetime import datetime, timedelta
from typing import NamedTuple

class Instant(NamedTuple):
    time: datetime
    rest: int

def parse_datetime(text: object) -> datetime: ...
def parse_microseconds(text: object) -> int: ...
def parse_instant(text: object, *, offset: timedelta = ...) -> Instant: ...
