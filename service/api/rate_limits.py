"""How often a key may ask (contract 3.6), counted in this process alone."""

import math
import time
from dataclasses import dataclass

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from service.errors import StartError


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


class RateLimits:
    """One fixed window a key, opened by its first request."""

    def __init__(self, rate: str) -> None:
        """Raises `StartError` where `rate` is neither empty (off) nor like `60/second`."""
        self._item = parse_rate(rate)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def take(self, key_id: str) -> Allowance | None:
        """Count one request; None where there is no limit."""
        if self._item is None:
            return None
        is_allowed = await self._limiter.hit(self._item, key_id)
        stats = await self._limiter.get_window_stats(self._item, key_id)
        return Allowance(
            limit=self._item.amount,
            window_seconds=self._item.get_expiry(),
            remaining=stats.remaining,
            reset_seconds=max(1, math.ceil(stats.reset_time - time.time())),
            is_exceeded=not is_allowed,
        )


def parse_rate(rate: str) -> RateLimitItem | None:
    """Raises `StartError`."""
    if not rate.strip():
        return None
    try:
        (item,) = parse_many(rate)
    except ValueError:
        raise StartError(
            "ACTIVITY_RATE_LIMIT: not a rate (per key and process, e.g. 60/second; empty = off)"
        ) from None
    return item
