"""Requests that wait in the stream, and how a service comes through them."""

from contextlib import suppress

from acme.users.v1 import CreateUserRequested
from seaway.envelope import Envelope
from seaway.errors import BrokerUnavailable
from waiting import until

STREAM = "USERS"
DURABLE = "user-creation-create-user-requested"
AT_ONCE = 1000


def command(sign_up):
    """What a gateway makes of a request."""
    return CreateUserRequested(
        request_id=sign_up.request_id,
        email=sign_up.email,
        display_name=sign_up.display_name,
        locale=sign_up.locale,
    )


async def put(broker, requests):
    """Put requests into the stream, as many gateways would, a thousand at a time."""
    openings = [Envelope.opening(command(each), source="test") for each in requests]
    for start in range(0, len(openings), AT_ONCE):
        part = openings[start : start + AT_ONCE]
        await broker.publish([opening.posting() for opening in part])


async def left(broker, durable=DURABLE):
    """How many messages are not settled yet."""
    found = (await broker.durables(STREAM))[durable]
    return found.pending + found.ack_pending


async def drained(broker, within=600.0, durable=DURABLE):
    """Wait until nothing is left to do, without asking so often that it takes longer for that."""

    async def nothing_left():
        with suppress(BrokerUnavailable):  # it has five seconds, and may have much else to do
            return await left(broker, durable) == 0

    await until(nothing_left, within, every=0.05)


def metric(program, name, **labels):
    """The sum of a metric's series with these labels, as a process says now."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    total = 0.0
    for line in program.asked("/metrics")[1].splitlines():
        series, _, value = line.rpartition(" ")
        if series.partition("{")[0] == name and all(each in series for each in wanted):
            total += float(value)
    return total
