"""Retrainings: real commands, real HTTP for webhooks and Kubernetes, a monitor that is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from penstock.monitor.v1 import action_service_pb2 as pb
from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1 import rollout_service_pb2 as rollout_pb
from penstock.registry.v1.resources_pb2 import ModelVersion
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub
from services.monitor.adapters.webhooks import signature
from services.monitor.domain.phases import Cause, Severity, Signal
from tests.integration.monitor.test_actions import actions_of, left_open, list_actions
from tests.support.http_peer import Asked, HttpPeer
from tests.support.monitor_process import RunningMonitor, monitor
from tests.support.ports import free_port
from tests.support.registry import running_registry
from tests.support.scripted_rollouts import Rollout, ScriptedRollouts
from tests.unit.monitor.test_alerts import INCIDENT

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

# What monitors remember of others isn't learnt here, and errors need no learning.
DRIFT = replace(
    INCIDENT, version="1", signal=Signal.ERROR_RATE, phase=None, cause=Cause.INPUTS, severity=Severity.TICKET,
    summary="Inputs of digits version 1 have moved.",
)  # fmt: skip
READY = ModelVersion(name="models/digits/versions/2", state=ModelVersion.STATE_READY)
State = pb.Retraining
SAYS_VERSION = """
import json, os
result = {"model_version": "models/digits/versions/2"}
open(os.environ["RETRAINING_RESULT"], "w").write(json.dumps(result))
"""


def write_policies(home: Path, how: str, *, cool_down: str = "1h") -> Path:
    path = home / "policies.toml"
    path.write_text(
        f'[[policy]]\nname = "drift"\naction = "retrain"\nmodels = ["digits"]\nsignals = ["error_rate"]\n'
        f'cool_down = "{cool_down}"\n[policy.retraining]\n{how}\n'
    )
    return path


def command(home: Path, program: str, more: str = "") -> Path:
    """Policies that run a Python program."""
    script = home / "train.py"
    script.write_text(textwrap.dedent(program))
    return write_policies(home, f"command = {json.dumps([sys.executable, str(script)])}\n{more}")


async def retrainings(running: RunningMonitor) -> list[pb.Retraining]:
    return list((await actions_of(running).ListRetrainings(pb.ListRetrainingsRequest(model="digits"))).retrainings)


async def in_state(running: RunningMonitor, *states: State.State) -> pb.Retraining | None:
    """The only retraining, once it is in one of these states."""
    found = await retrainings(running)
    assert len(found) <= 1
    if not (found and found[0].state in states):
        return None
    request = pb.GetRetrainingRequest(name=found[0].name)
    return (await actions_of(running).GetRetraining(request)).retraining


async def patiently(question: Callable[[], Awaitable[Any]], within_s: float = 40) -> Any:
    async with asyncio.timeout(within_s):
        while not (answer := await question()):  # noqa: ASYNC110 - asks over the wire
            await asyncio.sleep(0.1)
    return answer


async def test_a_command_learns_why_and_what_it_brings_is_rolled_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_MONITOR__GRAFANA_TOKEN", "secret")
    monkeypatch.setenv("MY_TOKEN", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    left_open(tmp_path, DRIFT)
    tell = "import os, json; json.dump(dict(os.environ), open('told.json', 'w')); print('loss', 0.25)\n"
    policies = command(
        tmp_path,
        tell + SAYS_VERSION,
        f'pass_environment = ["CUDA_VISIBLE_DEVICES"]\nenvironment = {{ EPOCHS = "3" }}\nfolder = "{tmp_path}"\n'
        "[policy.retraining.rollout]\nsteps = [{ share = 0.25 }]",
    )
    with ScriptedRollouts() as registry:
        registry.versions.append(READY)
        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:
            found = await patiently(lambda: in_state(running, State.STATE_ROLLING_OUT))
            await patiently(lambda: _rollout_of(running))
            (created,) = [call for call in registry.calls if call[0] == "create"]
            assert created[1:] == ("monitor", f"{found.name}: {DRIFT.summary}")
            assert registry.rollouts[0].plan.steps[0].candidate_share == 0.25
            registry.rollouts[0].state = Rollout.STATE_PROMOTED
            registry.rollouts[0].state_reason = "every step was proven"

            found = await patiently(lambda: in_state(running, State.STATE_SUCCEEDED))

            assert "every step was proven" in found.detail
            assert found.output_tail == "loss 0.25\n"
            assert (found.model_version, found.rollout) == (READY.name, "deployments/digits/rollouts/9")
            (action,) = await list_actions(running)
            assert (action.kind, action.target) == (pb.Action.KIND_RETRAIN, found.name)
            told = json.loads((tmp_path / "told.json").read_text())
            assert (told["EPOCHS"], told["CUDA_VISIBLE_DEVICES"], told["RETRAINING_MODEL"]) == ("3", "3", "digits")
            assert not [name for name in told if name.startswith("PENSTOCK_") or "TOKEN" in name]
            asked = json.loads(found.request_json)
            assert json.loads(_text(Path(told["RETRAINING_REQUEST"]))) == asked
            assert (asked["signal"], asked["reason"]) == ("error_rate", DRIFT.summary)
            assert asked["deployed_versions"] == ["models/digits/versions/2"]
            assert asked["window_begin_time"] < asked["change_time"] < asked["window_end_time"]
            assert asked["traces"] == [f"traces/{trace}" for trace in DRIFT.traces]


async def _rollout_of(running: RunningMonitor) -> str:
    found = await in_state(running, State.STATE_ROLLING_OUT)
    return found.rollout if found else ""


async def test_files_that_a_command_leaves_become_a_version_and_a_rollout(tmp_path: Path) -> None:
    left_open(tmp_path, DRIFT)
    policies = command(
        tmp_path,
        """
        import json, os, pathlib
        pathlib.Path("new.onnx").write_bytes(b"better weights")
        result = {"path": "new.onnx", "metrics": {"accuracy": 0.9}, "labels": {"epochs": "3"}}
        pathlib.Path(os.environ["RETRAINING_RESULT"]).write_text(json.dumps(result))
        """,
    )
    async with running_registry(tmp_path / "registry") as registry:
        await registry.deploy("digits")
        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:

            async def validated() -> ModelVersion | None:
                claim = registry_pb.ClaimValidationRequest(node="nodes/a")
                claimed = (await registry.stub.ClaimValidation(claim)).model_version
                return await registry.report(claimed, node="nodes/a") if claimed.name else None

            version = await patiently(validated)
            found = await patiently(lambda: in_state(running, State.STATE_ROLLING_OUT))
            await patiently(lambda: _rollout_of(running))

            assert version.name == found.model_version == "models/digits/versions/2"
            assert dict(version.labels) == {"epochs": "3", "retraining": found.name.rpartition("/")[2]}
            assert dict(version.metrics) == {"accuracy": 0.9}
            async with grpc.aio.insecure_channel(registry.address) as channel:
                request = rollout_pb.ListRolloutsRequest(parent="deployments/digits")
                (rollout,) = (await RolloutServiceStub(channel).ListRollouts(request)).rollouts
            assert (rollout.candidate, rollout.creator) == (version.name, "monitor")
            entries = (await registry.stub.ListAuditEntries(registry_pb.ListAuditEntriesRequest())).audit_entries
            assert f"monitor for {found.name}" in {one.actor for one in entries}


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; print('no data'); sys.exit(3)", "it ended with status 3"),
        ("pass", "it ended well, and brought nothing in"),
        (SAYS_VERSION.replace("digits", "other"), "expected one of models/digit"),
        (SAYS_VERSION.replace("model_version", "path").replace("models/digits", ".."), "below the policy's folder"),
        (SAYS_VERSION.replace("model_version", "path"), "there is nothing at"),
        (SAYS_VERSION.replace("versions/2", "versions/7"), "there is no models/digits/versions/7"),
    ],
    ids=["status", "nothing", "another model", "elsewhere", "no file", "no version"],
)  # fmt: skip
async def test_what_comes_to_nothing_says_why(tmp_path: Path, program: str, why: str) -> None:
    left_open(tmp_path, DRIFT)
    policies = command(tmp_path, program.replace("path/versions", "path"))
    with ScriptedRollouts() as registry:
        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:
            found = await patiently(lambda: in_state(running, State.STATE_FAILED))

            assert why in found.detail


async def test_one_that_takes_too_long_or_says_nothing_is_ended(tmp_path: Path) -> None:
    left_open(tmp_path, DRIFT)
    program = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    policies = command(tmp_path, program, f'deadline = "1h"\nsilence = "1m"\nfolder = "{tmp_path}"')
    with ScriptedRollouts() as registry:
        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:
            await patiently(lambda: in_state(running, State.STATE_RUNNING))
            pid = int(await patiently(lambda: asyncio.to_thread(_text, tmp_path / "pid")))
            running.clock.skip(61)

            found = await patiently(lambda: in_state(running, State.STATE_FAILED))

            assert found.detail == "it gave no sign of life for 60 s"
            await patiently(lambda: asyncio.to_thread(_is_gone, pid))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


async def test_a_retraining_outlives_a_monitor_that_is_killed(tmp_path: Path) -> None:
    """Its command ends while no monitor runs, and the next one takes up what it left."""
    left_open(tmp_path, DRIFT)
    go = tmp_path / "go"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\n"
    policies = command(tmp_path, wait + SAYS_VERSION)
    with ScriptedRollouts() as registry:
        registry.versions.append(READY)
        killed, address = _monitor_process(tmp_path, policies, registry.address)
        try:
            await patiently(lambda: _is_running_at(address))
        finally:
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        go.touch()
        folder = next(path for path in (tmp_path / "retrainings").iterdir())
        await patiently(lambda: asyncio.to_thread((folder / "exit.json").exists))

        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:
            await patiently(lambda: _rollout_of(running))

            assert [call[0] for call in registry.calls] == ["create"]
            assert len(await list_actions(running)) == 1


def _monitor_process(home: Path, policies: Path, registry: str) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    ports = {name: str(free_port()) for name in ("OTLP_PORT", "OTLP_HTTP_PORT", "METRICS_PORT")}
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
        "PENSTOCK_HOME": str(home),
        "PENSTOCK_REGISTRY_ADDRESS": registry,
        "PENSTOCK_MONITOR__POLICIES": str(policies),
        "PENSTOCK_MONITOR__PORT": str(port),
        **{f"PENSTOCK_MONITOR__{name}": value for name, value in ports.items()},
    }
    process = subprocess.Popen([sys.executable, "-m", "services.monitor"], env=environ, stderr=subprocess.DEVNULL)
    return process, f"127.0.0.1:{port}"


async def _is_running_at(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        from penstock.monitor.v1.action_service_pb2_grpc import ActionServiceStub

        with contextlib.suppress(grpc.aio.AioRpcError):
            found = (await ActionServiceStub(channel).ListRetrainings(pb.ListRetrainingsRequest())).retrainings
            return [one.state for one in found] == [State.STATE_RUNNING]
    return False


async def test_a_webhook_is_signed_and_reports_with_its_token(tmp_path: Path) -> None:
    left_open(tmp_path, DRIFT)
    (tmp_path / "secret").write_text("s3cret\n")
    with HttpPeer() as hook, ScriptedRollouts() as registry:
        registry.versions.append(READY)
        how = f'webhook = "{hook.url}/train?queue=gpu"\nsecret_file = "{tmp_path}/secret"\nsilence = "5m"'
        policies = write_policies(tmp_path, how)
        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:
            found = await patiently(lambda: in_state(running, State.STATE_RUNNING))
            (asked,) = hook.asked
            assert (asked.method, asked.path) == ("POST", "/train?queue=gpu")
            second = int(asked.headers["X-Penstock-Signature"].partition(",")[0].removeprefix("t="))
            assert asked.headers["X-Penstock-Signature"] == signature("s3cret", asked.body, second=second)
            assert asked.headers["X-Penstock-Retraining"] == found.name == asked.json["retraining"]

            report = pb.ReportRetrainingRequest(name=found.name, token="wrong", detail="epoch 1")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await actions_of(running).ReportRetraining(report)
            assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            report.token = asked.json["report_token"]
            running.clock.skip(200)
            assert (await actions_of(running).ReportRetraining(report)).retraining.detail == "epoch 1"
            running.clock.skip(200)  # it was heard since
            await asyncio.sleep(1.5)
            report.progress, report.model_version = report.PROGRESS_DONE, READY.name
            await actions_of(running).ReportRetraining(report)
            await patiently(lambda: _rollout_of(running))

            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await actions_of(running).ReportRetraining(report)
            assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_webhooks_version_may_say_itself_what_it_came_of(tmp_path: Path) -> None:
    left_open(tmp_path, DRIFT)
    with HttpPeer() as hook, ScriptedRollouts() as registry:
        policies = write_policies(tmp_path, f'webhook = "{hook.url}"\nroll_out = false')
        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:
            found = await patiently(lambda: in_state(running, State.STATE_RUNNING))
            version = ModelVersion(name="models/digits/versions/3", state=ModelVersion.STATE_READY)
            version.labels["retraining"] = found.name.rpartition("/")[2]
            registry.versions.append(version)

            found = await patiently(lambda: in_state(running, State.STATE_SUCCEEDED))

            assert (found.model_version, found.rollout, registry.calls) == (version.name, "", [])
            cancelled = pb.CancelRetrainingRequest(name=found.name)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await actions_of(running).CancelRetraining(cancelled)
            assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_webhook_that_refuses_fails_and_one_that_is_away_is_asked_again(tmp_path: Path) -> None:
    left_open(tmp_path, DRIFT)
    with HttpPeer(lambda _: (503, "busy")) as hook, ScriptedRollouts() as registry:
        policies = write_policies(tmp_path, f'webhook = "{hook.url}"')
        async with monitor(tmp_path, registry_address=registry.address, policies=policies) as running:
            await patiently(lambda: asyncio.to_thread(lambda: len(hook.asked) >= 2))
            assert await in_state(running, State.STATE_STARTING)
            hook.answer = lambda _: (403, {"message": "no"})

            found = await patiently(lambda: in_state(running, State.STATE_FAILED))

            assert "refused POST / with 403" in found.detail


class Cluster:
    """What the API server of Kubernetes keeps of Jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}

    def __call__(self, asked: Asked) -> tuple[int, Any]:
        if asked.headers.get("Authorization") != "Bearer account":
            return 401, {"message": "Unauthorized"}
        path = asked.path.partition("?")[0]
        jobs = "/apis/batch/v1/namespaces/ml/jobs"
        if asked.method == "POST" and path == jobs:
            name = asked.json["metadata"]["name"]
            status = 409 if name in self.jobs else 201
            self.jobs.setdefault(name, {**asked.json, "status": {"active": 1}})
            return status, {}
        if path.startswith(f"{jobs}/"):
            name = path.rpartition("/")[2]
            if asked.method == "DELETE":
                return (200, {}) if self.jobs.pop(name, None) else (404, {})
            return (200, self.jobs[name]) if name in self.jobs else (404, {"message": "gone"})
        if path == "/api/v1/namespaces/ml/pods":
            terminated = {"state": {"terminated": {"message": json.dumps({"model_version": READY.name})}}}
            return 200, {"items": [{"metadata": {"name": "pod"}, "status": {"containerStatuses": [terminated]}}]}
        return 200, "epoch 1\nepoch 2\n"

    def end(self, condition: str) -> None:
        (job,) = self.jobs.values()
        job["status"] = {"conditions": [{"type": condition, "status": "True", "reason": "BackoffLimitExceeded"}]}


