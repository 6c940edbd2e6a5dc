"""Sources and records with the real libraries: MLflow's server and client, DVC, Weights & Biases, TensorBoard.

They are too heavy for ``.venv``: ``make test-records`` runs these tests in an environment of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from penstock import Client
from penstock.registry.v1 import rollout_service_pb2 as rollout_pb
from penstock.registry.v1 import source_service_pb2 as pb
from penstock.registry.v1.rollout_service_pb2 import RolloutPlan
from tests.support import mlflow_server as mlflow_support
from tests.support.ports import free_port
from tests.support.registry import Registry, running_registry
from tests.support.sources import SETTLE, Sources, sources_of

pytestmark = pytest.mark.timeout(300)
PLAN = RolloutPlan(strategy=RolloutPlan.STRATEGY_ALL_AT_ONCE)
SECRET = "a secret of MLflow's and ours"

needs_mlflow = pytest.mark.skipif(not mlflow_support.is_installed, reason="needs mlflow, its server too")


def run(program: str, *arguments: str, cwd: Path, **environ: str) -> str:
    """What a program prints, in a process of its own: libraries leave threads and warnings behind."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with running_registry(tmp_path / "home") as running:
        yield running


@pytest.fixture
async def sources(registry: Registry) -> AsyncIterator[Sources]:
    async with sources_of(registry) as made:
        yield made


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[str]:
    (folder := tmp_path / "mlflow").mkdir()
    allowed = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
    with mlflow_support.mlflow_server(folder, **allowed) as url:
        yield url


TRAIN = """
    import sys, numpy, mlflow
    from sklearn.linear_model import LogisticRegression
    mlflow.set_tracking_uri(sys.argv[1])
    mlflow.set_experiment("training")
    with mlflow.start_run() as run:
        mlflow.log_metric("accuracy", 0.5 + float(sys.argv[2]) / 10)
        generator = numpy.random.default_rng(int(sys.argv[2]))
        model = LogisticRegression().fit(generator.random((40, 4)), numpy.arange(40) % 2)
        mlflow.sklearn.log_model(model, name="model", registered_model_name="digits")
    mlflow.MlflowClient().set_registered_model_alias("digits", "champion", sys.argv[2])
    print(run.info.run_id)
"""


def mlflow_location(url: str, alias: str = "champion") -> pb.MlflowLocation:
    return pb.MlflowLocation(tracking_uri=url, registered_model="digits", alias=alias)


@needs_mlflow
async def test_an_alias_of_mlflow_brings_its_version_with_what_is_known_of_it(
    sources: Sources, mlflow: str, tmp_path: Path
) -> None:
    run_id = (await asyncio.to_thread(run, TRAIN, mlflow, "1", cwd=tmp_path)).split()[-1]
    await sources.add(mlflow=mlflow_location(mlflow), plan=PLAN)
    source = await sources.until(lambda one: one.version, timeout_s=120)

    (version,) = await sources.versions()
    assert source.revision == "1"
    assert (version.lineage.facts["mlflow_run_id"], version.lineage.facts["mlflow_alias"]) == (run_id, "champion")
    assert version.metrics == {"accuracy": 0.6}
    assert [one.path for one in version.files] == ["model.skops"]

    await asyncio.to_thread(run, TRAIN, mlflow, "2", cwd=tmp_path)
    source = await sources.check()
    assert source.revision == "2"

    wrong = await sources.add("wrong", mlflow=mlflow_location(mlflow, alias="nobody"))
    wrong = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING, "wrong", timeout_s=60)
    assert "MLflow knows no alias nobody of a model digits" in wrong.state_reason


@needs_mlflow
async def test_mlflow_that_is_away_is_told_of(sources: Sources) -> None:
    await sources.add(mlflow=mlflow_location(f"http://127.0.0.1:{free_port()}"))
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING, timeout_s=120)
    assert "MLflow can't be asked" in source.state_reason


