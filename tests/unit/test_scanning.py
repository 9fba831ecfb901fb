"""The look at a record's bytes, held against its definition in a line each."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.activities.scanning import is_plain

LEVELS = 3
# What the searches look for and what surrounds it, so that chance finds the edges.
pieces = st.sampled_from(
    rb"""a " $ \ \u0024 \u0000 \u002 [ { ] } 0 9 / : 111111111 222222222222222222
    3333333333333333333 xxxxxxxxxxxxxxxxx""".split()
)


def is_plain_by_definition(record: bytes) -> bool:
    return not (
        re.search(rb"\\u00(?:24|00)", record)
        or b'"$' in record
        or re.search(rb"[0-9]{19}", record)
        or len(re.findall(rb"[\[{]", record)) > LEVELS
    )


@given(st.lists(pieces, max_size=12).map(b"".join))
@example(b"")
@example(b"1" * 19)
@example(b"1" * 18 + b"x" + b"1" * 18)
@example(b"[" * LEVELS)
@example(b"[" * (LEVELS + 1))
@example(b"$")
@example(b"\\u0024")
@example(b"\\u002")
def test_a_record_is_plain_as_defined(record: bytes) -> None:
    assert is_plain(record, LEVELS) == is_plain_by_definition(record)


@pytest.mark.parametrize("before", range(40))
def test_a_long_number_is_found_wherever_it_stands(before: int) -> None:
    """Every nineteenth byte is looked at."""
    for behind in range(1, 40):
        for digits in (18, 19, 20, 40):
            number = b"7" * digits
            record = b"x" * before + number + b"x" * behind + b"7" * 18
            assert is_plain(record, LEVELS) == (digits < 19)


@pytest.mark.parametrize("count", [254, 255, 256, 257, 510, 511, 1000])
@pytest.mark.parametrize("between", [0, 1, 100, 255])
def test_brackets_are_counted_beyond_what_a_byte_can_count(count: int, between: int) -> None:
    record = b"{".join(b"x" * between for _ in range(count + 1))
    assert is_plain(record, count)
    assert not is_plain(record, count - 1)
