"""What a client prefers (RFC 7240)."""

import pytest

from service.api.preferences import is_strict


@pytest.mark.parametrize(
    "headers",
    [
        ["handling=strict"],
        ["Handling = STRICT"],
        ['handling="strict"; why=not'],
        ["respond-async, wait=10, handling=strict"],
        ["respond-async", "handling=strict"],
        ['note="a, handling=lenient", handling=strict'],
        ["handling=strict, handling=lenient"],
    ],
)
def test_strict_is_read_in_every_form(headers: list[str]) -> None:
    assert is_strict(headers)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["handling"],
        ["handling=lenient"],
        ["strict"],
        ["other=strict"],
        ["handling=lenient, handling=strict"],
        ["handling=lenient", "handling=strict"],
        ['note="handling=strict"'],
        ["respond-async; handling=strict"],
        ['"'],
    ],
)
def test_nothing_else_is_strict(headers: list[str]) -> None:
    assert not is_strict(headers)
