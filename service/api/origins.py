"""Which pages of other origins may ask (the Fetch standard's CORS protocol; contract 3.1)."""

from collections.abc import Mapping, Sequence

_EXPOSED = "ETag, Link, RateLimit, Retry-After, X-Request-Id"
_ACCEPTED = (
    "Authorization, Content-Type, If-None-Match, Last-Event-ID, Prefer, X-HTTP-Method-Override, X-Request-Id,"
    " X-TZ-Offset"
)
# As long as any browser believes it.
_PREFLIGHT_SECONDS = 7200


class Origins:
    """The origins that are allowed; what needs no key is open to every one."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)

    @property
    def vary(self) -> str:
        """What else than their bodies' coding answers depend on."""
        return "Prefer, X-TZ-Offset, Origin" if self._allowed else "Prefer, X-TZ-Offset"

    def headers(self, sent: Mapping[str, str], *, is_open: bool) -> Mapping[str, str]:
        """What lets the page that asks read the answer: nothing where it may not."""
        origin = self._allow(sent, is_open=is_open)
        if origin is None:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
        }

    def preflight(self, sent: Mapping[str, str], *, is_open: bool) -> Mapping[str, str]:
        """What lets a browser send the request that it asks for; nothing where it may not."""
        if "Access-Control-Request-Method" not in sent:
            return {}
        if self._allow(sent, is_open=is_open) is None:
            return {}
        return {
            "Access-Control-Allow-Methods": "GET, HEAD, POST",
            "Access-Control-Allow-Headers": _ACCEPTED,
            "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        }

    def _allow(self, sent: Mapping[str, str], *, is_open: bool) -> str | None:
        if is_open:
            return "*"
        origin = sent.get("Origin")
        return origin if origin in self._allowed else None
