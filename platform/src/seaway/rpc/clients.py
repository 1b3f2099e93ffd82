"""Who calls: the network that a call comes from, also through proxies that we trust."""

from collections.abc import Collection
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Self
from urllib.parse import unquote

from seaway.rpc.call import ServicerContext

FORWARDED = "x-forwarded-for"
NETWORK_OF_V4, NETWORK_OF_V6 = 24, 48
VERIFIED = "x509_pem_cert"
"""What gRPC has of a peer whose certificate it has verified; others have no such property."""

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network


class Clients:
    """Tells clients apart. One is a network, /24 or in IPv6 /48: nobody owns a single address.

    What a proxy says of where a call came from counts only if the proxy is one of `proxies`:
    anybody can say anything.
    """

    def __init__(self, proxies: Collection[Network] = ()) -> None:
        self._proxies = proxies

    @classmethod
    def behind(cls, proxies: str) -> Self:
        """Trust the networks of a list such as `10.0.0.0/8,fd00::/8`. Raises ValueError."""
        return cls([_network(each) for each in filter(None, proxies.split(","))])

    def network_of(self, call: ServicerContext) -> str:
        """Return the network of whoever calls."""
        address = _address_of(call.peer())
        if self._proxies:
            came_with: Any = call.invocation_metadata() or ()
            said = [value for name, value in came_with if name == FORWARDED]
            address = self._in_front(address, ",".join(said).split(","))
        return "here" if address is None else _network_of(address)

    def _in_front(self, address: Address | None, said: list[str]) -> Address | None:
        """Go from proxy to proxy, the nearest first, for as long as each is to be believed."""
        for each in reversed(said):
            before = _parsed(each.strip())
            if before is None or address is None:
                break
            if not any(address in network for network in self._proxies):
                break
            address = before
        return address


def is_verified(call: ServicerContext) -> bool:
    """Whether whoever calls has shown a certificate that one of our authorities vouches for."""
    return bool(call.auth_context().get(VERIFIED))


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no network such as 10.0.0.0/8") from error


@lru_cache(maxsize=4096)
def _address_of(peer: str) -> Address | None:
    kind, _, where = peer.partition(":")
    return _parsed(unquote(where)) if kind in ("ipv4", "ipv6") else None


def _parsed(text: str) -> Address | None:
    """Read an address; some proxies add a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=4096)
def _network_of(address: Address) -> str:
    length = NETWORK_OF_V4 if address.version == 4 else NETWORK_OF_V6
    return str(ip_network(f"{address}/{length}", strict=False))
