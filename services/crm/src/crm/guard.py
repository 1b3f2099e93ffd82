"""Where we may connect to: the CRM that was configured, and nothing within our own walls.

A URL comes from the configuration only. Even so it may name, or its DNS may be made to say, an
address of our own network, where a metadata service hands out credentials. So the address is
looked up here, once for each call, judged, and connected to: nobody looks it up again. What is
verified in TLS, and said in the Host header, stays the name.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx
from seaway.errors import DependencyDown

type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host. Raises OSError if there are none."""

URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]{1,253}|\[[0-9a-f:.]+\])(:(?P<port>\d{1,5}))?"
    r"(?P<path>(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)/?"
)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
"""A last label that browsers, and some resolvers, read as a part of an IPv4 address."""

# Beyond what `is_global` and `is_multicast` say.
NOT_OURS_TO_CALL = tuple(
    ip_network(each)
    for each in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's metadata, on a public address
    )
)
INTERNET6 = ip_network("2000::/3")
# In it, and yet not it; most of these carry an IPv4 address to somewhere else.
NOT_INTERNET6 = tuple(
    ip_network(each) for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


def fit_url(text: str) -> str:
    """Return the URL of a CRM without a slash at its end.

    Raises ValueError if it is not plain: https (http on a loopback address), a host, a port, a
    path; or if its host is an address within somebody's walls.
    """
    match = URL.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ValueError("not a plain URL in lower case, as in https://api.example.org")
    host = match["host"].strip("[]")
    _check_host(host, bracketed=match["host"].startswith("["))
    if match["scheme"] == "http" and not is_loopback(host):
        raise ValueError("http only on a loopback address; https everywhere else")
    return text.rstrip("/")


def _check_host(host: str, *, bracketed: bool) -> None:
    labels = host.split(".")
    if bracketed or NUMBER.fullmatch(labels[-1]):
        # Only the canonical form: 0x7f000001, 2130706433, 127.1 and 0177.0.0.1 are loopback, too.
        address = IPv6Address(host) if bracketed else IPv4Address(host)
        if not (is_loopback(host) or is_public(str(address))):
            raise ValueError("an address within somebody's walls")
    elif not all(LABEL.fullmatch(label) for label in labels):
        raise ValueError("not the name of a host")


def is_loopback(host: str) -> bool:
    """Whether a host, as it is configured, says that it is this machine."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback


def is_public(text: str) -> bool:
    """Whether an address is one of the internet: nobody's private, local or special one."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        special = any(address in network for network in NOT_INTERNET6)
        return address in INTERNET6 and not special and address.is_global
    special = any(address in network for network in NOT_OURS_TO_CALL)
    return address.is_global and not address.is_multicast and not special


async def resolved(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, as this machine knows them. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(slots=True)
class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests to the addresses of their host, if all of these are fit to be called."""

    resolve: Resolve = resolved
    network: httpx.AsyncBaseTransport = field(
        default_factory=lambda: httpx.AsyncHTTPTransport(trust_env=False)
    )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it to the first address that takes a connection.

        Raises DependencyDown, without connecting, if one of them is not fit, or there is none.
        """
        failure: httpx.TransportError | None = None
        for address in await self._addresses(request.url):
            try:
                return await self.network.handle_async_request(_directed(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or DependencyDown("the CRM's host has no address")

    async def _addresses(self, url: httpx.URL) -> Sequence[str]:
        fit = is_loopback if is_loopback(url.host) else is_public
        try:
            addresses = await self.resolve(url.host, url.port or 443)
            if not all(fit(address) for address in addresses):
                raise DependencyDown("the CRM's host has an address that we do not connect to")
        except (OSError, ValueError) as error:
            raise DependencyDown(
                f"the CRM's host has no address: {type(error).__name__}"
            ) from error
        return addresses

    async def aclose(self) -> None:
        """Close all connections."""
        await self.network.aclose()


def _directed(request: httpx.Request, address: str) -> httpx.Request:
    """Return a request that goes to an address, and is for the host all the same."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )
