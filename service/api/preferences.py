"""What a client would rather have (RFC 7240, the `Prefer` header)."""

from collections.abc import Iterable
from urllib.request import parse_http_list

_HANDLING = "handling"


def is_strict(headers: Iterable[str]) -> bool:
    """Whether parameters that do not exist are to be refused: `handling=strict`. Of several
    preferences of one name the first counts."""
    for header in headers:
        for preference in parse_http_list(header):
            name, _, value = preference.partition(";")[0].partition("=")
            if name.strip().lower() == _HANDLING:
                return value.strip().strip('"').lower() == "strict"
    return False
