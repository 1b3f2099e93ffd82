"""A sign-up is one trace through five processes, and spans never cost anybody anything else."""

import asyncio
import secrets
import time
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest
from acme.users.v1 import CreateUserRequested
from listeners import caught_up, listening
from runner import Run
from seaway.jetstream import JetStream
from sign_ups import SignUp, a_request, clients, sign_up
from spans import Spans, receiver
from waiting import until
from workers import posting_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BATCH = 20
WITHIN = 180.0
CANARY = "canary-7f3a"
"""In every name and address: it must be in no span."""
REQUESTED, CONFIRMED, EMAILED, IN_TABLE, IN_CRM = (
    f"users.v1.{what}"
    for what in (
        "create-requested",
        "create-confirmed",
        "sign-up-email-handled",
        "added-to-warehouse",
        "added-to-crm",
    )
)
SERVER = "acme.gateway.v1.SignUpService/SignUp"


@dataclass
class Traced:
    """What was asked for, and all spans."""

    spans: Spans
    alone: SignUp
    trace: str
    client: str
    """The span that the client has named as the one above."""
    together: list[SignUp]
    poison: str

    def one(self, name, service, request_id):
        """The span of this name about a sign-up; on a slow machine there may be others later."""
        about = self.spans.named(name, messaging__message__conversation_id=request_id)
        ours = [each for each in about if each.service == service]
        return min(ours, key=lambda each: each.span.start_time_unix_nano)

    def above(self, span):
        [found] = [each for each in self.spans.seen if each.id == span.parent]
        return found


def somebody():
    request = a_request()
    request.display_name = CANARY
    request.email = f"{CANARY}-{request.request_id}@example.org"
    return SignUp(request)


def tracing(stub, trace, span):
    """A client whose calls name the span that they are below."""
    told = [("traceparent", f"00-{trace}-{span}-01")]
    return SimpleNamespace(SignUp=partial(stub.SignUp, metadata=told))


async def poison(url, trace):
    """Store a request that nobody can read; return its id."""
    body = CreateUserRequested(request_id=somebody().request_id, email=CANARY)
    posting = posting_of(body, data=CANARY.encode())
    posting.headers["traceparent"] = f"00-{trace}-{secrets.token_hex(8)}-01"
    async with JetStream(url, "test") as broker:
        await broker.connected()
        await broker.publish([posting])
    return body.request_id


async def story(folder):
    """One signs up alone, some while nobody decides, and one sends what nobody can read."""
    store = f"sqlite+aiosqlite:///{folder}/store.db"
    with receiver() as spans:  # it hears the last ones, too
        async with (
            Run(folder, store, supervise=False, **spans.settings) as run,
            listening(run, **spans.settings),
            clients(run.system.grpc_ports) as [stub],
        ):
            alone, together = somebody(), [somebody() for _ in range(BATCH)]
            trace, client = secrets.token_hex(16), secrets.token_hex(8)
            await sign_up([tracing(stub, trace, client)], alone, WITHIN)
            await caught_up(run)
            [worker, *_] = run.system.workers
            await worker.stop()
            async with asyncio.TaskGroup() as tasks:
                for one in together:
                    tasks.create_task(sign_up([stub], one, WITHIN))
                await until(lambda: all(one.accepted for one in together), WITHIN)
                await worker.start()
            poisoned = await poison(run.system.server.url, trace)
            await caught_up(run)
            for program in run.system.programs:
                assert await program.stop() == 0
        return Traced(spans, alone, trace, client, together, poisoned)


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    return asyncio.run(story(tmp_path_factory.mktemp("traced")))


def test_a_sign_up_is_one_trace_and_each_step_is_below_the_one_that_caused_it(traced):
    about = traced.alone.request_id
    decided = traced.one(f"process {REQUESTED}", "user-creation", about)
    asked = traced.above(decided)
    call = traced.above(asked)
    answer = traced.one(f"create {CONFIRMED}", "user-creation", about)
    greeted = traced.one(f"process {CONFIRMED}", "welcome-email", about)
    in_crm = traced.one(f"process {CONFIRMED}", "crm", about)
    mailed = traced.one(f"create {EMAILED}", "welcome-email", about)
    kept = traced.one(f"create {IN_TABLE}", "data-warehouse", about)
    noted = traced.one(f"create {IN_CRM}", "crm", about)
    assert (asked.name, call.name) == (f"publish {REQUESTED}", SERVER)
    assert call.parent == traced.client
    assert answer.parent == decided.id
    assert {greeted.parent, in_crm.parent} == {answer.id}
    assert (mailed.parent, noted.parent) == (greeted.id, in_crm.id)
    ours = (call, asked, decided, answer, greeted, in_crm, mailed, kept, noted)
    assert {each.trace for each in ours} == {traced.trace}
    services = {"gateway", "user-creation", "welcome-email", "data-warehouse", "crm"}
    assert {each.service for each in ours} == services


