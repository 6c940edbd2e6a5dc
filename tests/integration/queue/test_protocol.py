"""The queue's promises under what hypothesis thinks of: every request ends once, whoever dies between any two commands.

``QUEUE_EXAMPLES`` says how many sequences of events to try.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from services.inference.model_process import claims, lease, redis_lane
from tests.integration.queue.stage import KEYS, MAX_ATTEMPTS, PRIORITIES, Gateway, ModelProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(0 if "QUEUE_EXAMPLES" in os.environ else 240)

EXAMPLES = int(os.environ.get("QUEUE_EXAMPLES", "8"))
MOST_PROCESSES = 3
COMMANDS = st.integers(0, 8)
NUMBER = st.integers(0, 1000)


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a death be noticed in a third of its usual time."""
    for module in (lease, redis_lane):
        monkeypatch.setattr(module, "LEASE_MS", 600)
    monkeypatch.setattr(lease, "LEASE_RENEWAL_MS", 100)
    monkeypatch.setattr(lease, "IDLE_LEASE_RENEWAL_MS", 100)
    monkeypatch.setattr(claims, "MIN_IDLE_MS", 50)


class Queue(RuleBasedStateMachine):
    """A gateway and up to three model processes; each rule lets something happen, and time pass.

    What is alive at a step depends on time, so that nothing which hypothesis draws may depend on it: a rule that finds
    nobody does nothing.
    """

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-queue-")
        self._names = itertools.count(1)
        self.processes: list[ModelProcess] = []
        self.losses = 0
        self.server.flush()
        self.gateway = self._run(self._open())

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(coroutine)

    async def _open(self) -> Gateway:
        gateway = Gateway(self.server, Path(self._folder.name))
        await gateway.start()
        return gateway

    @property
    def living(self) -> list[ModelProcess]:
        return [one for one in self.processes if not one.is_dead and not one.has_left]

    @rule(count=st.integers(1, 6), priority=st.integers(1, PRIORITIES))
    def ask(self, count: int, priority: int) -> None:
        for _ in range(count):
            self._run(self.gateway.ask(priority=priority, is_poison=False))

    @precondition(lambda self: not self.gateway.poison)
    @rule(priority=st.integers(1, PRIORITIES))
    def ask_poison(self, priority: int) -> None:
        self._run(self.gateway.ask(priority=priority, is_poison=True))

    @rule(number=NUMBER)
    def withdraw(self, number: int) -> None:
        if waiting := self.gateway.pending.unsettled():
            self._run(self.gateway.withdraw(waiting[number % len(waiting)].key))

    @rule()
    def start(self) -> None:
        if len(self.living) < MOST_PROCESSES:
            self._run(self._start())

    async def _start(self) -> None:
        process = ModelProcess(f"m{next(self._names)}", self.server, Path(self._folder.name), self.gateway)
        self.processes.append(process)
        await process.start()

    @rule(milliseconds=st.sampled_from([0, 1, 5, 30, 150]))
    def wait(self, milliseconds: int) -> None:
        self._run(asyncio.sleep(milliseconds / 1000))

    @rule(number=NUMBER, commands=COMMANDS, is_last_answered=st.booleans())
    def kill(self, number: int, commands: int, *, is_last_answered: bool) -> None:
        if living := self.living:
            relay = living[number % len(living)].relay
            self._run(_cut(relay, commands, is_last_answered=is_last_answered))

    @rule(number=NUMBER)
    def drain(self, number: int) -> None:
        if living := self.living:
            self._run(living[number % len(living)].leave())

    @rule(commands=COMMANDS, is_last_answered=st.booleans())
    def disconnect_gateway(self, commands: int, *, is_last_answered: bool) -> None:
        self._run(_cut(self.gateway.relay, commands, is_last_answered=is_last_answered))

    @precondition(lambda self: not self.losses)
    @rule(lose=st.sampled_from([RedisServer.restart, RedisServer.flush]))
    def lose_what_redis_has(self, lose: Callable[[RedisServer], None]) -> None:
        self.losses += 1
        lose(self.server)

    def teardown(self) -> None:
        try:
            self._run(self._settle())
            self._check()
        finally:
            self._run(self._close())
            self._runner.close()
            self._folder.cleanup()

    async def _settle(self) -> None:
        """Let nothing more happen, and wait until all is done."""
        for process in self.living:
            process.relay.cut_after(1_000_000, is_last_answered=False)
        async with asyncio.timeout(30):
            await until(self._is_done)

    async def _is_done(self) -> bool:
        if not self.living:
            await self._start()
        return not self.gateway.pending.unsettled() and not self._left_in_redis()

    def _left_in_redis(self) -> bool:
        with redis.Redis.from_url(self.server.url) as client:
            return any(
                client.xlen(stream) or any(group["pending"] for group in client.xinfo_groups(stream))
                for stream in KEYS.streams(PRIORITIES)
                if client.exists(stream)
            )

    def _check(self) -> None:
        deaths = sum(process.is_dead for process in self.processes)
        for key in self.gateway.tickets:
            self.gateway.check(key, deaths=deaths)
        entries = 1 + self.losses + self.gateway.cuts  # each may have put a request into its lane again
        for key in self.gateway.poison:
            assert sum(process.runs[key] for process in self.processes) <= MAX_ATTEMPTS * entries

    async def _close(self) -> None:
        for process in self.processes:
            await process.close()
        await self.gateway.close()


async def _cut(relay: Any, commands: int, *, is_last_answered: bool) -> None:
    relay.cut_after(commands, is_last_answered=is_last_answered)
    await asyncio.sleep(0)


@pytest.mark.usefixtures("quick_leases")
def test_every_request_ends_once(redis_server: RedisServer) -> None:
    Queue.server = redis_server
    run_state_machine_as_test(Queue, settings=settings(max_examples=EXAMPLES, stateful_step_count=25))
