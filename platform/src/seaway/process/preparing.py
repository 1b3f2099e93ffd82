"""What a service's main does instead of running it: prepare, and answer about its topology."""

import argparse
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from seaway.audit.telling import LAST
from seaway.errors import DependencyDown, TopologyError
from seaway.inbox import Inbox
from seaway.jetstream import JetStream
from seaway.jetstream.starting import answered, connected
from seaway.process.process import Process
from seaway.service import Service
from seaway.topology import DurableSpec, Found, Topology, apply, beginning_now, drift, plan, survey
from seaway.topology.permissions import COMMANDS

DIFFERENT = 1
"""The exit code of `topology check` with differences."""
ANSWER_WITHIN = 10.0
"""Seconds that we wait for a broker that is asked and not changed."""


async def prepare(process: Process, service: Service, options: argparse.Namespace) -> int:
    """Do what has to be done before the service can run. Doing it again does nothing.

    The provisioner hears answers where every command does, and not where the service would.

    Waits for a minute for a broker that is only just being started, then raises
    BrokerUnavailable.
    """
    for preparation in process.preparations:
        await preparation()
    # It deletes nothing: in a rolling upgrade the durable that we do not know is the next one's.
    name = COMMANDS if options.as_provisioner else process.name
    topology = process.topology(service).only_adding()
    return await _make(process, service, topology, name=name)


async def plan_topology(process: Process, service: Service, _: argparse.Namespace) -> int:
    """Say what apply would do."""
    topology = process.topology(service)
    async with _reached(process.broker) as broker:
        found = await survey(broker, topology)
        for change in plan(await _remembered(process, service, topology, found), found):
            print("\n  unsafe: ".join([change.sentence, *change.dangers]))
    return 0


async def apply_topology(process: Process, service: Service, options: argparse.Namespace) -> int:
    """Make the broker have what the service needs. Raises TopologyError if that is unsafe."""
    topology = process.topology(service)
    return await _make(process, service, topology, allow_unsafe=options.allow_unsafe)


async def _make(
    process: Process,
    service: Service,
    topology: Topology,
    *,
    name: str = "",
    allow_unsafe: bool = False,
) -> int:
    def tell(sentence: str) -> None:
        print(f"{process.name}: {sentence}", file=sys.stderr, flush=True)

    basics = process.basics
    ours = (basics.nats_url, name or process.name, basics.nats_credentials_file)
    async with JetStream(*ours) as broker:
        found = await answered(broker, lambda: survey(broker, topology), tell)
        topology = await _remembered(process, service, topology, found)
        changes = await answered(
            broker, lambda: apply(broker, topology, allow_unsafe=allow_unsafe), tell
        )
    for change in changes:
        print(change.sentence)
    return 0


async def _remembered(
    process: Process, service: Service, topology: Topology, found: Found
) -> Topology:
    """Return it with what the service has on record of durables that would begin now.

    One that was deleted, or that a restored broker lacks, would skip what waited for it. Raises
    TopologyError if the service's database does not say.
    """
    asked = beginning_now(topology, found) if service.inbox.is_kept else []
    if not asked:
        return topology
    try:
        async with AsyncExitStack() as open_ones:
            for context in process.contexts:
                await open_ones.enter_async_context(context)
            first = {key: await _first_recorded(service.inbox, key[1]) for key in asked}
    except DependencyDown as error:
        names = ", ".join(name for _, name in asked)
        raise TopologyError(f"where {names} has to begin is not known: {error}") from error
    return replace(topology, recorded={k: n for k, n in first.items() if n is not None})


async def _first_recorded(inbox: Inbox, durable: str) -> int | None:
    async for handled in inbox.accounted(durable, 1, LAST):
        return handled.sequence
    return None


async def check_topology(process: Process, service: Service, _: argparse.Namespace) -> int:
    """Say what differs, and return 1 if something does."""
    async with _reached(process.broker) as broker:
        differences = await drift(broker, process.topology(service))
    for difference in differences:
        print(difference)
    return DIFFERENT if differences else 0


async def show_topology(_: Process, service: Service, __: argparse.Namespace) -> int:
    """Print the subscriptions, one JSON object a line."""
    for subscription in service.subscriptions:
        print(json.dumps(DurableSpec.of(subscription).to_json()))
    return 0


@asynccontextmanager
async def _reached(broker: JetStream) -> AsyncIterator[JetStream]:
    async with broker:
        await connected(broker, ANSWER_WITHIN)
        yield broker


TOPOLOGY = {
    "plan": (plan_topology, "what apply would do"),
    "apply": (apply_topology, "make the broker have what it needs"),
    "check": (check_topology, "exit with 1 and say what differs, if something does"),
    "show": (show_topology, "its subscriptions, one JSON object a line"),
}
