"""Nobody is called but the CRM: not for a clever URL, nor a DNS that lies, nor a redirect."""

import asyncio

import httpx
import pytest
from crm.calling import Calls, Token
from crm.fake import Faults
from crm.guard import GuardedTransport, fit_url, is_public, resolved
from crm.pace import Pace
from seaway.errors import DependencyDown

WITHIN_WALLS = [
    *("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1"),
    *("10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254"),
    *("169.254.0.1", "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200"),
    *("192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.254", "198.51.100.1"),
    *("203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    *("::ffff:7f00:1", "::ffff:a9fe:a9fe", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1"),
    *("2001:10::1", "2001:20::1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2002:c0a8:1::1"),
    *("3fff::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1"),
    *("fec0::1", "ff02::1", "ff0e::1"),
]
"""Addresses to which no name that is configured may lead."""

UNFIT = [
    # Loopback and metadata, in other spellings.
    *("https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://127.1/"),
    *("https://127.0.1/", "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://0x7f.1/"),
    *("https://127.0.0.01/", "https://127.000.000.001/", "https://2852039166/", "https://0/"),
    *("https://0xa9fea9fe/", "https://0251.0376.0251.0376/", "https://169.254.43518/"),
    *("https://00000177.1/", "https://1.0x/", "https://4294967297/", "https://127.0.0.1.2/"),
    *("http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/"),
    # Addresses within walls, plainly.
    *("https://10.0.0.1/", "https://192.168.1.1/", "https://169.254.169.254/", "https://0.0.0.0/"),
    *("https://100.100.100.200/", "https://168.63.129.16/", "https://[fd00:ec2::254]/"),
    *("https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:a9fe:a9fe]/"),
    *("https://[64:ff9b::a9fe:a9fe]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/"),
    *("https://[2002:7f00:1::]/", "https://[::127.0.0.1]/", "https://[fc00::1]/"),
    # Somebody before the host, somebody after it.
    *("https://api.example.org@127.0.0.1/", "https://api.example.org:x@10.0.0.1/"),
    *("https://127.0.0.1@api.example.org/", "https://api.example.org#@127.0.0.1/"),
    *("https://api.example.org?@127.0.0.1/", "https://api.example.org\\@127.0.0.1/"),
    *("https:\\\\127.0.0.1/", "https:///127.0.0.1/", "https:127.0.0.1", "//127.0.0.1/"),
    *("https://127.0.0.1%2f.example.org/", "https://127.0.0.1%00.example.org/"),
    *("https://127.0.0.1\t.example.org/", "https://127.0.0.1\n.example.org/"),
    *("https://api.example.org/\r\nHost: 10.0.0.1", " https://127.0.0.1", "https:// 127.0.0.1"),
    # Dots and digits that only look like it.
    *(
        "https://127。0。0。1/",
        "https://127．0．0．1/",
        "https://①②⑦.⓪.⓪.①/",
        "https://１２７.0.0.1/",
    ),
    *(
        "https://loc\u00adalhost/",
        "https://ⓛocalhost/",
        "https://LOCALHOST/",
        "https://api_x.org/",
    ),
    # Not in the clear, and not something else.
    *("http://api.example.org/", "http://10.0.0.1/", "http://[fd00::1]/", "ftp://127.0.0.1/"),
    *("file:///etc/passwd", "gopher://127.0.0.1:6379/", "unix:///var/run/docker.sock", "https://"),
    *("https://api.example.org:0/", "https://api.example.org:65536/", "https://api.example.org:/"),
    *("https://-api.example.org/", "https://api..example.org/", "https://.example.org/"),
    *("https://api.example.org/?a=b", "https://api.example.org/#a", "https://api.example.org/../"),
]
"""URLs that nobody may configure."""

FIT = [
    *("https://api.hubapi.com", "https://api.example.org:8443/crm", "https://8.8.8.8"),
    *("https://[2606:4700::1111]", "http://127.0.0.1:8081", "http://localhost:8081"),
    *("http://[::1]:8081", "https://localhost", "https://1.example.org"),
]


class Network(httpx.AsyncBaseTransport):
    """Stands where connections are made, and counts them."""

    def __init__(self):
        self.reached = []

    async def handle_async_request(self, request):
        self.reached.append((request.url.host, request.extensions["sni_hostname"]))
        assert request.headers["host"] == "api.example.org"
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"), request=request)


