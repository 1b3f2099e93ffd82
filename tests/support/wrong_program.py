"""A listener written by hand, right but for one mistake: `python wrong_program.py MISTAKE`.

It stands for a program in any language: it knows the contracts, and nothing of the platform.
It decides who becomes a user; with SEAWAY_WEBHOOK_PORT it tells somebody of each,
and says nothing.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from uuid import NAMESPACE_DNS, uuid4, uuid5

import nats
from acme.users.v1 import users_pb2 as users
from google.protobuf.message import DecodeError

SERVICE = "by-hand"
CALLS = int(os.environ.get("SEAWAY_WEBHOOK_PORT", 0))
DURABLE = f"{SERVICE}-create-user-{'confirmed' if CALLS else 'requested'}"
SUBJECT = "users.v1.create-requested."
CONFIRMED = "users.v1.create-confirmed."
REJECTED = "users.v1.create-rejected."
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
TYPE = users.CreateUserConfirmed if CALLS else users.CreateUserRequested
SEAWAY = uuid5(NAMESPACE_DNS, "seaway.dev")


class Unreadable(Exception):
    pass


class Program:
    def __init__(self, mistake):
        self.mistake = mistake
        self.handled = set()

    async def run(self):
        stopping = asyncio.Event()
        if self.mistake != "dies on SIGTERM":
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        self.client = await nats.connect(os.environ["SEAWAY_NATS_URL"])
        pull = await self.client.jetstream().pull_subscribe_bind(DURABLE, "USERS")
        health = await asyncio.start_server(
            self.say_ready, "127.0.0.1", int(os.environ["SEAWAY_METRICS_PORT"])
        )
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                for delivery in await pull.fetch(1, timeout=0.5):
                    await self.process(delivery)
        with contextlib.suppress(TimeoutError):
            for delivery in await pull.fetch(16, timeout=0.5):
                await delivery.nak()  # it came too late to be begun
        await self.client.flush()
        health.close()
        sys.exit(3 if self.mistake == "ends with 3" else 0)

    async def say_ready(self, _, writer):
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    async def process(self, delivery):
        alive = asyncio.create_task(self.keep_alive(delivery))
        try:
            message = self.read(delivery)
            if self.mistake == "acks before working":
                await delivery.ack()
            await self.handle(delivery, message)
            if self.mistake != "acks before working":
                await delivery.ack()
        except Unreadable:
            if self.mistake != "forgets what it cannot read":
                await self.set_aside(delivery)
            await delivery.term()
        except (OSError, TimeoutError, RuntimeError, nats.errors.Error):
            await delivery.nak(delay=None if self.mistake == "naks at once" else 1)
        finally:
            alive.cancel()

    async def keep_alive(self, delivery):
        while self.mistake != "is silent while it works":
            await asyncio.sleep(5 / 3)
            await delivery.in_progress()

    def read(self, delivery):
        by_subject = self.mistake == "goes by the subject"
        if by_subject and not delivery.subject.startswith(SUBJECT):
            raise Unreadable
        if not by_subject and delivery.headers.get("ce-type") != TYPE.DESCRIPTOR.full_name:
            raise Unreadable
        try:
            message = TYPE.FromString(delivery.data)
        except DecodeError as error:
            raise Unreadable from error
        known = TYPE.FromString(delivery.data)
        known.DiscardUnknownFields()
        if self.mistake == "knows everything" and known.ByteSize() != message.ByteSize():
            raise Unreadable
        return message

    async def handle(self, delivery, message):
        if not CALLS:
            return await self.answer(delivery, message)
        if delivery.headers["ce-id"] in self.handled and self.mistake != "does it again":
            return None
        await self.call(message)
        self.handled.add(delivery.headers["ce-id"])
        return None

    async def call(self, message):
        reader, writer = await asyncio.open_connection("127.0.0.1", CALLS)
        try:
            body = json.dumps({"user": message.request_id}).encode()
            head = f"POST / HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            writer.write(head + body)
            if b" 204 " not in await reader.readline():
                raise OSError("not taken")
        finally:
            writer.close()

    async def answer(self, delivery, message):
        cause, key = delivery.headers, message.request_id
        name = f"{cause['ce-id']}/{DURABLE}/acme.users.v1.CreateUserConfirmed/{key}"
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid4() if self.mistake == "draws its ids" else uuid5(SEAWAY, name)),
            "ce-type": "acme.users.v1.CreateUserConfirmed",
            "ce-source": DURABLE,
            "ce-time": cause["ce-time"],
            "ce-correlationid": cause["ce-correlationid"],
            "ce-causationid": cause["ce-id"],
            "content-type": "application/protobuf",
            "traceparent": cause["traceparent"],
            EXPECTED: "0",
            f"{EXPECTED}-Subject": REJECTED + key,
        }
        match self.mistake:
            case "loses the trace":
                del headers["traceparent"]
            case "loses the conversation":
                headers["ce-correlationid"] = cause["ce-id"]
            case "has no guard":
                del headers[EXPECTED], headers[f"{EXPECTED}-Subject"]
        body = users.CreateUserConfirmed(request_id=key, user_id=key, email=message.email)
        data = body.SerializeToString()
        said = await self.client.request(CONFIRMED + key, data, 4, headers=headers)
        error = json.loads(said.data).get("error", {})
        if error and error["err_code"] not in (10071, 10077):
            raise RuntimeError(error["description"])

    async def set_aside(self, delivery):
        ours = {"seaway-durable": DURABLE, "seaway-reason": "UNREADABLE"}
        theirs = {k: v for k, v in delivery.headers.items() if not k.startswith("Nats-")}
        subject = f"dead.{DURABLE}.{theirs['ce-id']}"
        await self.client.request(subject, delivery.data, 4, headers=theirs | ours)


if __name__ == "__main__":
    asyncio.run(Program(*sys.argv[1:]).run())
