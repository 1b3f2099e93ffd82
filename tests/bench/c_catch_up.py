"""C: catching up. An hour's work is waiting, and the service comes back."""

import tempfile
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from acme.users.v1 import CreateUserConfirmed
from broker import AT_ONCE, DURABLE, a_broker, drained, fill, users
from crm.fake import FakeCrm, serving
from listeners import DURABLES, a_crm, a_mailer, a_warehouse
from mail_server import MailServer
from processes import Program, free_ports
from programs import Used
from rounds import Figure, Sample, interleaved
from seaway import Envelope
from stores import count, our_users

WITHIN = 60.0
"""Seconds for user_creation, on two cores."""


@asynccontextmanager
async def a_service(name, folder, nats_url, url):
    """One consumer with its outside world, which is not part of what is measured."""
    async with AsyncExitStack() as stack:
        match name:
            case "user_creation":
                told = {"SEAWAY_NATS_URL": nats_url, "SEAWAY_DATABASE_URL": url}
                yield Program(name, told, folder, *free_ports(1))
            case "welcome_email":
                server = await stack.enter_async_context(MailServer())
                yield a_mailer(folder, nats_url, server, url)
            case "crm":
                fake = await stack.enter_async_context(serving(FakeCrm()))
                yield a_crm(folder, nats_url, fake, url, limit=1_000_000)
            case _:
                yield a_warehouse(folder, nats_url, str(folder / "warehouse"))


async def confirmations(broker, number):
    """Store so many new users, as user_creation would tell of them."""
    for start in range(0, number, AT_ONCE):
        part = [confirmation() for _ in range(min(AT_ONCE, number - start))]
        await broker.publish([Envelope.opening(body, "bench").posting() for body in part])


def confirmation():
    request_id, user_id = str(uuid.uuid4()), str(uuid.uuid4())
    body = CreateUserConfirmed(
        request_id=request_id,
        user_id=user_id,
        email=f"{request_id}@example.org",
        display_name="Ada Lovelace",
        locale="en",
    )
    body.created_at.GetCurrentTime()
    return body


async def caught_up(name, backlog, stores):
    """Seconds from the start of a service until nothing is left."""
    with tempfile.TemporaryDirectory(prefix="seaway-bench-") as temporary:
        folder = Path(temporary)
        url = stores.new("postgresql", folder)
        async with a_broker() as (server, broker), a_service(name, folder, server.url, url) as it:
            await it.call("prepare")
            await (fill if name == "user_creation" else confirmations)(broker, backlog)
            begun = time.monotonic()
            await it.start()
            try:
                used = Used({name: it.process.pid, "broker": server.pid, "postgresql": stores.pid})
                left = await drained(broker, it.process, DURABLES.get(name, DURABLE.name))
                seconds, spent = time.monotonic() - begun, used.per_thousand(backlog)
            finally:
                await it.stop()
            letters = sum(found.messages for found in await dead(broker))
        notes = [f"stuck with {left} left"] if left else []
        notes += [f"{letters} dead letters"] if letters else []
        if name == "user_creation":
            rows, expected = await count(url, our_users(url)), users(backlog)
            notes += [f"{rows} rows, not {expected}"] if rows != expected else []
    return Sample(seconds, spent, wrong=notes)


async def dead(broker):
    """The stream of dead letters, if there is one."""
    found = (await broker.streams()).get("DEAD")
    return [found] if found is not None else []


async def story(plan, stores, say):
    """Yield the figures of C: seconds for the backlog."""
    say(f"C: {plan.backlog:,} messages waiting")
    sides = {name: partial(caught_up, name, plan.backlog, stores) for name in plan.consumers}
    samples = await interleaved(
        sides, plan.backlog_rounds, say, within=plan.patience, warm_up=0, unit="s"
    )
    for name in plan.consumers:
        wanted = WITHIN if name == "user_creation" else None
        yield Figure(f"C.{name}", "s", samples[name], target=wanted, less_is_better=True)
