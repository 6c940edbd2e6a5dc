"""The ``penstock`` command and the Python client against a running suite."""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from penstock import Client, Serving, errors
from penstock.cli.status import InstanceStatus
from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.uploads import digest_of
from tests.support import commands, models
from tests.support.suite import Suite, wait_until


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with Suite() as running:
        yield running


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.digits_onnx(tmp_path_factory.mktemp("models") / "digits.onnx")


def _run(suite: Suite, *arguments: str) -> CompletedProcess[str]:
    return commands.run(suite.environ, *arguments)


def _json(suite: Suite, *arguments: str) -> Any:
    done = _run(suite, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_model_goes_from_file_to_answer_and_away(suite: Suite, digits: Path, tmp_path: Path) -> None:
    deployed = _json(
        suite, "deploy", str(digits), "-n", "way", "--metric", "accuracy=0.9", "--label", "a=b", "--alias", "live",
        "--replicas", "2", "--max-batch-size", "8", "--max-queue-delay-us", "50",
    )  # fmt: skip
    assert deployed["version"]["metrics"] == {"accuracy": 0.9}
    assert deployed["deployment"]["replicas"] == 2
    assert deployed["deployment"]["batching"] == {"max_batch_size": 8, "max_queue_delay_microseconds": "50"}
    assert [one["version"]["name"] for one in _json(suite, "models", "way")] == ["models/way/versions/1"]

    expected = models.digits().predict(models.digits().images[:3])
    arrays = models.digits().images[:3]
    np.save(tmp_path / "image.npy", arrays)
    np.savez(tmp_path / "image.npz", image=arrays.astype(np.float64))
    (tmp_path / "image.json").write_text(json.dumps({"image": arrays.tolist()}))
    for name in ("image.npy", "image.npz", "image.json"):
        answer = _json(suite, "infer", "way", "--input", str(tmp_path / name), "--version", "live")
        assert np.argmax(answer["outputs"]["probabilities"]["data"], axis=1).tolist() == expected.tolist()
    assert _json(suite, "infer", "way", "--random", "--rows", "5")["outputs"]["probabilities"]["shape"] == [5, 10]

    for command in (
        ["models"],
        ["status"],
        ["nodes"],
        ["infer", "way", "--random"],
        ["watch", "--once"],
        ["incidents"],
    ):
        shown = _run(suite, *command)
        assert (shown.returncode, shown.stderr) == (0, ""), command
        assert shown.stdout
    _json(suite, "undeploy", "way")
    gone = _run(suite, "infer", "way", "--random")
    assert gone.returncode == 1
    assert "way" in gone.stderr


def test_a_folder_is_deployed_and_shown_with_what_its_manifest_says(suite: Suite, tmp_path: Path) -> None:
    folder = models.folder_onnx(tmp_path / "folder", bias=7)
    (folder / "penstock.toml").write_text(
        'max_batch_size = 4\n[[outputs]]\nname = "OUTPUT0"\nlabels = ["' + '", "'.join("abcdefghijklmnop") + '"]\n'
    )
    (folder / "weights" / "empty").touch()
    deployed = _json(suite, "deploy", str(folder), "--name", "folder", "--alias", "best")["version"]
    assert [one["path"] for one in deployed["files"]] == ["graph.onnx", "weights/bias.bin", "weights/empty"]
    assert deployed["signature"]["outputs"][0]["labels"] == list("abcdefghijklmnop")
    assert deployed["signature"]["max_batch_size"] == 4

    assert _json(suite, "model", "show", "folder", "--version", "best") == deployed
    shown = _run(suite, "model", "show", "folder").stdout
    for text in (
        "folder version 1 ready",
        "alias best",
        "of up to 4 rows",
        "local: ready",
        "weights/bias.bin",
        deployed["digest"],
    ):
        assert text in shown
    assert shown.count("✓") == 3
    nobody = _run(suite, "model", "show", "nobody")
    assert (nobody.returncode, nobody.stderr) == (1, "error: models/nobody does not exist\n")

    (folder / "penstock.toml").write_text('[[inputs]]\nname = "INPUT0"\ndatatype = "INT64"\n')
    refused = _run(suite, "deploy", str(folder), "--name", "folder")
    assert "'INPUT0' INT64 of any shape is what the model calls 'INPUT0' FP32 [-1, 16]" in refused.stderr


STEPS = """
[[preprocessing]]
operation = "decode_image"
size = [4, 4]

[[preprocessing]]
operation = "layout"
to = "NCHW"
"""


@pytest.mark.parametrize(
    ("kind", "shape", "manifest", "expected"),
    [
        (TensorProto.FLOAT, ["n", 4], "", "--random"),
        (TensorProto.UINT8, ["n", 3, 4, 4], STEPS, "--random-image"),
        (TensorProto.STRING, ["n"], "", "--text 'a sentence'"),
    ],
)
def test_what_deploy_says_to_try_works(
    kind: int, shape: list[int | str], manifest: str, expected: str, suite: Suite, tmp_path: Path
) -> None:
    models.same_onnx(tmp_path / "model.onnx", kind, shape)
    (tmp_path / "penstock.toml").write_text(manifest)
    said = " ".join(_run(suite, "deploy", str(tmp_path), "-n", "tried").stdout.split())
    command = said.partition("Try it: penstock ")[2]
    assert command == f"infer tried {expected}"
    answered = _run(suite, *shlex.split(command), "--rows", "2", "--json")
    assert answered.returncode == 0, answered.stderr
    output = json.loads(answered.stdout)["outputs"]["y"]
    assert output["shape"] == [2, *shape[1:]]
    if kind == TensorProto.STRING:
        assert output["data"] == ["a sentence"] * 2
    _json(suite, "undeploy", "tried")


def test_figures_reach_watch(suite: Suite, client: Client, digits: Path) -> None:
    _json(suite, "deploy", str(digits), "-n", "watched")
    for _ in range(5):
        client.infer("watched", {"image": models.digits().images[:2]})

    def figures() -> list[dict[str, Any]]:
        return [
            one for one in _json(suite, "watch", "--once", "--model", "watched")["figures"] if int(one["request_count"])
        ]

    (seen,) = wait_until(figures)
    assert seen["mean_batch_rows"] >= 2
    assert _json(suite, "watch", "--once")["pending_requests"]["watched/1"] == 0


def test_new_version_replaces_the_one_before_and_may_keep_it(client: Client, digits: Path) -> None:
    files = client.upload(digits)
    names = [client.wait_validated(client.create_version("next", files).name).name for _ in range(3)]
    client.deploy("next", names[0], serving=Serving(max_batch_size=4))
    replaced = client.deploy("next", names[1])
    assert list(replaced.versions) == [names[1]]
    assert replaced.batching.max_batch_size == 4
    kept = client.deploy("next", names[2], keep_previous=True)
    assert list(kept.versions) == [names[1], names[2]]
    wait_until(lambda: {one.version for one in client.deployment("next").instances} == set(names[1:]))
    assert all(one.state == InstanceStatus.STATE_READY for one in client.deployment("next").instances)
    for version in ("", "2", "3"):
        assert client.infer("next", {"image": models.digits().images[:1]}, version=version)["probabilities"].shape == (
            1,
            10,
        )
    with pytest.raises(errors.NotFoundError):
        client.infer("next", {"image": models.digits().images[:1]}, version="1")


def test_interrupted_upload_goes_on_where_it_ended(suite: Suite, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(np.random.default_rng(7).bytes(9 << 20))
    stub: RegistryServiceStub = suite.registry
    digest, size = digest_of(path), path.stat().st_size
    stub.StartUpload(pb.StartUploadRequest(sha256=digest, size_bytes=size))
    is_enough = threading.Event()

    def first_part() -> Iterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(sha256=digest, size_bytes=size)
        for at in range(0, 4 << 20, 1 << 20):
            yield pb.UploadArtifactRequest(chunk=path.read_bytes()[at : at + (1 << 20)])
        is_enough.wait(30)

    call = stub.UploadArtifact.future(first_part())
    start = pb.StartUploadRequest(sha256=digest, size_bytes=size)
    wait_until(lambda: stub.StartUpload(start).committed_bytes > 0)
    call.cancel()
    is_enough.set()
    sent: list[int] = []
    (artifact,) = client.upload(path, progress=lambda done, _: sent.append(done))
    assert (artifact.path, artifact.size_bytes) == ("large.bin", size)
    assert sent[0] > 0
    assert sent[-1] == size


def test_refusals_say_why(suite: Suite, client: Client, digits: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(digits.read_bytes()[:100])
    rejected = _run(suite, "deploy", str(broken), "-n", "broken", "--json")
    assert rejected.returncode == 1
    assert rejected.stdout == ""
    assert "rejected" in rejected.stderr
    assert "Traceback" not in rejected.stderr

    _json(suite, "deploy", str(digits), "-n", "strict")
    np.save(tmp_path / "narrow.npy", np.zeros((1, 3), np.float32))
    narrow = _run(suite, "infer", "strict", "--input", str(tmp_path / "narrow.npy"))
    assert narrow.returncode == 1
    assert "1×3" in narrow.stderr
    assert "any×64" in narrow.stderr
    with pytest.raises(errors.InvalidArgumentError, match="image"):
        client.infer("strict", {"wrong": np.zeros((1, 64), np.float32)})
    with pytest.raises(errors.InvalidArgumentError):
        client.create_version("no/slash", client.upload(digits))


def test_absent_suite_is_one_clear_line() -> None:
    for command in (["models"], ["infer", "x", "--random"], ["incidents"], ["watch", "--once"], ["undeploy", "x"]):
        part = {"models": "registry", "undeploy": "registry", "infer": "gateway"}.get(command[0], "monitor")
        arguments = [*command, f"--{part}", "127.0.0.1:9"]
        done = commands.run(os.environ, *arguments)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "127.0.0.1:9" in done.stderr
        assert "penstock up" in done.stderr
