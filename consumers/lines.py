"""Files of events: JSON Lines, plain or compressed with gzip or zstd."""

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import zstandard

from service.errors import StartError

STANDARD_INPUT = "-"
_MARKS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MARK_SIZE = 4


class Line(NamedTuple):
    """One event of a file: the value of a record."""

    file: str
    number: int
    value: bytes


def read_lines(
    path: str, max_bytes: int, on_progress: Callable[[int], None] = lambda _: None
) -> Iterator[Line]:
    """The lines of a file, without empty ones; of a file `*.json` the whole is one.

    A line of more than `max_bytes` comes cut to one byte more. `on_progress` is told how many bytes
    of the file as it lies there have been read since it was told last. Raises `StartError` where the
    file cannot be read.
    """
    try:
        with _opened(path) as file, _unpacked(file) as content:
            told = 0
            for number, value in _split(content, max_bytes, is_one=path.endswith(".json")):
                yield Line(path, number, value)
                place = _position(file)
                on_progress(place - told)
                told = place
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise StartError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def size_of(paths: tuple[str, ...]) -> int | None:
    """The bytes of all files together; None where that is not known."""
    try:
        return sum(Path(path).stat().st_size for path in paths)
    except OSError:  # standard input, or none at all, which the reader says
        return None


@contextmanager
def _opened(path: str) -> Iterator["BufferedReader[Any]"]:
    if path == STANDARD_INPUT:
        given: BufferedReader[Any] = BufferedReader(cast("RawIOBase", sys.stdin.buffer))
        try:
            yield given
        finally:
            given.detach()
        return
    with Path(path).open("rb") as file:
        yield file


@contextmanager
def _unpacked(file: "BufferedReader[Any]") -> Iterator[IO[bytes]]:
    """What the file holds, whatever it was compressed with: its first bytes say so."""
    start = file.peek(_MARK_SIZE)[:_MARK_SIZE]
    kind = next((kind for mark, kind in _MARKS.items() if start.startswith(mark)), None)
    if kind == "gzip":
        with gzip.open(file) as unpacked:
            yield cast("IO[bytes]", unpacked)
    elif kind == "zstd":
        reader = zstandard.ZstdDecompressor().stream_reader(
            file, read_across_frames=True, closefd=False
        )
        with BufferedReader(reader) as content:
            yield content
    else:
        yield file


def _split(content: IO[bytes], max_bytes: int, *, is_one: bool) -> Iterator[tuple[int, bytes]]:
    if is_one:
        yield 1, content.read(max_bytes + 1).strip()
        return
    for number in count(1):
        line = content.readline(max_bytes + 2)
        if not line:
            return
        rest = line
        while rest and not rest.endswith(b"\n"):  # what is too long is not kept
            rest = content.readline(max_bytes)
        value = line.rstrip(b"\r\n")
        if value.strip():
            yield number, value


def _position(file: "BufferedReader[Any]") -> int:
    return file.tell() if file.seekable() else 0
