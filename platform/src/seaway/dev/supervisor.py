"""`seaway dev` from start to end: the broker, then the services; then the services, the broker."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from seaway.dev.access import Access
from seaway.dev.child import Child, ending
from seaway.dev.control import Answer, Request, listening
from seaway.dev.health import ask_health
from seaway.dev.invitation import invitation
from seaway.dev.nats import is_worth_showing, server_command, write_config
from seaway.dev.ports import Ports
from seaway.dev.screen import Screen
from seaway.dev.watch import Watch
from seaway.manifest import Manifest, Program
from seaway.topology.permissions import OPERATOR, PROVISIONER

BROKER = "nats"
TURN = 5.0
"""Seconds after which the next service is started although those before are not ready yet."""
PATIENCE = 3.0
"""Seconds that services have to stop; the broker has one more, and all of it is under five."""


@dataclass(slots=True)
class Development:
    """A whole system on this machine, for as long as `run` lasts."""

    manifest: Manifest
    ports: Ports
    folder: Path
    screen: Screen
    watch: Watch
    access: Access | None = None
    """Who may do what at the broker. None: everybody everything."""
    children: dict[str, Child] = field(init=False)
    """By name: the broker first, then the services."""
    provisioner: Child | None = field(init=False)
    """What makes streams and durables, if no service may."""
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: set[str] = field(default_factory=set)
    """Those that somebody has stopped, by name, and nobody has started again."""
    failed: bool = False

    def __post_init__(self) -> None:
        """Lay everything out; nothing is started."""
        programs = self.manifest.programs.values()
        self.children = {BROKER: self._broker()} | {p.name: self._service(p) for p in programs}
        self.provisioner = self._provisioner(self.access) if self.access else None

    async def run(self) -> int:
        """Run everything until a signal asks to stop; return the exit code."""
        with signals_to(self._stop_or_kill):
            async with listening(self.folder, self._answer), self.tasks:
                self.tasks.create_task(self._bring_up())
                await self.stopping.wait()
                await self._bring_down()
        return int(self.failed)

    async def _bring_up(self) -> None:
        began = time.monotonic()
        if not await self._start(BROKER) or not await self._provision():
            return self._give_up()
        services = [name for name in self.children if name != BROKER]
        # To start is to import, so it is the processors that it waits for: with as many at once
        # as there are, those that the manifest has first are of use long before the last ones.
        turns = asyncio.Semaphore(processors())
        started = await asyncio.gather(*(self._in_turn(name, turns) for name in services))
        if self.stopping.is_set():
            return None
        if not all(started):
            return self._give_up()
        took = time.monotonic() - began
        return self.screen.block(invitation(self.manifest, self.ports, self.folder, took))

    async def _bring_down(self) -> None:
        if self.provisioner is not None:
            await self.provisioner.stop(PATIENCE)
        for child in self.children.values():
            child.unwanted.set()
        services = [child for name, child in self.children.items() if name != BROKER]
        await asyncio.gather(*(child.stop(PATIENCE) for child in services))
        await self.children[BROKER].stop(1.0)

    async def _in_turn(self, name: str, turns: asyncio.Semaphore) -> bool:
        """Start a child when it is its turn; return whether it is as people want it."""
        async with turns:
            if name in self.stopped:
                return True
            starting = self.tasks.create_task(self._is_started(self.children[name]))
            await asyncio.wait({starting}, timeout=TURN)
        return await starting or name in self.stopped

    async def _start(self, name: str) -> bool:
        """Prepare and start a child; return whether it became ready."""
        child = self.children[name]
        if self.stopping.is_set():
            return False
        child.unwanted.clear()
        child.has_been_ready = False
        if not await self._prepare(child) or self.stopping.is_set():
            return False
        self.running[name] = self.tasks.create_task(child.keep_running())
        return await self._becomes_ready(child)

    async def _prepare(self, child: Child) -> bool:
        """Make the durables of a program that cannot do so itself; return whether that worked."""
        if self.provisioner is not None:  # it has made them all
            return True
        program = self.manifest.programs.get(child.name)
        if program is None or not program.is_foreign:
            return True
        apply = (sys.executable, "-m", "seaway.cli", "topology", "apply", child.name)
        code = await child.run(apply)
        if code and not child.unwanted.is_set():
            self.screen.say(f"making the durables of {child.name} {ending(code)}")
        return code == 0

    async def _becomes_ready(self, child: Child) -> bool:
        port, path = child.health
        remind = time.monotonic() + 10
        while not (child.unwanted.is_set() or self.stopping.is_set()):
            status, body = await ask_health(port, path)
            if status == 200:
                child.has_been_ready = True
                return True
            if time.monotonic() > remind:
                remind += 10
                self.screen.say(f"still waiting for {child.name}: {body or 'no answer'}")
            await asyncio.sleep(0.02)
        return False

    async def _answer(self, request: Request) -> Answer:
        if request.verb == "environment":
            return Answer(done=True, environment=self._for_commands())
        child = self.children.get(request.service)
        if child is None:
            names = ", ".join(self.children)
            return Answer(done=False, text=f"no {request.service} here, only {names}")
        if request.verb == "start":
            return await self._start_for(child)
        return await self._stop_for(child)

    def _runs(self, child: Child) -> bool:
        task = self.running.get(child.name)
        return not child.idle.is_set() or (task is not None and not task.done())

    async def _is_started(self, child: Child) -> bool:
        """Start a child unless somebody has; return whether it became ready."""
        return await (self._becomes_ready(child) if self._runs(child) else self._start(child.name))

    async def _start_for(self, child: Child) -> Answer:
        self.stopped.discard(child.name)
        runs = self._runs(child)
        if not await self._is_started(child):
            return Answer(done=False, text=f"{child.name} did not start")
        return Answer(done=True, text=f"{child.name} {'runs already' if runs else 'is ready'}")

    async def _stop_for(self, child: Child) -> Answer:
        self.stopped.add(child.name)
        if not self._runs(child):
            return Answer(done=True, text=f"{child.name} is stopped already")
        await child.stop(PATIENCE)
        if (task := self.running.get(child.name)) is not None:
            # Its last lines are still read: until then a start would take it for one that runs.
            await asyncio.wait({task})
        self.screen.say(f"{child.name} was stopped, as asked")
        return Answer(done=True, text=f"{child.name} is stopped")

    def _give_up(self) -> None:
        if not self.stopping.is_set():
            self.screen.say("not everything could be started: stopping the rest")
            self.failed = True
            self.stopping.set()

    def _stop_or_kill(self) -> None:
        if not self.stopping.is_set():
            self.screen.say("stopping; again to kill")
            return self.stopping.set()
        self.failed = True
        for child in self.children.values():
            child.signal(signal.SIGKILL)
        return None

    def _broker(self) -> Child:
        def show(line: str) -> None:
            if is_worth_showing(line):
                self.screen.line(BROKER, line)

        rules = self.access.rules if self.access else ""
        return Child(
            name=BROKER,
            command=server_command(write_config(self.folder, self.ports, rules)),
            environment=os.environ | self.watch.mark(),
            watch=self.watch,
            show=show,
            say=self.screen.say,
            health=(self.ports.monitor, "/healthz"),
        )

    def _provisioner(self, access: Access) -> Child:
        ours = self.ports.environment() | access.of(PROVISIONER) | self.watch.mark()
        return Child(
            name=PROVISIONER,
            command=(sys.executable, "-m", "seaway.cli", "topology", "apply"),
            environment=os.environ | ours,
            watch=self.watch,
            show=lambda line: self.screen.line(BROKER, line),
            say=self.screen.say,
            health=(self.ports.monitor, "/healthz"),
        )

    async def _provision(self) -> bool:
        """Make all streams and durables, where no service may; return whether that worked."""
        if self.provisioner is None or self.stopping.is_set():
            return True
        code = await self.provisioner.run(self.provisioner.command)
        if code and not self.stopping.is_set():
            self.screen.say(f"making the streams and durables {ending(code)}")
        return code == 0

    def _for_commands(self) -> dict[str, str]:
        """Return what a command must be told to find this system, and to be let in."""
        return self.ports.environment() | (self.access.of(OPERATOR) if self.access else {})

    def _service(self, program: Program) -> Child:
        database = f"sqlite+aiosqlite:///{self.folder.name}/{program.name}.db"
        defaults = {"SEAWAY_DATABASE_URL": database, "SEAWAY_LOG_FORMAT": "console"}
        metrics = {"SEAWAY_METRICS_PORT": str(self.ports.metrics[program.name])}
        ours = self.ports.environment() | metrics | dict(program.environment) | self.watch.mark()
        ours |= self.access.of(program.name) if self.access else {}
        return Child(
            name=program.name,
            # In one go: starting Python twice would take as long as everything else together.
            command=program.command + (() if program.is_foreign else ("--prepare",)),
            environment=defaults | dict(os.environ) | ours | {"PYTHONUNBUFFERED": "1"},
            watch=self.watch,
            show=lambda line: self.screen.line(program.name, line),
            say=self.screen.say,
            health=(self.ports.metrics[program.name], "/readyz"),
        )


def processors() -> int:
    """Return how many processors are for us, where the system tells; else how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def signals_to(call: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C, SIGTERM and the end of the terminal call this, while the context lasts."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
