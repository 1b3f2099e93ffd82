"""The three listeners, each a process, beside a run's system; what they talk to is in the test.

async with Run(folder, store) as run, listening(run) as them:
    them.mail, them.warehouse, them.crm       # each a Program, started again if it ends
    them.server, them.fake, them.table        # where their mails, contacts and rows are
"""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from crm.fake import FakeCrm, serving
from deltalake import DeltaTable
from invariants import quiet
from mail_server import MailServer
from processes import Program, free_ports, supervised
from seaway.jetstream import JetStream
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

READY_WITHIN = 120.0
DURABLES = {
    "welcome_email": "welcome-email-create-user-confirmed",
    "data_warehouse": "data-warehouse-users",
    "crm": "crm-create-user-confirmed",
}
"""The durable by which each hears of new users."""


def own(store, module):
    """A listener's database: a file of its own, or its own schema in the one of all."""
    return store.replace("store.db", f"{module}.db") if store.startswith("sqlite") else store


def a_mailer(folder, nats_url, server, database_url, **settings):
    told = {
        "SEAWAY_NATS_URL": nats_url,
        "SEAWAY_DATABASE_URL": database_url,
        "SEAWAY_SMTP_PORT": str(server.port),
        "SEAWAY_SMTP_TLS": "none",
        "SEAWAY_SMTP_PER_SECOND": "0",
        **settings,
    }
    return Program("welcome_email", told, folder, *free_ports(1))


def a_warehouse(folder, nats_url, table, **settings):
    told = {"SEAWAY_NATS_URL": nats_url, "SEAWAY_WAREHOUSE_URL": table, **settings}
    return Program("data_warehouse", told, folder, *free_ports(1))


def a_crm(folder, nats_url, fake, database_url, limit=100, **settings):
    told = {
        "SEAWAY_NATS_URL": nats_url,
        "SEAWAY_DATABASE_URL": database_url,
        "SEAWAY_CRM_PORT": str(fake.port),
        "SEAWAY_CRM_CALLS_PER_10_SECONDS": str(limit),
        **settings,
    }
    return Program("crm", told, folder, *free_ports(1))


@dataclass
class Listeners:
    mail: Program
    warehouse: Program
    crm: Program
    server: MailServer
    fake: FakeCrm
    table: str
    store: str

    @property
    def programs(self):
        return [self.mail, self.warehouse, self.crm]

    def mails(self):
        """How often each mail was taken by the mail server, by the id of its message."""
        ids = (mail["Message-ID"] for mail in self.server.parsed())
        return Counter(id.removeprefix("<").partition("@")[0] for id in ids)

    def ambiguous(self):
        """How often the log names a mail that may have been sent before, by message."""
        lines = [json.loads(line) for line in self.mail.text().splitlines() if line[:1] == "{"]
        return Counter(line["message_id"] for line in lines if line["event"] == "ambiguous")

    async def repeated(self):
        """How often the ledger says that a mail was begun again, by message."""
        url = own(self.store, "welcome_email")
        table = "mails" if url.startswith("sqlite") else "welcome_email.mails"
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                query = f"SELECT message_id, attempts - 1 FROM {table} WHERE attempts > 1"  # noqa: S608
                return Counter(dict(tuple(row) for row in await connection.execute(text(query))))
        finally:
            await engine.dispose()

    async def rows(self):
        """Every row of the warehouse: how often each message is there, by id and hash."""
        columns = ["event_id", "sha256"]
        found = await asyncio.to_thread(DeltaTable(self.table).to_pyarrow_table, columns=columns)
        return Counter((row["event_id"], row["sha256"]) for row in found.to_pylist())


async def caught_up(run, within=600.0):
    """Wait until no durable has anything left to do, however long a busy machine takes for it."""
    async with JetStream(run.system.server.url, "test") as broker:
        await broker.connected()
        await quiet(broker, within)


@asynccontextmanager
async def listening(run, *, warehouse_url="", **settings):
    """Run all three on the broker of a run, audited with the rest; `settings` are for each."""
    url, folder = run.system.server.url, run.folder
    table = warehouse_url or str(folder / "warehouse/users")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(MailServer())
        fake = await stack.enter_async_context(serving(FakeCrm()))
        mailer = a_mailer(folder, url, server, own(run.store, "welcome_email"), **settings)
        mail = await stack.enter_async_context(mailer)
        await mail.ready(READY_WITHIN)
        keeper = a_warehouse(folder, url, table, **settings)
        warehouse = await stack.enter_async_context(keeper)
        await warehouse.ready(READY_WITHIN)
        caller = a_crm(folder, url, fake, own(run.store, "crm"), **settings)
        crm = await stack.enter_async_context(caller)
        await crm.ready(READY_WITHIN)
        them = Listeners(mail, warehouse, crm, server, fake, table, run.store)
        await stack.enter_async_context(supervised(them.programs))
        run.system.workers += them.programs
        yield them
