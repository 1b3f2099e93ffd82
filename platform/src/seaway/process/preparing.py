"""What a service's main does instead of running it: prepare, and answer about its topology."""

import argparse
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from seaway.jetstream import JetStream
from seaway.jetstream.starting import answered, connected
from seaway.process.process import Process
from seaway.service import Service
from seaway.topology import DurableSpec, Topology, apply, drift, plan, survey
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
    return await _make(process, process.topology(service).only_adding(), name=name)


async def plan_topology(process: Process, service: Service, _: argparse.Namespace) -> int:
    """Say what apply would do."""
    topology = process.topology(service)
    async with _reached(process.broker) as broker:
        for change in plan(topology, await survey(broker, topology)):
            print("\n  unsafe: ".join([change.sentence, *change.dangers]))
    return 0


async def apply_topology(process: Process, service: Service, options: argparse.Namespace) -> int:
    """Make the broker have what the service needs. Raises TopologyError if that is unsafe."""
    return await _make(process, process.topology(service), allow_unsafe=options.allow_unsafe)


async def _make(
    process: Process, topology: Topology, *, name: str = "", allow_unsafe: bool = False
) -> int:
    def tell(sentence: str) -> None:
        print(f"{process.name}: {sentence}", file=sys.stderr, flush=True)

    basics = process.basics
    ours = (basics.nats_url, name or process.name, basics.nats_credentials_file)
    async with JetStream(*ours) as broker:
        changes = await answered(
            broker, lambda: apply(broker, topology, allow_unsafe=allow_unsafe), tell
        )
    for change in changes:
        print(change.sentence)
    return 0


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
