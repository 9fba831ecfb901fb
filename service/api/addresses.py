"""Where a request comes from: the address of its client, as far as it can be believed."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

FORWARDED_FOR = "X-Forwarded-For"
# One household or machine has as many addresses as it likes, all of one such network.
_IPV6_PREFIX_BITS = 64


class Addresses:
    """Tells clients apart. `X-Forwarded-For` counts where a trusted proxy has written it: whoever
    is not one could write anything."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = trusted

    def client_of(self, request: web.BaseRequest) -> str:
        """The last address on the way here that is none of ours; `""` where there is none."""
        forwarded = request.headers.getall(FORWARDED_FOR, ())
        return self.find_client(request.remote or "", forwarded)

    def find_client(self, peer: str, forwarded: Sequence[str]) -> str:
        """Each proxy adds at the end of `forwarded` whom it has the request from."""
        hops = [hop.strip() for line in forwarded for hop in line.split(",")]
        client = _parse(peer)
        while client is not None and hops and self._is_trusted(client):
            earlier = _parse(hops.pop())
            if earlier is None:
                break
            client = earlier
        return "" if client is None else _to_bucket(client)

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _to_bucket(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _IPV6_PREFIX_BITS), strict=False))
    return str(address)
