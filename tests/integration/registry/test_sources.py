"""Folders that are watched, by a real registry and real looks in processes of their own."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import rollout_service_pb2 as rollout_pb
from penstock.registry.v1 import source_service_pb2 as pb
from penstock.registry.v1.resources_pb2 import ModelVersion, Signature, TensorSpec
from penstock.registry.v1.rollout_service_pb2 import RolloutPlan
from tests.support.registry import SIGNATURE, Registry, fails, running_registry
from tests.support.sources import Sources, sources_of, texts
from tests.support.waiting import until

PLAN = RolloutPlan(strategy=RolloutPlan.STRATEGY_ALL_AT_ONCE)


@pytest.fixture
async def sources(registry: Registry) -> AsyncIterator[Sources]:
    async with sources_of(registry) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (made := tmp_path / "models").mkdir()
    return made


async def test_what_lies_in_a_folder_becomes_a_version_that_says_where_it_is_from(
    sources: Sources, folder: Path
) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / ".hidden").write_bytes(b"no part of it")

    created = await sources.watch(folder)
    source = await sources.until(lambda one: one.version)

    (version,) = await sources.versions()
    assert created.state == pb.Source.STATE_WATCHING
    assert (source.version, source.state) == (version.name, pb.Source.STATE_BRINGING)
    assert [(one.path, one.size_bytes) for one in version.files] == [("model.onnx", 7)]
    assert (version.lineage.source, version.lineage.origin) == ("sources/one", str(folder))
    assert version.trust.publisher == "sources/one"

    await sources.judge()
    done = await sources.until(lambda one: one.state == pb.Source.STATE_WATCHING)
    assert texts(done) == ["version 1 was made of it", "version 1 is READY"]


async def test_what_changes_brings_the_next_version_and_what_stays_brings_none(sources: Sources, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"one")
    await sources.watch(folder)
    await sources.until(lambda one: one.version)

    await sources.check()
    assert len(await sources.versions()) == 1

    (folder / "model.onnx").write_bytes(b"two")
    await sources.check()
    newest, before = await sources.versions()
    assert newest.lineage.predecessor == before.name

    (folder / "model.onnx").touch()  # written anew, and the same
    await sources.check()
    assert len(await sources.versions()) == 2


async def test_a_source_is_looked_at_by_itself_once_its_time_has_come(sources: Sources, folder: Path) -> None:
    await sources.watch(folder)
    await sources.until(lambda one: "nothing yet" in one.state_reason)
    (folder / "model.onnx").write_bytes(b"weights")

    sources.registry.clock.turn(31)

    await sources.until(lambda one: one.version)


async def test_the_highest_number_counts_and_one_that_is_empty_not_yet(sources: Sources, folder: Path) -> None:
    for number in ("9", "10"):
        (folder / number).mkdir()
        (folder / number / "model.onnx").write_bytes(number.encode())
    (folder / "11").mkdir()
    await sources.watch(folder)

    source = await sources.until(lambda one: one.version)
    (version,) = await sources.versions()
    assert (source.revision, version.lineage.revision) == ("10", "10")
    assert [one.path for one in version.files] == ["model.onnx"]

    (folder / "11" / "model.onnx").write_bytes(b"11")
    assert (await sources.check()).revision == "11"


async def test_a_repository_of_triton_is_taken_as_import_takes_it(sources: Sources, folder: Path) -> None:
    (folder / "1").mkdir()
    (folder / "config.pbtxt").write_text('name: "theirs" max_batch_size: 4 backend: "onnxruntime"')
    (folder / "1" / "model.onnx").write_bytes(b"weights")
    await sources.watch(folder)
    await sources.until(lambda one: one.version)
    (version,) = await sources.versions()
    assert [one.path for one in version.files] == ["model.onnx"]
    assert version.manifest.signature.max_batch_size == 4


async def test_nothing_half_written_is_ever_taken(sources: Sources, folder: Path) -> None:
    """A writer who takes its time, again and again, piece by piece, without any care."""
    await sources.watch(folder)
    sizes = set()
    for round_ in range(4):
        content = bytes([round_]) * 60_000
        with (folder / "model.onnx").open("wb") as file:
            for at in range(0, len(content), 10_000):
                file.write(content[at : at + 10_000])
                file.flush()
                await asyncio.sleep(0.03)
        sources.registry.clock.turn(31)
        want = round_ + 1
        for _ in range(200):
            if len(await sources.versions()) == want:
                break
            await asyncio.sleep(0.05)
        sizes |= {file.size_bytes for one in await sources.versions() for file in one.files}

    assert sizes == {60_000}
    assert len(await sources.versions()) == 4


@pytest.mark.parametrize("name", ["model.onnx.part", "model.onnx.tmp", "tmp-1/model.onnx", "model.onnx~", ".model.X7f"])
async def test_what_looks_half_written_is_waited_for_or_left_out(sources: Sources, folder: Path, name: str) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"half")
    await sources.watch(folder)

    if name.startswith("."):
        await sources.until(lambda one: one.version)
    else:
        await sources.until(lambda one: "half-written" in one.state_reason)
        assert await sources.versions() == []
        for old in (folder / name, (folder / name).parent):
            os.utime(old, (0, 0))
        (folder / name).unlink()
        await sources.until(lambda one: one.version)

    (version,) = await sources.versions()
    assert [one.path for one in version.files] == ["model.onnx"]


async def test_a_rejected_model_is_told_of_and_not_tried_again(sources: Sources, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"bad")
    await sources.watch(folder, plan=PLAN)
    await sources.until(lambda one: one.version)
    await sources.judge(rejection="it is no ONNX")

    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
    assert source.state_reason == "version 1 was rejected: it is no ONNX"

    (folder / "model.onnx").write_bytes(b"bad")  # the same content under another time
    source = await sources.check()
    assert "its content is that of version 1, which was rejected" in source.state_reason
    assert len(await sources.versions()) == 1

    await sources.check(is_forced=True)
    assert len(await sources.versions()) == 2


async def test_the_first_version_is_deployed_at_once(sources: Sources, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    await sources.watch(folder, plan=PLAN)
    await sources.until(lambda one: one.version)
    version = await sources.judge()

    source = await sources.until(lambda one: one.state == pb.Source.STATE_WATCHING)

    request = api.GetDeploymentRequest(name="deployments/digits")
    deployment = (await sources.registry.stub.GetDeployment(request)).deployment
    assert list(deployment.versions) == [version.name]
    assert texts(source)[-1] == "version 1 is deployed"


async def test_a_folder_that_is_away_is_told_of_once_and_found_again(sources: Sources, folder: Path) -> None:
    folder.rmdir()  # noqa: ASYNC240 - as below: a test may wait for its disk
    await sources.watch(folder)
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
    assert source.state_reason == f"there is no {folder}"
    await sources.check()

    folder.mkdir()  # noqa: ASYNC240
    (folder / "model.onnx").write_bytes(b"weights")
    source = await sources.check()

    assert source.version
    assert texts(source) == [f"there is no {folder}", "version 1 was made of it"]


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
async def test_a_folder_that_must_not_be_read_is_told_of(sources: Sources, folder: Path) -> None:
    folder.chmod(0)  # noqa: ASYNC240
    await sources.watch(folder)
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
    assert "Permission denied" in source.state_reason


async def test_links_are_not_followed(sources: Sources, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "model.onnx").symlink_to(tmp_path / "secret")
    await sources.watch(folder)
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
    assert "symbolic link" in source.state_reason


async def test_two_sources_of_one_model_bring_each_its_own(sources: Sources, tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(content)
        await sources.watch(tmp_path / name, name)
        await sources.until(lambda one: one.version, name)

    versions = {one.name: one.lineage.source for one in await sources.versions()}
    assert versions == {"models/digits/versions/1": "sources/a", "models/digits/versions/2": "sources/b"}
    assert (await sources.get("c")).version == "models/digits/versions/1"


async def test_nothing_unsigned_is_taken_where_a_signature_is_asked_for(sources: Sources, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    await sources.watch(folder, trust=pb.SourceTrust(is_signature_required=True))
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
    assert "its signature is UNSIGNED" in source.state_reason
    assert await sources.versions() == []


async def test_a_source_that_is_paused_is_not_looked_at(sources: Sources, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    source = await sources.watch(folder, is_paused=True)
    assert source.state == pb.Source.STATE_PAUSED
    await fails(sources.check(), StatusCode.FAILED_PRECONDITION, with_text=["paused"])

    source.is_paused = False
    request = pb.UpdateSourceRequest(source=source, update_mask=FieldMask(paths=["is_paused"]))
    await sources.stub.UpdateSource(request)
    await sources.until(lambda one: one.version)

    await fails(sources.stub.UpdateSource(request), StatusCode.ABORTED)


async def test_sources_are_listed_updated_and_deleted(sources: Sources, folder: Path) -> None:
    for name in ("b", "a"):
        await sources.watch(folder, name)
    listed = (await sources.stub.ListSources(pb.ListSourcesRequest(page_size=1))).sources
    assert [one.name for one in listed] == ["sources/a"]

    await sources.stub.DeleteSource(pb.DeleteSourceRequest(name="sources/a"))
    await fails(sources.get("a"), StatusCode.NOT_FOUND)
    await fails(
        sources.registry.stub.DeleteModel(api.DeleteModelRequest(name="models/digits")),
        StatusCode.FAILED_PRECONDITION,
        with_text=["sources/b"],
    )


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ({}, "no location"),
        ({"folder": pb.FolderLocation(path="relative")}, "absolute"),
        ({"bucket": pb.BucketLocation(uri="http://x/y")}, "s3://BUCKET/PREFIX"),
        ({"mlflow": pb.MlflowLocation(tracking_uri="http://x")}, "registered_model"),
        ({"mlflow": pb.MlflowLocation(tracking_uri="http://me:pw@x", registered_model="m")}, "credentials"),
        ({"dvc": pb.DvcLocation(repository="/r", path="../x")}, "relative to the repository"),
    ],
    ids=["none", "relative", "scheme", "model", "credentials", "outside"],
)
async def test_what_makes_no_sense_is_refused(sources: Sources, location: dict[str, object], text: str) -> None:
    await fails(sources.add(**location), StatusCode.INVALID_ARGUMENT, with_text=[text])


async def test_a_version_survives_a_registry_that_ends_in_between(tmp_path: Path, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    async with running_registry(tmp_path / "home") as first, sources_of(first) as before:
        await before.watch(folder, plan=PLAN)
        await before.until(lambda one: one.version)
        await before.judge()
    async with running_registry(tmp_path / "home") as second, sources_of(second) as after:
        source = await after.until(lambda one: one.state == pb.Source.STATE_WATCHING)
        assert texts(source)[-1] == "version 1 is deployed"
        (version,) = await after.versions()
        assert version.state == ModelVersion.STATE_READY
        assert list((tmp_path / "home" / "sources").glob("*/*")) == []


async def test_a_look_that_hangs_is_given_up(sources: Sources, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    source = await sources.watch(folder, settle_duration=Duration(seconds=10), check_duration=Duration(seconds=1))
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
    assert source.state_reason == "it took longer than 1 s, and was given up"


async def rollout_of(sources: Sources, number: int) -> rollout_pb.Rollout:
    request = rollout_pb.GetRolloutRequest(name=f"deployments/digits/rollouts/{number}")
    return (await sources.rollouts.GetRollout(request)).rollout


async def test_every_further_version_is_rolled_out_and_waits_for_the_one_before(sources: Sources, folder: Path) -> None:
    plan = RolloutPlan(strategy=RolloutPlan.STRATEGY_CANARY, steps=[rollout_pb.RolloutStep(candidate_share=0.2)])
    await sources.watch(folder, plan=plan)
    for number in (1, 2, 3):
        (folder / "model.onnx").write_bytes(f"{number}".encode())
        await sources.check()
        await sources.judge()
        source = await sources.until(lambda one: one.state_reason)

    assert texts(source)[-3:] == [
        "version 2 was made of it",
        "rollout 1 of version 2 has begun",
        "version 3 was made of it",
    ]
    assert [one.rollout for one in source.events if one.rollout] == ["deployments/digits/rollouts/1"]
    begun = await rollout_of(sources, 1)
    assert (begun.candidate, begun.reason) == ("models/digits/versions/2", "brought by sources/one")
    assert begun.plan.steps[0].candidate_share == 0.2
    waiting = await sources.until(lambda one: "waits" in one.state_reason)
    assert waiting.state_reason == "version 3 waits for the end of rollout 1"

    await sources.rollouts.RollBackRollout(rollout_pb.RollBackRolloutRequest(name=begun.name))
    source = await sources.until(lambda one: one.state == pb.Source.STATE_WATCHING)
    assert texts(source)[-1] == "rollout 2 of version 3 has begun"


async def test_what_was_rolled_back_is_not_tried_again_for_being_written_anew(sources: Sources, folder: Path) -> None:
    await sources.watch(folder, plan=PLAN)
    for number in (1, 2):
        (folder / "model.onnx").write_bytes(f"{number}".encode())
        await sources.check()
        await sources.judge()
        await sources.until(lambda one: one.state == pb.Source.STATE_WATCHING)
    await sources.rollouts.RollBackRollout(rollout_pb.RollBackRolloutRequest(name="deployments/digits/rollouts/1"))

    (folder / "model.onnx").write_bytes(b"2")
    source = await sources.check()
    await fails(rollout_of(sources, 2), StatusCode.NOT_FOUND)
    assert source.state == pb.Source.STATE_WATCHING

    await sources.check(is_forced=True)
    await sources.until(lambda one: texts(one)[-1] == "rollout 2 of version 2 has begun")


async def test_a_candidate_that_does_not_fit_is_told_of(sources: Sources, folder: Path) -> None:
    plan = RolloutPlan(strategy=RolloutPlan.STRATEGY_CANARY)
    (folder / "model.onnx").write_bytes(b"1")
    await sources.watch(folder, plan=plan)
    await sources.until(lambda one: one.version)
    await sources.judge()
    await sources.until(lambda one: one.state == pb.Source.STATE_WATCHING)
    (folder / "model.onnx").write_bytes(b"2")
    await sources.check()
    other = Signature(inputs=[TensorSpec(name="z", datatype="FP32", shape=[-1, 9])], outputs=SIGNATURE.outputs)
    await sources.judge(signature=other)

    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
    assert source.state_reason.startswith("version 2: ")


async def test_a_plan_that_makes_no_sense_is_refused(sources: Sources, folder: Path) -> None:
    steps = [rollout_pb.RolloutStep(candidate_share=one) for one in (0.5, 0.2)]
    call = sources.watch(folder, plan=RolloutPlan(strategy=RolloutPlan.STRATEGY_CANARY, steps=steps))
    await fails(call, StatusCode.INVALID_ARGUMENT)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed")
async def test_a_library_that_is_missing_is_named(sources: Sources) -> None:
    await sources.add(mlflow=pb.MlflowLocation(tracking_uri="http://127.0.0.1:1", registered_model="digits"))
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
    assert "penstock[mlflow]" in source.state_reason


FAKE = """
import os, signal, subprocess, sys, time
print("a line that is no part of an answer")
if os.environ["FAKE"] == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if os.environ["FAKE"] == "hang":
    child = subprocess.Popen(["sleep", "1000"])
    open(os.environ["FAKE_PID"], "w").write(str(child.pid))
    time.sleep(1000)
raise ValueError(sorted(name for name in os.environ if name.startswith("PENSTOCK_")))
"""


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("crash", "killed by signal 11"),
        ("hang", "took longer than 2 s"),
        ("raise", "ValueError: []"),
    ],
)
async def test_a_library_that_misbehaves_harms_nobody_and_sees_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    (package := tmp_path / "fake" / "dvc").mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'fake'}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("PENSTOCK_REGISTRY__WEBHOOK_SECRET", "secret")
    monkeypatch.setenv("FAKE", how)
    monkeypatch.setenv("FAKE_PID", str(tmp_path / "pid"))
    async with running_registry(tmp_path / "home") as registry, sources_of(registry) as sources:
        limit = Duration(seconds=2 if how == "hang" else 30)
        await sources.add(dvc=pb.DvcLocation(repository="/nowhere", path="model"), check_duration=limit)
        source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING)
        assert words in source.state_reason
    if how == "hang":
        child = int((tmp_path / "pid").read_text())
        await until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