@pytest.fixture
def in_cluster(tmp_path: Path) -> Callable[[HttpPeer], Path]:
    def write(api: HttpPeer) -> Path:
        template = {
            "kind": "Job",
            "apiVersion": "batch/v1",
            "metadata": {"generateName": "x"},
            "spec": {"template": {"spec": {"containers": [{"name": "train", "env": [{"name": "A", "value": "b"}]}]}}},
        }
        (tmp_path / "job.json").write_text(json.dumps(template))
        (tmp_path / "token").write_text("account\n")
        how = f'api = "{api.url}"\nnamespace = "ml"\ntemplate_file = "job.json"\ntoken_file = "{tmp_path}/token"'
        return write_policies(tmp_path, f'deadline = "10m"\n[policy.retraining.kubernetes]\n{how}', cool_down="100s")

    return write


async def test_a_job_is_made_and_followed(tmp_path: Path, in_cluster: Callable[[HttpPeer], Path]) -> None:
    left_open(tmp_path, DRIFT)
    cluster = Cluster()
    with HttpPeer(cluster) as api, ScriptedRollouts() as registry:
        registry.versions.append(READY)
        async with monitor(tmp_path, registry_address=registry.address, policies=in_cluster(api)) as running:
            found = await patiently(lambda: in_state(running, State.STATE_RUNNING))
            ((name, job),) = cluster.jobs.items()
            assert name == f"retraining-{found.name.rpartition('/')[2]}"
            assert 500 < job["spec"]["activeDeadlineSeconds"] <= 600
            told = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
            assert (told["A"], told["RETRAINING_MODEL"]) == ("b", "digits")
            assert json.loads(told["RETRAINING_REQUEST_JSON"])["reason"] == DRIFT.summary
            cluster.end("Complete")

            await patiently(lambda: _rollout_of(running))

            found = await in_state(running, State.STATE_ROLLING_OUT)
            assert found is not None
            assert found.output_tail == "epoch 1\nepoch 2\n"