@needs_mlflow
async def test_a_webhook_of_mlflow_has_its_sources_looked_at(
    tmp_path: Path, mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("PENSTOCK_REGISTRY__WEBHOOK_PORT", str(port))
    monkeypatch.setenv("PENSTOCK_REGISTRY__WEBHOOK_SECRET", SECRET)
    create = """
        import sys, mlflow
        client = mlflow.MlflowClient(tracking_uri=sys.argv[1])
        client.create_webhook("penstock", sys.argv[2], ["model_version_alias.created"], secret=sys.argv[3])
    """
    url = f"http://127.0.0.1:{port}/v1/webhooks/mlflow"
    await asyncio.to_thread(run, create, mlflow, url, SECRET, cwd=tmp_path, MLFLOW_WEBHOOK_ALLOWED_SCHEMES="http")
    # Not before: MLflow keeps for a minute that nobody wanted to hear of an alias.
    await asyncio.to_thread(run, TRAIN, mlflow, "1", cwd=tmp_path)
    async with running_registry(tmp_path / "home") as registry, sources_of(registry) as sources:
        await sources.add(mlflow=mlflow_location(mlflow))  # its clock stands still: it is looked at once
        await sources.until(lambda one: one.revision == "1", timeout_s=120)

        await asyncio.to_thread(run, TRAIN, mlflow, "2", cwd=tmp_path)

        await sources.until(lambda one: one.revision == "2", timeout_s=120)


async def test_what_dvc_tracks_is_brought_as_it_was_committed(sources: Sources, tmp_path: Path) -> None:
    pytest.importorskip("dvc", reason="needs dvc")
    (repository := tmp_path / "repository").mkdir()

    def commit(content: str) -> str:
        (repository / "model").mkdir(exist_ok=True)
        (repository / "model" / "model.onnx").write_text(content)
        dvc = f"{sys.executable} -m dvc"
        script = f"{dvc} add -q model && git add -A && git commit -qm {content} && git rev-parse HEAD"
        return subprocess.run(script, shell=True, cwd=repository, capture_output=True, text=True, check=True).stdout

    setup = (
        "git init -q . && git config user.email a@b && git config user.name a && "
        f"{sys.executable} -m dvc init -q && {sys.executable} -m dvc config core.analytics false"
    )
    subprocess.run(setup, shell=True, cwd=repository, check=True, capture_output=True)  # noqa: ASYNC221
    first = commit("one").strip()
    await sources.add(dvc=pb.DvcLocation(repository=str(repository), path="model"))
    source = await sources.until(lambda one: one.version, timeout_s=60)
    assert source.revision == first
    (version,) = await sources.versions()
    assert version.lineage.facts["git_commit"] == first

    (repository / "model" / "model.onnx").write_text("not committed")
    assert (await sources.check()).revision == first

    second = commit("two").strip()
    assert (await sources.check()).revision == second
    assert len(await sources.versions()) == 2

    await sources.add("nothing", dvc=pb.DvcLocation(repository=str(repository), path="nothing"))
    nothing = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING, "nothing", timeout_s=60)
    assert nothing.state_reason == "DVC knows no nothing there"


LOG = """
    import pathlib, sys, wandb
    pathlib.Path("made").mkdir(exist_ok=True)
    pathlib.Path("made/model.onnx").write_text(sys.argv[1])
    run = wandb.init(project="digits", name="training")
    artifact = wandb.Artifact("digits", "model")
    artifact.add_dir("made")
    run.log({"accuracy": 0.5})
    run.log_artifact(artifact)
    run.finish()
"""


async def test_an_offline_run_of_wandb_brings_its_model(sources: Sources, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="needs wandb")
    environ = {
        "WANDB_MODE": "offline",
        **{f"WANDB_{name}": str(tmp_path / "runs") for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR")},
    }
    (tmp_path / "runs").mkdir()
    await asyncio.to_thread(run, LOG, "one", cwd=tmp_path, **environ)
    await sources.add(wandb=pb.WandbLocation(path=str(tmp_path / "runs" / "wandb")))
    await sources.until(lambda one: one.version, timeout_s=60)
    (version,) = await sources.versions()
    assert [(one.path, one.size_bytes) for one in version.files] == [("model.onnx", 3)]
    assert (version.lineage.facts["wandb_project"], version.metrics["accuracy"]) == ("digits", 0.5)

    await asyncio.to_thread(run, LOG, "three", cwd=tmp_path, **environ)
    await sources.check()
    assert len(await sources.versions()) == 2

    for staged in (tmp_path / "runs" / "artifacts" / "staging").iterdir():
        staged.write_text("other")
    await sources.add("other", wandb=pb.WandbLocation(path=str(tmp_path / "runs" / "wandb")))
    other = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING, "other", timeout_s=60)
    assert "its manifest says" in other.state_reason


