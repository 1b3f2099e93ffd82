"""Contacts in HubSpot."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from acme.users.v1 import CreateUserConfirmed
from seaway.errors import DependencyDown, NotNow
from seaway.failpoints import crash_here
from seaway.service import Row

from crm.answers import check, failures, listed
from crm.blame import Blame
from crm.calling import Calls, NoAnswer

CONTACTS = "/crm/objects/2026-03/contacts"
"""The version is a date, and is supported for 18 months from then."""
MOST_INPUTS = 100
"""Contacts in one call."""

PROPERTIES = (
    "email",
    "firstname",
    "seaway_request_id",
    "seaway_user_id",
    "seaway_email",
    "seaway_locale",
    "seaway_created_at",
    "seaway_added_at",
)
"""What we write to each contact. Those of `seaway_` have to be made first, as text."""


@dataclass(frozen=True, slots=True)
class HubSpot:
    """Fulfils `Contacts`."""

    calls: Calls
    blame: Blame = field(default_factory=Blame)

    async def upsert(self, users: Sequence[CreateUserConfirmed]) -> Mapping[str, Exception]:
        """Add each user as a contact, or change the contact that has this e-mail address.

        A hundred in one call. HubSpot refuses one that names an address twice, so of users with
        the same address, if there ever are, the later ones are in a later call. A contact at
        which it fails while it takes others has failed alone: the CRM is not away.
        """
        crash_here("C1")
        failed: dict[str, Exception] = {}
        for call in calls_for(users):
            failed |= await self._upserted(call)
        crash_here("C3")
        return failed

    async def _upserted(self, call: Sequence[CreateUserConfirmed]) -> Mapping[str, Exception]:
        inputs = {"inputs": [contact(user) for user in call]}
        try:
            said = check(await self.calls.ask("POST", f"{CONTACTS}/batch/upsert", json=inputs))
        except NoAnswer:
            match call:
                case [user] if self.blame.falls_on(user.request_id):
                    return {user.request_id: NotNow("the CRM fails at it, and takes others")}
            raise
        failed = failures({user.request_id: user.email for user in call}, said)
        if len(failed) < len(call):
            self.blame.others_were_taken()
        return failed

    async def added(self, since: datetime) -> AsyncIterator[Row[CreateUserConfirmed]]:
        """Yield the contacts that were added since a moment, as the event that tells of each.

        It reads all of them, a hundred in one call, at the pace of all other calls. A contact
        that somebody else has made is none of ours. Raises DependencyDown.
        """
        asked = {"limit": str(MOST_INPUTS), "properties": ",".join(PROPERTIES)}
        while True:
            said = check(await self.calls.ask("GET", CONTACTS, params=asked))
            for result in listed(said, "results"):
                if (row := row_of(result)) is not None and row.at >= since:
                    yield row
            match said:
                case {"paging": {"next": {"after": str(after)}}} if after != asked.get("after"):
                    asked["after"] = after
                case _:
                    return


def calls_for(users: Sequence[CreateUserConfirmed]) -> list[list[CreateUserConfirmed]]:
    """Return who is sent in which call: no address twice in one, and in order of the calls."""
    calls: list[dict[str, CreateUserConfirmed]] = []
    for user in users:
        address = user.email.lower()
        fitting = (call for call in calls if len(call) < MOST_INPUTS and address not in call)
        call = next(fitting, None)
        if call is None:
            calls.append(call := {})
        call[address] = user
    return [list(call.values()) for call in calls]


def contact(user: CreateUserConfirmed) -> dict[str, Any]:
    """Return a user as an input of an upsert.

    HubSpot keeps addresses in lower case, so the one that was typed has a property of its own.
    """
    values = (
        user.email,
        user.display_name,
        user.request_id,
        user.user_id,
        user.email,
        user.locale,
        user.created_at.ToJsonString() if user.HasField("created_at") else "",
        datetime.now(UTC).isoformat(),
    )
    return {
        "id": user.email,
        "idProperty": "email",
        "objectWriteTraceId": user.request_id,
        "properties": dict(zip(PROPERTIES, values, strict=True)),
    }


def row_of(result: Any) -> Row[CreateUserConfirmed] | None:
    """Return a contact as a row, or nothing if it is none of ours."""
    match result:
        case {"properties": {"seaway_request_id": str(request_id), **fields}} if request_id:
            said = {name: str(value or "") for name, value in fields.items()}
        case _:
            return None
    email, typed = said.get("email", ""), said.get("seaway_email", "")
    user = CreateUserConfirmed(
        request_id=request_id,
        user_id=said.get("seaway_user_id", ""),
        email=typed if typed.lower() == email.lower() else email,
        display_name=said.get("firstname", ""),
        locale=said.get("seaway_locale", ""),
    )
    try:
        if created_at := said.get("seaway_created_at"):
            user.created_at.FromJsonString(created_at)
        at = datetime.fromisoformat(said.get("seaway_added_at", "")).astimezone(UTC)
    except ValueError as error:
        raise DependencyDown(f"contact of {request_id} has no time that can be read") from error
    return Row(user, at)