async def test_a_job_that_fails_or_is_cancelled_is_over(tmp_path: Path, in_cluster: Callable[[HttpPeer], Path]) -> None:
    left_open(tmp_path, DRIFT)
    cluster = Cluster()
    with HttpPeer(cluster) as api, ScriptedRollouts() as registry:
        async with monitor(tmp_path, registry_address=registry.address, policies=in_cluster(api)) as running:
            await patiently(lambda: in_state(running, State.STATE_RUNNING))
            cluster.end("Failed")
            found = await patiently(lambda: in_state(running, State.STATE_FAILED))
            assert found.detail == "its Job failed: BackoffLimitExceeded"

        left_open(tmp_path, replace(DRIFT, incident_id="3" * 20, version="9"))
        cluster.jobs.clear()
        async with monitor(tmp_path, registry_address=registry.address, policies=tmp_path / "policies.toml") as running:
            await asyncio.sleep(2)
            assert not cluster.jobs  # once per cool-down
            running.clock.skip(101)

            async def second() -> pb.Retraining | None:
                found = await retrainings(running)
                return found[0] if found[0].state == State.STATE_RUNNING else None

            under_way = await patiently(second)
            request = pb.CancelRetrainingRequest(name=under_way.name, reason="not now")
            found = (await actions_of(running).CancelRetraining(request)).retraining
            assert (found.state, found.detail) == (State.STATE_FAILED, "cancelled: not now")
            assert not cluster.jobs
