"""The monitor acts by itself on a running suite, and no request fails for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from penstock import manifests
from penstock.client import Client
from penstock.monitor.v1.action_service_pb2 import Action
from penstock.registry.v1.rollout_service_pb2 import Rollout
from services.inference.model_process import golden_probe
from tests.evaluation.live import model as mapped
from tests.support import commands, models
from tests.support.suite import Suite

RATE = 40.0
PROBE_PERIOD_S = 2
POLICIES = """
[[policy]]
name = "quarantine-wrong"
action = "quarantine"
signals = ["probe"]
cool_down = "5s"
max_actions = 8
"""


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A suite whose models are probed often."""
    policies = tmp_path_factory.mktemp("policies") / "policies.toml"
    policies.write_text(POLICIES)
    settings = {"PENSTOCK_INFERENCE__PROBE_PERIOD_S": str(PROBE_PERIOD_S), "PENSTOCK_MONITOR__POLICIES": str(policies)}
    with Suite(**settings) as running:
        yield running


@contextlib.contextmanager
def client_of(suite: Suite) -> Iterator[Client]:
    addresses = {"registry": suite.registry_address, "gateway": suite.grpc_address, "monitor": suite.monitor_address}
    with Client(**addresses) as client:
        yield client


@dataclass
class Answers:
    """What came of a steady load: the last answers' share that are as the right model gives them, and all refusals."""

    failed: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    last: list[bool] = field(default_factory=list)

    @property
    def are_right(self) -> bool:
        return len(self.last) >= 100 and all(self.last[-100:])


@contextlib.asynccontextmanager
async def load(suite: Suite, name: str) -> AsyncIterator[Answers]:
    digits, answers = models.digits(), Answers()
    right = np.argmax(digits.images @ digits.weights + digits.bias, axis=1)
    random = np.random.default_rng(0)
    async with triton.InferenceServerClient(suite.grpc_address) as client, asyncio.TaskGroup() as group:

        async def ask(at: int) -> None:
            tensor = triton.InferInput("image", [1, 64], "FP32")
            tensor.set_data_from_numpy(digits.images[at : at + 1])
            try:
                answer = await client.infer(name, [tensor], client_timeout=20.0)
            except InferenceServerException as error:
                answers.failed[str(error)] += 1
                return
            answers.versions[answer.get_response().model_version] += 1
            answers.last.append(bool(answer.as_numpy("probabilities").argmax() == right[at]))

        async def ask_on() -> None:
            while True:
                group.create_task(ask(int(random.integers(len(right)))))
                await asyncio.sleep(1 / RATE)

        asking = group.create_task(ask_on())
        try:
            yield answers
        finally:
            asking.cancel()


async def until(question: Callable[[], Any], within_s: float) -> Any:
    async with asyncio.timeout(within_s):
        while not (answer := await asyncio.to_thread(question)):  # noqa: ASYNC110 - asks over the wire
            await asyncio.sleep(0.2)
    return answer


async def actions(client: Client, model: str, kind: Action.Kind) -> list[Action]:
    found = await asyncio.to_thread(client.actions.list, model=model)
    return [one for one in found if one.kind == kind]


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_replicas_with_wrong_weights_are_replaced_one_after_the_other(acting: Suite, tmp_path: Path) -> None:
    path = mapped.save(tmp_path, "exchanged", loops=1)
    acting.command("deploy", str(path), "--name", "exchanged", "--trust", "--replicas", "2", "--wait")
    with client_of(acting) as client:
        before = {one.instance: one.pid for one in client.deployment("exchanged").instances}
        async with load(acting, "exchanged") as answers:
            await until(lambda: answers.are_right, within_s=60)
            probes = _Probes(client, "exchanged")
            await until(probes.are_sure, within_s=90)

            mapped.exchange_classes(acting, "exchanged")
            await until(lambda: not answers.are_right, within_s=60)
            quarantines = await until(lambda: _all_new(client, "exchanged", before), within_s=120)
            await until(lambda: answers.are_right, within_s=60)
            await until(lambda: len(_passed(client, "exchanged")) == 2, within_s=60)

        assert answers.failed == {}
        assert {one.actor for one in quarantines} == {"monitor"}
        done = await actions(client, "exchanged", Action.KIND_QUARANTINE)
        assert {one.target.partition("@")[0] for one in done} == set(before)
        log = await asyncio.to_thread(lambda: list(client.trust.audit(model="exchanged")))
        assert [one.actor for one in log if one.action == "replica.quarantine"] == ["monitor"] * len(done)


