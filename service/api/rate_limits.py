"""How often a key may ask (contract 3.6), counted in this process alone."""

import math
from dataclasses import dataclass

from throttled import MemoryStore, RateLimiterType, RateLimitState, Throttled
from throttled.exceptions import DataError

from service.errors import RateLimited, StartError

# Beyond so many keys within one window, those that have asked longest ago count from 0 again.
MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key has left of its window, this request counted. Whole seconds, at least 1:
    clients that read a `reset` of 0 ask again without a pause."""

    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: int
    is_exceeded: bool

    def headers(self) -> dict[str, str]:
        """The header that every answer carries."""
        return {
            "RateLimit": f"limit={self.limit}, remaining={self.remaining}, reset={self.reset_seconds}"
        }

    def refusal_headers(self) -> dict[str, str]:
        """What a 429 carries besides: each of these is read by some client."""
        return {
            "RateLimit-Reset": str(self.reset_seconds),
            "X-Rate-Limit-Limit": str(self.limit),
            "X-Rate-Limit-Remaining": str(self.remaining),
            "X-Rate-Limit-Reset": str(self.reset_seconds),
        }


class Exceeded(RateLimited):
    """Over a rate: what is left of it, and whose it is (contract 3.6, `rate_limit_type`)."""

    def __init__(self, message: str, allowance: Allowance, limit_type: str) -> None:
        super().__init__(message)
        self.allowance = allowance
        self.limit_type = limit_type


class RateLimits:
    """Fixed windows, which begin with the clock's second, minute, hour or day, weeks with Thursday."""

    def __init__(self, rate: str) -> None:
        """Raises `StartError` where `rate` is neither empty (off) nor like `60/second`."""
        self._throttled = to_throttled(rate) if rate.strip() else None
        self._of_keys: dict[str, Throttled] = {}

    def take(self, key_id: str, rate: str | None = None) -> Allowance | None:
        """Count one request, at the rate that the key has of its own, if any; None where there is no
        limit."""
        throttled = self._find(rate)
        if throttled is None:
            return None
        result = throttled.limit(key_id)
        return self._to_allowance(throttled, result.state, is_exceeded=result.limited)

    def look(self, key_id: str) -> Allowance | None:
        """What is left, without counting; None where there is no limit."""
        if self._throttled is None:
            return None
        state = self._throttled.peek(key_id)
        return self._to_allowance(self._throttled, state, is_exceeded=False)

    @staticmethod
    def _to_allowance(
        throttled: Throttled, state: RateLimitState, *, is_exceeded: bool
    ) -> Allowance:
        return Allowance(
            limit=state.limit,
            window_seconds=throttled.limiter.quota.period_sec,
            remaining=state.remaining,
            reset_seconds=max(1, math.ceil(state.reset_after)),
            is_exceeded=is_exceeded,
        )

    def _find(self, rate: str | None) -> Throttled | None:
        """Keys of one rate share their limiter, which counts each for itself."""
        if rate is None:
            return self._throttled
        if rate not in self._of_keys:
            self._of_keys[rate] = to_throttled(rate)
        return self._of_keys[rate]


def to_throttled(rate: str) -> Throttled:
    """Raises `StartError`."""
    try:
        throttled = Throttled(
            using=RateLimiterType.FIXED_WINDOW.value,
            quota=rate,
            store=MemoryStore(options={"MAX_SIZE": MAX_KEYS}),
        )
    except (DataError, ValueError, OverflowError):
        throttled = None
    # A window knows no bursts.
    if throttled is None or throttled.limiter.quota.burst != throttled.limiter.quota.get_limit():
        raise StartError(
            "ACTIVITY_RATE_LIMIT: not a rate, like 60/second (per key and process: so many a second,"
            " minute, hour, day or week; empty = off)"
        )
    return throttled
