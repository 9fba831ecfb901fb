"""Answers that a client already has (contract 3.2: `ETag`, `If-None-Match`, 304)."""

from collections.abc import Iterable

from aiohttp import ETag
from xxhash import xxh3_128_hexdigest

from service.api.answers import Answer

# A key opens one organization, so no cache in between may keep an answer; a client's own asks.
_CACHE_CONTROL = "private, no-cache"


def revalidate(answer: Answer, known: Iterable[ETag] | None) -> Answer:
    """A 200 with the tag of its body, or a 304 where the client knows that tag.

    The tag is weak: the same body travels in several codings. The headers of a page go with a 304
    too, since its `Link` may lead elsewhere though its rows are the same.
    """
    if answer.status != 200:
        return answer
    tag = xxh3_128_hexdigest(answer.body)
    headers = {"Cache-Control": _CACHE_CONTROL, **answer.headers, "ETag": f'W/"{tag}"'}
    if known and any(one.value in (tag, "*") for one in known):
        return Answer(b"", 304, headers)
    return Answer(answer.body, 200, headers)
