"""Warnings that come by the thousand do not flood the log."""

import logging

import pytest

from consumers.notices import MAX_LINES, WINDOW_SECONDS, Notices


def test_so_many_lines_a_minute_and_then_how_many_were_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    notices = Notices(logging.getLogger("test"), clock=lambda: now)

    for number in range(MAX_LINES + 5):
        notices.warn("set aside", {"number": number})
    now = WINDOW_SECONDS
    notices.warn("set aside", {"number": -1})

    numbers = [vars(line).get("number") for line in caplog.records]
    assert numbers == [*range(MAX_LINES), None, -1]
    assert "5 more lines" in caplog.messages[MAX_LINES]