def test_the_table_s_batch_is_linked_to_each_message_and_each_answer_to_the_batch(traced):
    about = traced.alone.request_id
    answer = traced.one(f"create {CONFIRMED}", "user-creation", about)
    kept = traced.one(f"create {IN_TABLE}", "data-warehouse", about)
    # More than one, if the machine is so slow that it came again.
    batches = [s.id for s in traced.spans.named("process USERS") if answer.id in s.links]
    assert {kept.parent, *kept.links} & {*batches}


def test_a_batch_is_one_span_and_each_of_its_messages_goes_on_in_its_own_trace(traced):
    [batch] = traced.spans.named(f"process {REQUESTED}", messaging__batch__message_count=BATCH)
    asked = {
        each.attributes["messaging.message.conversation_id"]: each
        for each in traced.spans.named(f"publish {REQUESTED}")
        if each.id in batch.links
    }
    assert len(batch.links) == BATCH
    assert asked.keys() == {one.request_id for one in traced.together}
    assert batch.parent in batch.links
    assert len({each.trace for each in asked.values()}) == BATCH
    for request_id, request in asked.items():
        answer = traced.one(f"create {CONFIRMED}", "user-creation", request_id)
        assert answer.trace == request.trace
        above = {answer.parent: answer.links}
        assert above in ({request.id: [batch.id]}, {batch.id: []})
    [stored, *_] = [s for s in traced.spans.named("publish USERS") if s.parent == batch.id]
    assert len(stored.links) == stored.attributes["messaging.batch.message_count"] == BATCH


def test_a_span_says_what_opentelemetry_s_conventions_ask_for(traced):
    about = traced.alone.request_id
    decided = traced.one(f"process {REQUESTED}", "user-creation", about)
    assert decided.attributes == {
        "messaging.system": "nats",
        "messaging.destination.name": REQUESTED,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "user-creation-create-user-requested",
        "messaging.message.id": about,
        "messaging.message.conversation_id": about,
        "seaway.messages.failed": 0,
    }
    assert decided.span.kind == decided.span.SPAN_KIND_CONSUMER
    asked = traced.above(decided)
    assert asked.attributes["messaging.operation.type"] == "send"
    assert asked.span.kind == asked.span.SPAN_KIND_PRODUCER
    call = traced.above(asked)
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": SERVER,
        "rpc.response.status_code": "OK",
    }
    assert call.span.kind == call.span.SPAN_KIND_SERVER


def test_a_message_that_is_set_aside_is_an_error_with_its_code_and_no_text(traced):
    [failed] = [
        each
        for each in traced.spans.named(f"process {REQUESTED}")
        if each.attributes.get("messaging.message.id") == traced.poison
    ]
    assert failed.failed
    assert failed.attributes["error.type"] == "UNDECODABLE"
    assert failed.span.status.message == ""
    assert len(failed.span.events) == 0


def test_no_span_holds_personal_data(traced):
    assert traced.spans.raw
    assert not any(CANARY.encode() in request for request in traced.spans.raw)


async def test_a_receiver_that_never_answers_holds_up_nobody(tmp_path):
    store = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    with receiver(deaf=True) as spans:
        settings = {
            **spans.settings,
            "OTEL_BSP_MAX_QUEUE_SIZE": "8",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
        }
        async with Run(tmp_path, store, supervise=False, **settings) as run:
            async with run.load(per_second=50) as load:
                await load.begun(100)
            assert spans.asked.is_set()
            assert await run.check() == len(run.history)
            for program in run.system.programs:
                began = time.monotonic()
                assert await program.stop() == 0
                # It waits for a second. OpenTelemetry's own patience would be half a minute.
                assert time.monotonic() - began < 25
