"""The fake CRM's HTTP: HubSpot's two calls, and what a person or a test wants of it."""

import asyncio
import json
import socket
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from seaway.health import Receive, Scope, Send, Server

from crm.fake.faults import Faults
from crm.fake.page import page

LIST = "GET /crm/objects/2026-03/contacts"
UPSERT = "POST /crm/objects/2026-03/contacts/batch/upsert"
MOST_INPUTS = 100
WINDOW = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What it answers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut_off: bool = False

    @classmethod
    def of(cls, status: int, content: Any, **headers: str) -> "Reply":
        """Return an answer in JSON."""
        kind = {"content-type": "application/json"}
        return cls(status, json.dumps(content).encode(), kind | headers)


@dataclass(slots=True)
class FakeCrm:
    """Contacts by e-mail, and what was called how often. All of it in memory, and in `file`."""

    token: str = "fake"
    file: Path | None = None
    limit: int = 0
    """Calls in ten seconds; 0 is no limit."""
    faults: Faults = field(default_factory=Faults)
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By e-mail in lower case, as HubSpot gives them back."""
    calls: Counter[str] = field(default_factory=Counter)
    """By what became of them: a status, or `upserted` and `created` for contacts."""
    port: int = 0
    _called_at: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """Go on with what is in the file."""
        if self.file is not None and self.file.exists():
            for line in self.file.read_text().splitlines():
                contact = json.loads(line)
                self.contacts[contact["properties"]["email"]] = contact

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI wants it."""
        body = await _received(receive)
        called = f"{scope['method']} {scope['path']}"
        if scope["path"].startswith("/crm/"):
            reply = await self._called(scope, called, body)
            self.calls[str(reply.status)] += 1
        else:
            reply = self._asked(called, body)
        await _send(send, reply)

    async def _called(self, scope: Scope, called: str, body: bytes) -> Reply:
        faults = self._faults_now() if self.faults.befall(body) else Faults()
        await asyncio.sleep(faults.seconds)
        refusal = self._refusal(scope) or _failure(faults)
        if refusal is not None:
            return refusal
        cut_off = faults.disconnect != ""
        if faults.disconnect == "before":
            return Reply(200, b"", is_cut_off=True)
        if called == UPSERT:
            reply = self.upsert(_json(body), faults)
        elif called == LIST:
            reply = self.listed(parse_qs(scope["query_string"].decode()))
        else:
            return _error(404, "OBJECT_NOT_FOUND", f"{called} is not here")
        return Reply(reply.status, reply.body + b" " * faults.padding, reply.headers, cut_off)

    def _faults_now(self) -> Faults:
        faults = self.faults
        if faults.times > 0:
            faults.times -= 1
            if faults.times == 0:
                self.faults = Faults()
        return faults

    def _refusal(self, scope: Scope) -> Reply | None:
        headers = {name.decode("latin1"): value for name, value in scope["headers"]}
        if headers.get("authorization") != f"Bearer {self.token}".encode():
            return _error(401, "INVALID_AUTHENTICATION", "who are you?")
        now = time.monotonic()
        self._called_at.append(now)
        while now - self._called_at[0] > WINDOW:
            self._called_at.popleft()
        if self.limit and len(self._called_at) > self.limit:
            return _too_often()
        return None

    def upsert(self, said: Any, faults: Faults) -> Reply:
        """Add or change contacts by e-mail, as many of them as may be."""
        inputs = said.get("inputs", []) if isinstance(said, dict) else []
        if wrong := _wrong_with(inputs):
            return _error(400, "VALIDATION_ERROR", wrong)
        refused = [each for each in inputs if faults.category_for(each["id"])]
        taken = [each for each in inputs if each not in refused]
        results = [self._upserted(each) for each in taken]
        if faults.silent:
            results = [r for r in results if faults.silent not in r["properties"]["email"]]
        errors = [_blaming(each, faults.category_for(each["id"])) for each in refused]
        answer = {"status": "COMPLETE", "results": results}
        more = {"numErrors": len(errors), "errors": errors} if errors else {}
        return Reply.of(207 if errors else 200, answer | more)

    def _upserted(self, given: Mapping[str, Any]) -> dict[str, Any]:
        email, now = given["id"].lower(), datetime.now(UTC).isoformat()
        kept = self.contacts.get(email)
        contact = kept or {"id": str(len(self.contacts) + 1), "createdAt": now, "properties": {}}
        contact["properties"] |= {**given["properties"], "email": email}
        contact["updatedAt"] = now
        self.contacts[email] = contact
        self.calls["upserted"] += 1
        self.calls["created"] += kept is None
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as file:
                file.write(json.dumps(contact) + "\n")
        return contact | {"new": kept is None, "objectWriteTraceId": given["objectWriteTraceId"]}

    def listed(self, asked: Mapping[str, Sequence[str]]) -> Reply:
        """Return one page of contacts, in the order of their ids."""
        limit, after = int(asked.get("limit", ["10"])[0]), int(asked.get("after", ["0"])[0])
        wanted = asked.get("properties", [""])[0].split(",")
        shown = list(self.contacts.values())[after : after + min(limit, MOST_INPUTS)]
        results = [
            each | {"properties": {name: each["properties"].get(name) for name in wanted}}
            for each in shown
        ]
        end = after + len(shown)
        more = {"paging": {"next": {"after": str(end)}}} if end < len(self.contacts) else {}
        return Reply.of(200, {"results": results} | more)

    def _asked(self, called: str, body: bytes) -> Reply:
        """Answer what no CRM would be asked."""
        match called:
            case "GET /":
                shown = page(self.contacts.values(), self.calls)
                return Reply(200, shown.encode(), {"content-type": "text/html; charset=utf-8"})
            case "GET /metrics":
                return Reply(200, f"fake_crm_contacts {len(self.contacts)}\n".encode())
            case "GET /readyz" | "GET /livez":
                return Reply.of(200, {"ok": True, "wrong": {}})
            case "GET /contacts":
                return Reply.of(200, list(self.contacts.values()))
            case "GET /calls":
                return Reply.of(200, self.calls)
            case "PUT /faults":
                try:
                    self.faults = Faults.told(_json(body))
                except ValueError as error:
                    return Reply.of(400, {"wrong": str(error)})
                return Reply.of(200, asdict(self.faults))
        return Reply.of(404, {"wrong": f"{called} is not here"})