@pytest.mark.timeout(120)
async def test_the_last_replica_is_replaced_by_hand_without_a_gap(acting: Suite, tmp_path: Path) -> None:
    path = mapped.save(tmp_path, "lonely", loops=1)
    acting.command("deploy", str(path), "--name", "lonely", "--trust", "--wait")
    with client_of(acting) as client:
        ((instance, pid),) = [(one.instance, one.pid) for one in client.deployment("lonely").instances]
        async with load(acting, "lonely") as answers:
            await until(lambda: answers.are_right, within_s=60)
            words = ("actions", "quarantine", "lonely", instance, "--reason", "to see")
            refused = await asyncio.to_thread(commands.run, acting.environ, *words)
            assert (refused.returncode, "no other replica" in refused.stderr) == (1, True)

            await asyncio.to_thread(acting.command_text, *words, "--last")
            await until(lambda: _all_new(client, "lonely", {instance: pid}), within_s=60)
            answered = len(answers.last)
            await until(lambda: len(answers.last) > answered + 200, within_s=60)

        assert answers.failed == {}
        assert all(answers.last)


class _Probes:
    """Golden probes that passed, by replica."""

    def __init__(self, client: Client, model: str) -> None:
        self._client, self._model = client, model
        self._seen: dict[str, set[int]] = defaultdict(set)

    def are_sure(self) -> bool:
        """Whether both replicas are known to repeat themselves, so that another answer is a fault."""
        for one in self._client.probes(model=self._model):
            if one.outcome == one.OUTCOME_PASS:
                self._seen[one.replica].add(one.probe_time.ToNanoseconds())
        return len(self._seen) == 2 and all(len(times) > golden_probe.SURE_AFTER + 1 for times in self._seen.values())


def _passed(client: Client, model: str) -> list[str]:
    return [one.replica for one in client.probes(model=model) if one.outcome == one.OUTCOME_PASS]


def _all_new(client: Client, model: str, before: dict[str, int]) -> Any:
    """The quarantines, once every replica has another process than before, and takes requests."""
    deployment = client.deployment(model)
    now = {one.instance: one.pid for one in deployment.instances if one.state == one.STATE_READY}
    is_new = now.keys() == before.keys() and all(now[name] != before[name] for name in now)
    return list(deployment.quarantines) if is_new else None


@pytest.mark.timeout(300)
async def test_a_promoted_version_that_breaks_afterwards_is_rolled_back(acting: Suite, tmp_path: Path) -> None:
    first, second = (mapped.save(tmp_path, name, loops=1) for name in ("first", "second"))
    acting.command("deploy", str(first), "--name", "promoted", "--trust", "--wait")
    with client_of(acting) as client:
        version = client.create_version("promoted", client.upload(second), is_trusted=True, manifest=_manifest(second))
        client.wait_validated(version.name)
        async with load(acting, "promoted") as answers:
            await until(lambda: answers.are_right, within_s=60)
            rollout = client.rollouts.start("promoted", "2", strategy="blue-green")
            await until(lambda: _state(client, rollout) == Rollout.STATE_PROMOTED, within_s=90)
            await until(lambda: answers.versions["2"] > 200, within_s=60)

            mapped.spoil(acting, "second")

            await until(lambda: _state(client, rollout) == Rollout.STATE_ROLLED_BACK, within_s=60)
            await until(lambda: answers.are_right, within_s=60)

        assert answers.failed == {}
        (action,) = await actions(client, "promoted", Action.KIND_ROLL_BACK)
        assert (action.outcome, action.target) == (Action.OUTCOME_DONE, rollout.name)
        events = client.rollouts.get(rollout.name).events
        assert (events[-1].actor, action.incident in events[-1].reason) == ("monitor", True)
        incident = acting.command_text("incidents", action.incident.removeprefix("incidents/"))
        assert "roll back" in incident


def _state(client: Client, rollout: Rollout) -> Rollout.State:
    return client.rollouts.get(rollout.name).state


def _manifest(path: Path) -> Any:
    found = manifests.find(path)
    return manifests.read(found) if found else None
