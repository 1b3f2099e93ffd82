"""`seaway conformance`: our services keep all that they promise, and who does not is found out."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mail_server import MailServer
from processes import free_ports
from seaway.cli import main
from seaway.conformance import NAMES, Candidate, tried
from seaway.testing import ServiceProcess
from waiting import until
from warehouses import rows
from webhook import webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

REQUESTED = "acme.users.v1.CreateUserRequested"
CONFIRMED = "acme.users.v1.CreateUserConfirmed"
ADDRESS = {"email": "{key}@example.org"}
WRONG = Path(__file__).parents[1] / "support/wrong_program.py"
PATIENCE = 120.0
"""Seconds that anything may take; nothing here waits them out."""

HANDLED = 8
"""Messages of a trial that can be handled: four one by one, one held up, three in hand."""

MISTAKES = {
    "none": (),
    "acks before working": ("when-done",),
    "draws its ids": ("replies", "idempotent"),
    "loses the trace": ("replies",),
    "loses the conversation": ("replies",),
    "has no guard": ("replies",),
    "goes by the subject": ("headers",),
    "knows everything": ("unknown",),
    "forgets what it cannot read": ("sets-aside",),
    "is silent while it works": ("keeps-alive",),
    "naks at once": ("naks",),
    "dies on SIGTERM": ("drains",),
    "ends with 3": ("drains",),
    "does it again": ("idempotent",),
}
"""What a program does wrong, and the promises that have to be found broken."""
CALLS = ("does it again",)
"""Seen only in a program that calls somebody."""


async def found(candidate, names=()):
    """What was found of each promise, and the log of a program that broke one."""
    said = []
    verdicts = {v.promise: v async for v in tried(candidate, PATIENCE, said.append, names)}
    return verdicts, "\n".join(said)


@asynccontextmanager
async def fake_crm(folder):
    (port,) = free_ports(1)
    process = ServiceProcess(("python", "-m", "crm.fake"), {"SEAWAY_CRM_PORT": str(port)}, folder)
    await process.start()
    try:
        await until(lambda: "contacts:" in process.said)
        yield f"127.0.0.1:{port}"
    finally:
        await process.stop()


def ours(crm, mail, table):
    """All of our services that listen, by what their work ends with.

    User creation answers; the CRM and the mail server are called, and then something is said; the
    warehouse takes the whole stream in batches, its own replies too, and writes to a folder.
    """
    deciding = Candidate(
        ("python", "-m", "user_creation", "--prepare"), "user-creation", REQUESTED, fields=ADDRESS
    )
    listening = Candidate(
        ("python", "-m", "crm", "--prepare"),
        "crm",
        CONFIRMED,
        settings={"SEAWAY_CRM_PORT": "{port}"},
        fields=ADDRESS,
        dependency=crm,
    )
    mailing = Candidate(
        ("python", "-m", "welcome_email", "--prepare"),
        "welcome-email",
        CONFIRMED,
        settings={"SEAWAY_SMTP_PORT": "{port}", "SEAWAY_SMTP_TLS": "none"},
        fields=ADDRESS,
        dependency=f"127.0.0.1:{mail.port}",
    )
    keeping = Candidate(
        ("python", "-m", "data_warehouse", "--prepare"),
        "data-warehouse",
        CONFIRMED,
        settings={"SEAWAY_WAREHOUSE_URL": table, "SEAWAY_WAREHOUSE_BATCH_SECONDS": "0.2"},
        fields=ADDRESS,
        whole_stream=True,
    )
    return [deciding, listening, mailing, keeping]


def by_hand(mistake, hook):
    command = (sys.executable, str(WRONG), mistake)
    if mistake not in CALLS:
        return Candidate(command, "by-hand", REQUESTED)
    told = {"SEAWAY_WEBHOOK_PORT": "{port}"}
    return Candidate(command, "by-hand", CONFIRMED, settings=told, dependency=hook.place)


@pytest.fixture(scope="module")
def mail():
    """The mail server that welcome-email calls, and what it has taken."""
    return MailServer()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The folder of the warehouse's table."""
    return str(tmp_path_factory.mktemp("warehouse") / "users")


async def together(tasks):
    return dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))


@pytest.fixture(scope="module")
def all_found(tmp_path_factory, mail, table):
    """What was found of all programs: tried side by side, since most of it is waiting.

    Ours first, and then those with mistakes: all at once they are too many for two cores.
    """

    async def try_all():
        with webhook() as hook:
            async with mail, fake_crm(tmp_path_factory.mktemp("crm")) as crm:
                right = await together({c.service: found(c) for c in ours(crm, mail, table)})
                wrong = {m: found(by_hand(m, hook), MISTAKES[m]) for m in MISTAKES}
                return right | await together(wrong)

    return asyncio.run(try_all())


@pytest.mark.parametrize("service", ["user-creation", "crm", "welcome-email", "data-warehouse"])
def test_our_services_keep_all_that_they_promise(all_found, service):
    verdicts, log = all_found[service]
    assert tuple(verdicts) == NAMES
    missed = [v for v in verdicts.values() if v.found != "passed"]
    assert missed == [], f"{missed}\n{log}"


def test_after_a_trial_each_message_has_one_mail(all_found, mail):
    addressed = [to for _, (to,) in mail.envelopes]
    assert len(addressed) >= HANDLED
    assert len(set(addressed)) == len(addressed)


def test_after_a_trial_each_message_has_one_row(all_found, table):
    # Of what it writes to a folder the runner sees nothing.
    kept = [row for row in rows(table) if row["type"] == "CreateUserConfirmed"]
    assert len(kept) >= HANDLED
    assert len({row["event_id"] for row in kept}) == len(kept)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_found_out_and_by_the_right_promise(all_found, mistake):
    verdicts, log = all_found[mistake]
    broken = tuple(name for name, verdict in verdicts.items() if verdict.found == "failed")
    assert broken == MISTAKES[mistake], f"{verdicts}\n{log}"


@pytest.fixture
def conformance(monkeypatch, capsys):
    """Return a function that runs the command here; it returns exit code, stdout and stderr."""

    def run(*options):
        required = ("--command", "no-such-program", "--service", "x", "--message", REQUESTED)
        monkeypatch.setattr(sys, "argv", ["seaway", "conformance", *required, *options])
        monkeypatch.setenv("SEAWAY_NATS_URL", "nats://127.0.0.1:1")  # not of a running `dev`
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_a_program_that_does_not_start_keeps_nothing(conformance):
    code, said, _ = conformance("--json")
    first, *others = [json.loads(line) for line in said.splitlines()]
    why = "cannot start no-such-program: No such file or directory"
    assert first == {"promise": "ready", "found": "failed", "reason": why}
    assert {verdict["found"] for verdict in others} == {"not tried"}
    assert code == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--promise", "punctual"), "no promise punctual, only ready, acks"),
        (("--field", "size=9"), "acme.users.v1.CreateUserRequested has no size"),
        (("--field", "email="), "give --field email=…"),
        (("--field", "email"), "--field takes NAME=VALUE, and not 'email'"),
        (("--dependency", "here"), "--dependency takes HOST:PORT, and not 'here'"),
        (("--dependency", "127.0.0.1:1"), "nobody listens on 127.0.0.1:1: start the dependency"),
        (("--message", "acme.users.v1.Nothing"), "no contract declares acme.users.v1.Nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_tried_is_wrong_usage(conformance, options, why):
    code, said, complained = conformance(*options)
    assert (code, said) == (2, "")
    assert why in " ".join(complained.replace("│", " ").split())
