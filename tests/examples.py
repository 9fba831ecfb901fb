"""How many examples a property gets: few in every run, many when asked."""

import os

IS_LONG = os.environ.get("LONG_TESTS") == "1"
_LONG_FACTOR = 20


def examples(few: int) -> int:
    """With `LONG_TESTS=1` twenty times as many."""
    return few * (_LONG_FACTOR if IS_LONG else 1)