async def with_a_rollout(sources: Sources, folder: Path) -> rollout_pb.Rollout:
    """Two versions, of which the second was rolled back."""
    await asyncio.to_thread(folder.mkdir)
    await sources.add(folder=pb.FolderLocation(path=str(folder)), plan=PLAN, settle_duration=SETTLE)
    for number in (1, 2):
        (folder / "model.onnx").write_bytes(f"{number}".encode())
        await sources.check()
        await sources.judge()
        await sources.until(lambda one: one.state == pb.Source.STATE_WATCHING)
    name = "deployments/digits/rollouts/1"
    request = rollout_pb.RollBackRolloutRequest(name=name, reason="worse by 1 %")
    return (await sources.rollouts.RollBackRollout(request)).rollout


async def test_tensorboard_reads_what_is_written_for_it(sources: Sources, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    await with_a_rollout(sources, tmp_path / "models")
    command = [sys.executable, "-m", "penstock", "export", "records", "--registry", sources.registry.address]

    def export() -> str:
        return subprocess.run(
            [*command, "--tensorboard", str(tmp_path / "board")], check=True, capture_output=True, text=True
        ).stdout

    assert (await asyncio.to_thread(export)).startswith("3 of 3 records")
    assert (await asyncio.to_thread(export)).startswith("0 of 3 records")

    read = """
        import json, sys
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        found = EventAccumulator(sys.argv[1]).Reload()
        scalars = {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
        text = [one.tensor_proto.string_val[0].decode() for one in found.Tensors("summary")]
        print(json.dumps([scalars, text]))
    """
    printed = await asyncio.to_thread(run, read, str(tmp_path / "board" / "digits" / "rollout-1"), cwd=tmp_path)
    scalars, (text,) = json.loads(printed.splitlines()[-1])
    assert scalars["rollout/is_promoted"] == [[0, 0.0]]
    assert "worse by 1 %" in text


@needs_mlflow
async def test_results_become_runs_of_mlflow_once(sources: Sources, mlflow: str, tmp_path: Path) -> None:
    rollout = await with_a_rollout(sources, tmp_path / "models")

    def write() -> list[str]:
        with Client(registry=sources.registry.address) as client:
            from penstock.records import mlflow as runs

            return runs.write(client.records(), mlflow)

    read = """
        import json, sys, mlflow
        client = mlflow.MlflowClient(tracking_uri=sys.argv[1])
        (experiment,) = client.search_experiments(filter_string="name = 'penstock/digits'")
        for run in client.search_runs([experiment.experiment_id]):
            print(json.dumps([run.info.run_name, run.info.status, dict(run.data.tags), dict(run.data.metrics)]))
    """
    export = f"{sys.executable} -m penstock export records --registry {sources.registry.address} --mlflow {mlflow}"

    def exported() -> str:
        return subprocess.run(export.split(), check=True, capture_output=True, text=True).stdout

    assert "3 of 3 records" in await asyncio.to_thread(exported)
    assert "0 of 3 records" in await asyncio.to_thread(exported)
    found = [json.loads(line) for line in (await asyncio.to_thread(run, read, mlflow, cwd=tmp_path)).splitlines()]

    assert sorted(one[0] for one in found) == ["digits rollout 1", "digits version 1", "digits version 2"]
    (_, status, tags, metrics) = next(one for one in found if "rollout" in one[0])
    assert status == "FAILED"
    assert tags["penstock.reason"] == rollout.state_reason
    assert metrics["rollout/is_promoted"] == 0.0


async def test_the_registry_writes_records_when_a_rollout_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    board = tmp_path / "board"
    monkeypatch.setenv("PENSTOCK_REGISTRY__RECORDS", f"tensorboard:{board}")
    async with running_registry(tmp_path / "home") as registry, sources_of(registry) as sources:
        await with_a_rollout(sources, tmp_path / "models")
        for _ in range(300):
            if list(board.glob("digits/rollout-1/events*")):
                break
            await asyncio.sleep(0.1)
        assert list(board.glob("digits/rollout-1/events*"))
