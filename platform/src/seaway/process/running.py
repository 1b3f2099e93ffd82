"""Running a service: open, consume, compare, and stop with nothing lost."""

import asyncio
import signal
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version

import structlog

from seaway import health
from seaway.audit import telling
from seaway.breaker import Breaker
from seaway.consumer import Consumer
from seaway.errors import BrokerUnavailable
from seaway.fetching import told
from seaway.jetstream import JetStream
from seaway.process.loop_lag import loop_lag
from seaway.process.process import Process
from seaway.process.purging import keep_purging
from seaway.process.watchdog import MISSES, watchdog
from seaway.room import Room
from seaway.service import Service, Subscription
from seaway.telemetry import introduce, introduce_process
from seaway.topology import Topology, drift

log = structlog.get_logger("seaway.process")

DRAIN_WITHIN = 20.0
"""Seconds that what is in hand may take after SIGTERM."""
COMPARE_EVERY = 30.0
"""Seconds between two comparisons of the broker's topology with ours; 1 s while they differ."""


async def run(process: Process, service: Service) -> int:
    """Run until SIGTERM or Ctrl-C, then finish what is in hand; return the exit code."""
    basics, broker = process.basics, process.broker
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    introduce_process(service.name, version_of(service.name), broker.connection.up.is_set)
    process.health.live["broker client"] = _is_alive(broker)
    process.health.ready["running"] = started = _Gate("starting")
    process.health.ready["broker"] = _is_up(broker)
    process.health.tells["/audit"] = telling(service)
    async with (
        health.serving(process.health, basics.metrics_host, basics.metrics_port) as port,
        broker,
        watchdog(basics.blocked_seconds / MISSES),
        loop_lag(service.name),
        asyncio.TaskGroup() as tasks,
    ):
        log.info("started", metrics_port=port)
        gave_up = tasks.create_task(_stop_when_closed(broker, stopping))
        working = tasks.create_task(_work(process, service, stopping, started))
        await stopping.wait()
        started.wrong = "stopping"
        log.info("stopping")
        if started.opening:
            working.cancel()
        await asyncio.wait({working}, timeout=DRAIN_WITHIN)
        if not working.done():
            log.warning("cut off what took too long; the broker will deliver it again")
            working.cancel()
        gave_up.cancel()
    return 1 if broker.connection.closed.is_set() else 0


class _Gate:
    """A readiness check that the process itself opens and shuts."""

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong
        self.opening = True

    async def __call__(self) -> str:
        return self.wrong


async def _work(
    process: Process, service: Service, stopping: asyncio.Event, started: _Gate
) -> None:
    async with AsyncExitStack() as open_ones:
        await process.broker.connected()
        for context in process.contexts:
            await open_ones.enter_async_context(context)
        started.opening = False
        room = Room()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_compare(process, process.topology(service), stopping, started))
            tasks.create_task(keep_purging(process.broker, service, stopping))
            for subscription in service.subscriptions:
                consumer = _consumer(process, service, subscription, room)
                tasks.create_task(consumer.run(stopping))


def _consumer(
    process: Process, service: Service, subscription: Subscription, room: Room
) -> Consumer:
    consumer = Consumer(
        subscription,
        process.broker,
        service.inbox,
        version_of(service.name),
        handle_within=process.basics.handler_seconds,
        room=room,
    )
    introduce(subscription, consumer.breaker)
    process.health.ready[f"{subscription.durable}'s dependencies"] = _is_closed(consumer.breaker)
    return consumer


async def _compare(
    process: Process, ours: Topology, stopping: asyncio.Event, started: _Gate
) -> None:
    """Keep readiness true to whether the broker has what we need: it changes without a word."""
    while not stopping.is_set():
        try:
            differences = await drift(process.broker, ours)
            started.wrong = "; ".join(differences)
        except BrokerUnavailable as error:
            started.wrong = str(error)
        if started.wrong:
            log.warning("not ready", why=started.wrong)
        await told(stopping, within=1.0 if started.wrong else COMPARE_EVERY)


async def _stop_when_closed(broker: JetStream, stopping: asyncio.Event) -> None:
    await broker.connection.closed.wait()
    log.error("the broker's client has given up")
    stopping.set()


def _is_alive(broker: JetStream) -> health.Check:
    async def check() -> str:
        return "" if broker.connection.alive else "has given up, or is silent"

    return check


def _is_up(broker: JetStream) -> health.Check:
    async def check() -> str:
        return "" if broker.connection.up.is_set() else "away"

    return check


def _is_closed(breaker: Breaker) -> health.Check:
    async def check() -> str:
        return "away: fetching nothing, trying now and then" if breaker.is_open else ""

    return check


def version_of(name: str) -> str:
    """Return the version of the distribution that a service comes from."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "0"