def dns(*answers):
    """A resolver that says one after the other, and repeats the last."""
    left = list(answers)

    async def resolve(host, port):
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def calls_to(url, network, resolve):
    return Calls(url, Token("t"), Pace(100_000), GuardedTransport(resolve, network))


def test_the_corpus_is_large_enough():
    assert len({*WITHIN_WALLS, *UNFIT}) >= 100


@pytest.mark.parametrize("address", WITHIN_WALLS)
@pytest.mark.parametrize("others", [(), ("8.8.8.8",)], ids=["alone", "among public ones"])
async def test_a_name_that_leads_within_our_walls_is_not_followed(address, others):
    network = Network()
    async with calls_to("https://api.example.org", network, dns([*others, address])) as calls:
        with pytest.raises(DependencyDown):
            await calls.ask("GET", "/")
    assert network.reached == []


@pytest.mark.parametrize("url", UNFIT)
def test_a_url_that_is_not_plain_is_refused(url):
    with pytest.raises(ValueError, match=r"\w+"):
        fit_url(url)


@pytest.mark.parametrize("url", FIT)
def test_a_plain_one_is_taken(url):
    assert fit_url(url) == fit_url(url + "/") == url


@pytest.mark.parametrize("address", ["8.8.8.8", "104.16.0.1", "2606:4700::1111"])
async def test_a_public_address_is_called_under_the_name_of_its_host(address):
    network = Network()
    async with calls_to("https://api.example.org", network, dns([address])) as calls:
        await calls.ask("GET", "/")
    assert network.reached == [(address, "api.example.org")]


async def test_a_dns_that_changes_its_mind_is_judged_at_each_call():
    network = Network()
    rebinding = dns(["8.8.8.8"], ["127.0.0.1"])
    async with calls_to("https://api.example.org", network, rebinding) as calls:
        await calls.ask("GET", "/")
        with pytest.raises(DependencyDown):
            await calls.ask("GET", "/")
    assert network.reached == [("8.8.8.8", "api.example.org")]


async def test_loopback_is_called_only_if_it_was_configured(fake):
    async with calls_to(fake.url, httpx.AsyncHTTPTransport(), resolved) as calls:
        assert (await calls.ask("GET", "/crm/")).status == 401  # a real connection
    network = Network()
    async with calls_to("http://localhost:1", network, dns(["10.0.0.1"])) as calls:
        with pytest.raises(DependencyDown):
            await calls.ask("GET", "/")
    assert network.reached == []


async def test_a_name_is_looked_up_once_for_a_call(fake):
    looked_up = []

    async def resolve(host, port):
        looked_up.append(host)
        return ["127.0.0.1"]

    url = fake.url.replace("127.0.0.1", "localhost")
    async with calls_to(url, httpx.AsyncHTTPTransport(), resolve) as calls:
        assert (await calls.ask("GET", "/crm/")).status == 401
    assert looked_up == ["localhost"]


async def test_an_address_that_takes_no_connection_is_passed_over(fake):
    async def resolve(host, port):
        return ["127.0.0.2", "127.0.0.1"]  # the fake listens on the second only

    url = fake.url.replace("127.0.0.1", "localhost")
    async with calls_to(url, httpx.AsyncHTTPTransport(), resolve) as calls:
        assert (await calls.ask("GET", "/crm/")).status == 401


@pytest.mark.parametrize("failure", [OSError("no such host"), UnicodeError("no name at all")])
async def test_a_name_without_an_address_is_an_outage(failure):
    async def resolve(host, port):
        raise failure

    async with calls_to("https://api.example.org", Network(), resolve) as calls:
        with pytest.raises(DependencyDown):
            await calls.ask("GET", "/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(fake, calls, status):
    reached = []

    async def note(reader, writer):
        reached.append(writer.get_extra_info("peername"))
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        fake.faults = Faults(status=status, location=f"http://127.0.0.1:{port}/")
        assert (await calls.ask("GET", "/crm/")).status == status
    assert reached == []


async def test_a_proxy_of_the_environment_is_not_used(fake, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with calls_to(fake.url, httpx.AsyncHTTPTransport(trust_env=False), resolved) as calls:
        assert (await calls.ask("GET", "/crm/")).status == 401


def test_what_is_public_is_not_guessed_from_its_form():
    assert is_public("8.8.8.8")
    assert not is_public("::ffff:8.8.8.8")
