"""How long one document may be refused while MongoDB takes others (contract 1.5.5)."""

import time
from dataclasses import dataclass, field

# MongoDB takes others: it has taken one within this time.
RECENT_SECONDS = 30.0


@dataclass(slots=True)
class Refused:
    """One document since MongoDB first refused it: `waited_seconds` counts only the time between
    two attempts in which it took another."""

    last: float = field(default_factory=time.monotonic)
    waited_seconds: float = 0.0


class Patience:
    """Tells a document that is refused alone from a server that takes nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._taken = float("-inf")

    def note_taken(self) -> None:
        """MongoDB has just taken a document."""
        self._taken = time.monotonic()

    @property
    def are_others_taken(self) -> bool:
        return time.monotonic() - self._taken < RECENT_SECONDS

    def is_over(self, refused: Refused) -> bool:
        """Note that it has just been refused again; whether that was long enough."""
        now = time.monotonic()
        if self._taken > refused.last:
            refused.waited_seconds += now - refused.last
        refused.last = now
        return refused.waited_seconds >= self._seconds
