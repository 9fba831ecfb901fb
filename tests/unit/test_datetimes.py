"""The one grammar of date-times (contract 1.3)."""

from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.activities.datetimes import (
    Instant,
    parse_datetime,
    parse_instant,
    parse_microseconds,
)
from tests.examples import examples

NOON = datetime(2026, 1, 2, 12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02", datetime(2026, 1, 2)),
        ("2026-01-02T12:00:00", NOON),
        ("2026-01-02T12:00:00Z", NOON),
        ("2026-01-02T12:00:00+00:00", NOON),
        ("2026-01-02T12:00:00-00:00", NOON),
        ("2026-01-02T13:30:00+01:30", NOON),
        ("2026-01-02T08:00:00-04:00", NOON),
        ("2026-01-03T11:59:00+23:59", NOON),
        ("2026-01-02T12:00:00.1", NOON.replace(microsecond=100_000)),
        ("2026-01-02T12:00:00.12Z", NOON.replace(microsecond=120_000)),
        ("2026-01-02T12:00:00.123", NOON.replace(microsecond=123_000)),
        ("2026-01-02T12:00:00.1239", NOON.replace(microsecond=123_000)),
        ("2026-01-02T12:00:00.999999999+00:00", NOON.replace(microsecond=999_000)),
        ("2024-02-29", datetime(2024, 2, 29)),
        ("0001-01-01", datetime.min),
        ("0001-01-01T01:00:00+01:00", datetime.min),
        ("9999-12-31T23:59:59.999", datetime(9999, 12, 31, 23, 59, 59, 999_000)),
        ("9999-12-31T22:59:59-01:00", datetime(9999, 12, 31, 23, 59, 59)),
    ],
)
def test_date_time_is_read_as_utc_and_cut(text: str, expected: datetime) -> None:
    assert parse_datetime(text) == expected
    assert parse_datetime(text).tzinfo is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026",
        "2026-01",
        "20260102",
        "2026-W01-1",
        "2026-002",
        "2026-1-2",
        "2026-01-02T",
        "2026-01-02T12",
        "2026-01-02T12:00",
        "2026-01-02T12:00:001",
        "2026x01-02",
        "2026-01x02",
        "2026-01-0:",
        "2026-01-/2",
        "2026-01-02T12x00:00",
        "2026-01-02T12:00x00",
        "2026-01-02T12:00:00+01x00",
        "2026-01-02T12:00:00 01:00",
        b"2026-01-02".decode("utf-16-le") + "\u4e00" * 5,
        "2026-01-02T120000",
        "2026-01-02 12:00:00",
        "2026-01-02t12:00:00",
        "2026-01-02T12:00:00z",
        "2026-01-02Z",
        "2026-01-02+01:00",
        "2026-01-02T12:00:00.",
        "2026-01-02T12:00:00.Z",
        "2026-01-02T12:00:00,5",
        "2026-01-02T12:00:00.1234567890",
        "2026-01-02T12:00:00+01",
        "2026-01-02T12:00:00+0100",
        "2026-01-02T12:00:00+1:00",
        "2026-01-02T12:00:00+24:00",
        "2026-01-02T12:00:00-24:00",
        "2026-01-02T12:00:00+01:60",
        "2026-01-02T12:00:00+01:00:00",
        "2026-01-02T12:00:00 +01:00",
        "2026-01-02T12:00:00ZZ",
        "2026-01-02T24:00:00",
        "2026-01-02T12:60:00",
        "2026-01-02T12:00:60",
        "2026-02-30",
        "2026-02-29",
        "2026-00-01",
        "2026-13-01",
        "2026-01-00",
        "0000-01-01",
        "10000-01-01",
        "-001-01-01",
        "0001-01-01T00:59:59+01:00",
        "9999-12-31T23:00:00-01:00",
        " 2026-01-02",
        "2026-01-02\n",
        "2026-01-02T12:00:00\n",
        "202\uff16-01-02",
        "2026-01-02T12:00:0\u0660",
        "2026-01-02T12:00:00.\u0661",
        "2026-01-02T12:00:00.123\u0661",
        "2026-01-02T12:00:00+0\u0661:00",
        None,
        5,
        1767355200.0,
        True,
        ["2026-01-02"],
    ],
)
def test_anything_else_is_no_date_time(text: object) -> None:
    for parse in (parse_datetime, parse_microseconds, parse_instant):
        with pytest.raises(ValueError, match=r"."):
            parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0001-01-01", 0),
        ("0001-01-01T00:00:00.000001", 1),
        ("0001-01-01T00:00:00.0000019", 1),
        ("0001-01-01T00:00:00.0019", 1_900),
        ("0001-01-02T00:00:01.5-00:01", (86_400 + 61) * 1_000_000 + 500_000),
        ("9999-12-31T23:59:59.999999999", 3_652_059 * 86_400 * 1_000_000 - 1),
    ],
)
def test_microseconds_count_from_year_one(text: str, expected: int) -> None:
    assert parse_microseconds(text) == expected


