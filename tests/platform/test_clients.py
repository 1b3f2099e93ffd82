"""Who calls, also through proxies; and what nobody is believed."""

from dataclasses import dataclass

import pytest
from seaway.rpc import Clients, is_verified

OURS = "10.0.0.0/8,fd00::/8,127.0.0.1"


@dataclass
class Call:
    """A call, as far as it tells who makes it."""

    where: str
    forwarded: tuple[str, ...] = ()
    known: dict[str, list[bytes]] | None = None

    def peer(self):
        return self.where

    def invocation_metadata(self):
        return [("user-agent", "x"), *(("x-forwarded-for", each) for each in self.forwarded)]

    def auth_context(self):
        return self.known or {}


@pytest.mark.parametrize(
    ("peer", "forwarded", "network"),
    [
        ("ipv4:192.0.2.77:50123", (), "192.0.2.0/24"),
        ("ipv6:%5B2001:db8:1:2::3%5D:50123", (), "2001:db8:1::/48"),
        ("ipv6:%5B::ffff:192.0.2.77%5D:50123", (), "192.0.2.0/24"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50123", (), "fe80::/48"),
        ("unix:", (), "here"),
        ("unix:", ("203.0.113.9",), "here"),
        # Nobody vouches for what a stranger says.
        ("ipv4:192.0.2.77:50123", ("203.0.113.9",), "192.0.2.0/24"),
        # One proxy, several of them, and a client that wrote something itself before them.
        ("ipv4:10.1.2.3:50123", ("203.0.113.9",), "203.0.113.0/24"),
        ("ipv4:10.1.2.3:50123", ("203.0.113.9, 10.9.9.9",), "203.0.113.0/24"),
        ("ipv4:10.1.2.3:50123", ("203.0.113.9", "10.9.9.9"), "203.0.113.0/24"),
        ("ipv4:10.1.2.3:50123", ("198.51.100.7, 203.0.113.9",), "203.0.113.0/24"),
        ("ipv4:10.1.2.3:50123", ("10.5.5.5, 198.51.100.7, 10.9.9.9",), "198.51.100.0/24"),
        ("ipv6:%5Bfd00::1%5D:50123", ("2001:db8:7::1",), "2001:db8:7::/48"),
        # With a port, as some write it.
        ("ipv4:10.1.2.3:50123", ("203.0.113.9:4711",), "203.0.113.0/24"),
        ("ipv4:10.1.2.3:50123", ("[2001:db8:7::1]:4711",), "2001:db8:7::/48"),
        # Nothing said, or nothing that is an address: whoever said so is the client.
        ("ipv4:10.1.2.3:50123", (), "10.1.2.0/24"),
        ("ipv4:10.1.2.3:50123", ("unknown",), "10.1.2.0/24"),
        ("ipv4:10.1.2.3:50123", ("203.0.113.9, _hidden, 10.9.9.9",), "10.9.9.0/24"),
        ("ipv4:10.1.2.3:50123", ("",), "10.1.2.0/24"),
        # Everybody is one of ours: the first of them has begun it.
        ("ipv4:10.1.2.3:50123", ("10.7.7.7, 10.9.9.9",), "10.7.7.0/24"),
    ],
)
def test_a_client_is_the_network_in_front_of_the_proxies_that_we_trust(peer, forwarded, network):
    assert Clients.behind(OURS).network_of(Call(peer, forwarded)) == network


def test_without_proxies_nobody_is_believed():
    assert Clients().network_of(Call("ipv4:10.1.2.3:1", ("203.0.113.9",))) == "10.1.2.0/24"


@pytest.mark.parametrize(
    "wrong", ["10.0.0.1/8", "proxy.example", "10.0.0.0/8;fd00::/8", "300.0.0.0"]
)
def test_a_list_of_proxies_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="is no network such as"):
        Clients.behind(wrong)


def test_only_a_certificate_that_was_verified_makes_a_caller_known():
    assert not is_verified(Call("ipv4:192.0.2.1:1"))
    assert not is_verified(Call("ipv4:192.0.2.1:1", known={"transport_security_type": [b"ssl"]}))
    assert is_verified(Call("ipv4:192.0.2.1:1", known={"x509_pem_cert": [b"-----BEGIN"]}))