@asynccontextmanager
async def serving(fake: FakeCrm, port: int = 0) -> AsyncIterator[FakeCrm]:
    """Serve it on a loopback port, any free one if `port` is 0. Raises OSError if it is taken."""
    listening = socket.create_server(("127.0.0.1", port), reuse_port=False)
    fake.port = listening.getsockname()[1]
    config = uvicorn.Config(
        fake, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield fake
    finally:
        server.should_exit = True
        await task


def _wrong_with(inputs: Sequence[Any]) -> str:
    """Return why HubSpot would refuse all of these, empty if it would not."""
    if not 0 < len(inputs) <= MOST_INPUTS:
        return f"{len(inputs)} inputs, and not 1 to {MOST_INPUTS}"
    emails = [each["id"].lower() for each in inputs]
    traces = {each["objectWriteTraceId"] for each in inputs}
    if len(set(emails)) < len(emails) or len(traces) < len(emails):
        return "an id occurs twice"
    if {each["idProperty"] for each in inputs} != {"email"}:
        return "idProperty is not email"
    return "" if all("@" in email for email in emails) else "INVALID_EMAIL"


def _blaming(given: Mapping[str, Any], category: str) -> dict[str, Any]:
    about = {"objectWriteTraceId": [given["objectWriteTraceId"]]}
    return {"status": "error", "category": category, "message": "no", "context": about}


def _failure(faults: Faults) -> Reply | None:
    if not faults.status:
        return None
    headers = {"retry-after": faults.retry_after} if faults.retry_after else {}
    headers |= {"location": faults.location} if faults.location else {}
    usual = _too_often() if faults.status == 429 else _error(faults.status, "FAULT", "on purpose")
    return Reply(faults.status, faults.body.encode() or usual.body, headers)


def _too_often() -> Reply:
    limit = {"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}
    return Reply.of(429, {"status": "error", "message": "too often"} | limit)


def _error(status: int, category: str, message: str) -> Reply:
    return Reply.of(status, {"status": "error", "category": category, "message": message})


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


async def _received(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _send(send: Send, reply: Reply) -> None:
    length = len(reply.body) + reply.is_cut_off
    headers = {**reply.headers, "content-length": str(length)}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    # One byte less than it promised: the server then cuts the connection.
    body = {"type": "http.response.body", "body": reply.body, "more_body": reply.is_cut_off}
    await send(body)