def test_instant_keeps_what_milliseconds_cut_off() -> None:
    instant = parse_instant("2026-01-02T12:00:00.123456789")

    assert instant == Instant(NOON.replace(microsecond=123_000), 456_789)


@pytest.mark.parametrize(
    ("decimals", "rest"),
    [("", 0), (".5", 0), (".123", 0), (".1234", 400_000), (".123000001", 1), (".1230", 0)],
)
def test_rest_of_an_instant_is_in_nanoseconds(decimals: str, rest: int) -> None:
    assert parse_instant(f"2026-01-02T12:00:00{decimals}").rest == rest


def test_instants_order_finer_than_a_millisecond() -> None:
    texts = ["2026-01-02T12:00:00.0005", "2026-01-02T12:00:00.000499999", "2026-01-02T12:00:00"]

    assert sorted(texts, key=parse_instant) == texts[::-1]


@pytest.mark.parametrize("text", ["2026-01-02T12:00:00Z", "2026-01-02T14:00:00+02:00"])
def test_offset_leaves_what_has_its_own_zone(text: str) -> None:
    assert parse_instant(text, offset=timedelta(hours=-4)).time == NOON


@pytest.mark.parametrize(
    ("text", "hours", "expected"),
    [
        ("2026-01-02T12:00:00", -4, datetime(2026, 1, 2, 16)),
        ("2026-01-02T12:00:00", 5.5, datetime(2026, 1, 2, 6, 30)),
        ("2026-01-02", 14, datetime(2026, 1, 1, 10)),
        ("2026-01-02", 0, datetime(2026, 1, 2)),
    ],
)
def test_offset_applies_to_naive_and_bare_ones(text: str, hours: float, expected: datetime) -> None:
    assert parse_instant(text, offset=timedelta(hours=hours)).time == expected


@pytest.mark.parametrize(("text", "hours"), [("0001-01-01", 1), ("9999-12-31T23:00:00", -1)])
def test_offset_may_not_lead_out_of_the_years(text: str, hours: int) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        parse_instant(text, offset=timedelta(hours=hours))


@settings(max_examples=examples(200))
@given(st.datetimes(timezones=st.timezones()))
def test_iso_format_is_read_back(time: datetime) -> None:
    offset = time.utcoffset()
    assert offset is not None
    try:
        utc = time.replace(tzinfo=None) - offset
    except OverflowError:
        return
    text = time.isoformat()
    if offset.total_seconds() % 60:
        with pytest.raises(ValueError, match="a date-time is"):
            parse_datetime(text)
        return

    assert parse_microseconds(text) == (utc - datetime.min) // timedelta(microseconds=1)
    assert parse_datetime(text) == utc.replace(microsecond=utc.microsecond // 1000 * 1000)


@settings(max_examples=examples(300))
@given(st.text(alphabet="0123456789-T:.Z+ ", max_size=36))
def test_a_text_is_a_date_time_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(parse_datetime(text), datetime)
