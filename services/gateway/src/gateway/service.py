"""Signing up, as the outside sees it: accepted once it is stored, then told what became of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import override
from unicodedata import normalize

import grpc
import idna
from acme.gateway.v1 import sign_up_pb2 as api
from acme.gateway.v1.sign_up_pb2_grpc import SignUpServiceServicer
from acme.users.v1 import (
    CreateUserConfirmed,
    CreateUserRejected,
    CreateUserRequested,
    SignUpEmailHandled,
)
from google.protobuf.timestamp_pb2 import Timestamp
from seaway.broker import Broker
from seaway.envelope import Envelope
from seaway.errors import KeyReused
from seaway.flow import Flow
from seaway.rpc import FieldViolation, Refusal, ServicerContext, invalid, validate, violations
from seaway.telemetry import introduce_message
from seaway.watching import Fact, Watch

from gateway.door import Door
from gateway.measuring import Stopwatch
from gateway.patience import patient

SERVICE = api.DESCRIPTOR.services_by_name["SignUpService"]


def sign_up_flow(broker: Broker) -> Flow:
    """Return the conversation: a request, one of two outcomes, the mail about it."""
    outcomes = (CreateUserConfirmed, CreateUserRejected)
    introduce_message("gateway", CreateUserRequested)
    return Flow(broker, CreateUserRequested, follow=(*outcomes, SignUpEmailHandled))


class SignUps(SignUpServiceServicer):
    """The public API. It keeps nothing: any gateway answers for any request."""

    def __init__(self, flow: Flow, door: Door, *, heartbeat: float = 15.0) -> None:
        self._flow = flow
        self._door = door
        self._heartbeat = heartbeat

    @override
    async def SignUp(
        self, request: api.SignUpRequest, context: ServicerContext
    ) -> AsyncIterator[api.SignUpUpdate]:
        """Accept a request, once it is stored for good, and tell what becomes of it."""
        check(request)
        came_before = self._door.sign_up(request, context)
        story = Story(request.request_id, reveal_taken=request.reveal_taken)
        stopwatch = Stopwatch()
        until = END[request.until]
        with ExitStack() as seat, self._flow.watch(request.request_id, until=until) as watch:
            if await self._accept(request, watch, came_before=came_before):
                seat.enter_context(self._door.watch(context))
            async for update in self._updates(watch, story, stopwatch):
                yield update

    @override
    async def WatchSignUp(
        self, request: api.WatchSignUpRequest, context: ServicerContext
    ) -> AsyncIterator[api.SignUpUpdate]:
        """Tell the story after the resume token, and go on. Waits for an unknown one, too."""
        validate(request)
        story = Story(request.request_id)
        after, until = stage_of(request.resume_token), END[request.until]
        with (
            self._door.watch(context),
            self._flow.watch(request.request_id, after=after, until=until) as watch,
        ):
            async for update in self._updates(watch, story):
                yield update

    @override
    async def GetSignUp(
        self, request: api.GetSignUpRequest, context: ServicerContext
    ) -> api.SignUpUpdate:
        """Tell how far it has come. Unknown and undecided are the same from outside."""
        validate(request)
        async with self._answering(request.request_id):
            facts = await self._flow.story(request.request_id)
        decided = [fact for fact in facts if not isinstance(fact.body, CreateUserRequested)]
        return Story(request.request_id).update(decided[-1] if decided else None)

    @asynccontextmanager
    async def _answering(self, request_id: str) -> AsyncIterator[None]:
        """Bound the time that the broker may take, and say what it means if it refuses."""
        try:
            async with patient(lambda: self._flow.is_open(request_id)):
                yield
        except KeyReused as error:
            said = "this request_id was used before, with other content"
            raise Refusal(grpc.StatusCode.ABORTED, "REQUEST_ID_REUSED", said) from error

    async def _accept(
        self, request: api.SignUpRequest, watch: Watch, *, came_before: bool
    ) -> bool:
        """Accept a request; return whether it was before: who asks again only watches.

        Of one that may have been, that is asked first: a repeat would be refused by the broker,
        and with it all that go out as one batch.
        """
        asked = command(request)
        no_room = self._door.no_room()
        async with self._answering(request.request_id):
            if (came_before or no_room) and await self._flow.rejoin(asked, watch):
                return True
            if no_room:
                raise no_room
            await self._flow.open(Envelope.opening(asked, source="gateway"), watch)
            return False

    async def _updates(
        self, watch: Watch, story: "Story", stopwatch: Stopwatch | None = None
    ) -> AsyncIterator[api.SignUpUpdate]:
        while True:
            fact = None
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat):
                    fact = await anext(watch, None)
                if fact is None:
                    return
                if stopwatch is not None:
                    stopwatch.see(fact.body)
            # Nothing new for a while: the last state again, so that a dead connection is noticed.
            yield story.update(fact or watch.reached)


@dataclass(frozen=True, slots=True)
class Story:
    """A sign-up in the words of the public API."""

    request_id: str
    reveal_taken: bool = False
    """Say that an address is taken. Otherwise nobody can tell it from a new one."""

    def update(self, fact: Fact | None) -> api.SignUpUpdate:
        """Say how far it has come; without a fact, nobody knows."""
        if fact is None:
            return api.SignUpUpdate(request_id=self.request_id, state=api.STATE_PENDING)
        state, reason = self._state(fact)
        at = Timestamp()
        at.FromDatetime(fact.at)
        return api.SignUpUpdate(
            request_id=self.request_id,
            state=state,
            at=at,
            resume_token=token_of(fact.stage),
            reason=reason,
        )

    def _state(self, fact: Fact) -> "tuple[api.State.ValueType, str]":
        match fact.body:
            case CreateUserRequested():
                return api.STATE_ACCEPTED, ""
            case CreateUserRejected(reason=reason) if self.reveal_taken:
                return api.STATE_REJECTED, REASONS.get(reason, "OTHER")
            case CreateUserConfirmed() | CreateUserRejected():
                return api.STATE_CONFIRMED, ""
            case _:
                return api.STATE_EMAILED, ""


STAGES = 3
"""ACCEPTED, the outcome, EMAILED."""
END = {
    api.STATE_UNSPECIFIED: CreateUserConfirmed,
    api.STATE_CONFIRMED: CreateUserConfirmed,
    api.STATE_EMAILED: SignUpEmailHandled,
}
"""The fact that a stream ends with, by what the client asked for. Any outcome is the outcome."""

REASONS = {CreateUserRejected.REASON_EMAIL_TAKEN: "EMAIL_TAKEN"}


def token_of(stage: int) -> str:
    """Return what says how far a client was told: the same for all (docs/decisions/0013)."""
    return str(stage + 1)


def stage_of(token: str) -> int:
    """Return the stage after which a client goes on; -1: it begins, or its token is not ours."""
    told = int(token or 0)
    return told - 1 if told <= STAGES else -1


def command(request: api.SignUpRequest) -> CreateUserRequested:
    """Return what a request asks the rest of the system to do."""
    return CreateUserRequested(
        request_id=request.request_id,
        email=request.email,
        display_name=request.display_name,
        locale=request.locale,
    )


def check(request: api.SignUpRequest) -> None:
    """Do nothing if a request can be accepted. Raises Refusal with every violated field."""
    found = violations(request)
    if not any(violation.field == "email" for violation in found):
        found += _domain_violations(request.email.rpartition("@")[2])
    if found:
        raise invalid(found)


def _domain_violations(domain: str) -> Iterator[FieldViolation]:
    try:
        idna.encode(normalize("NFC", domain), uts46=True)
    except idna.IDNAError:
        yield FieldViolation("email", "must be at a domain that can exist")
