from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from penstock.cli import app, arrays, options, output, words
from penstock.cli.following import following
from penstock.monitor.v1.monitor_service_pb2 import Incident, Phase
from penstock.registry.v1.resources_pb2 import Deployment
from penstock.serving import Serving
from penstock.tensors import Tensor

COMMANDS = [command.name for command in app.registered_commands if command.name]
IMAGE = Tensor("image", "FP32", (-1, 4))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(name: str) -> None:
    shown = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"}).invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert f"penstock {name}" in shown.output
    assert "Example" in shown.output
    assert "--json" in shown.output


@pytest.mark.parametrize("name", ["start", "status", "promote", "hold", "resume", "rollback", "history"])
def test_every_command_of_rollouts_has_help_with_an_example_and_json(name: str) -> None:
    shown = CliRunner(env={"COLUMNS": "120", "NO_COLOR": "1"}).invoke(app, ["rollout", name, "--help"])
    assert shown.exit_code == 0
    assert f"Example: penstock rollout {name}" in shown.output
    assert "--json" in shown.output


def test_commands_are_these() -> None:
    assert {
        "up", "restart", "stop", "status", "nodes", "deploy", "import", "convert", "models", "versions", "variants",
        "infer", "undeploy", "gc", "sign", "verify", "require", "revoke", "audit", "incidents", "drift", "probe",
        "verdict", "watch", "slo", "lineage", "feedback",
    } == set(COMMANDS)  # fmt: skip


def test_pairs_are_read() -> None:
    assert options.pairs(["a=1", "b=0.5"], option="--metric", read=float) == {"a": 1.0, "b": 0.5}
    assert options.pairs(["a=b=c"], option="--label", read=str) == {"a": "b=c"}


@pytest.mark.parametrize("item", ["a", "=1", "a=x"])
def test_bad_pair_is_named(item: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"got '{item}'"):
        options.pairs([item], option="--metric", read=float)


def test_serving_writes_only_what_is_set() -> None:
    deployment = Deployment(replicas=3)
    Serving(max_batch_size=8).apply(deployment)
    assert (deployment.replicas, deployment.batching.max_batch_size) == (3, 8)
    assert not deployment.HasField("queue")


@pytest.mark.parametrize(("seconds", "text"), [(0, "–"), (42e-6, "42 µs"), (0.0123, "12.3 ms"), (2.5, "2.50 s")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(999, "999 bytes"), (1_500, "1.5 kB"), (2_000_000, "2.0 MB")])
def test_sizes_read_well(count: int, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"image": [[1, 2, 3, 4]]}',
        "[[1, 2, 3, 4]]",
        '{"inputs": [{"name": "image", "shape": [1, 4], "data": [1, 2, 3, 4]}]}',
    ],
)
def test_json_input_has_three_forms(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert arrays.read(path, [IMAGE])["image"].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "3",
        '{"other": [1]}',
        '{"inputs": [{"name": "image", "shape": [9], "data": [1]}]}',
        '{"inputs": [1]}',
        '{"inputs": [{}]}',
        "[" * 100_000,
    ],
)
def test_bad_json_input_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.json"):
        arrays.read(path, [IMAGE])


def test_any_file_is_one_element_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"\xff\xd8\0")
    assert arrays.read(path, [Tensor("photo", "BYTES", (-1,))])["photo"].tolist() == [b"\xff\xd8\0"]
    with pytest.raises(ValueError, match=r"its name ends in '\.jpg', expected \.npy"):
        arrays.read(path, [IMAGE])


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"code": "run"}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        arrays.read(path, [IMAGE])


def test_output_that_nobody_reads_ends_the_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = "import typer; from penstock.cli.output import *; typer.run(reporting(lambda: print_json('x' * 100_000)))"
    done = subprocess.run([sys.executable, "-c", program], check=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_answer_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    arrays.show("text[0]", np.array([[b"[red]x[/]", b"y"]], dtype=object))
    arrays.show("boxes", np.zeros((0, 4), np.float32))

    shown = capsys.readouterr().out
    assert "text[0] object 1×2" in shown
    assert "[red]x[/]  y" in shown
    assert "boxes float32 0×4" in shown


@pytest.mark.parametrize(
    "given",
    [
        "incidents 0199 --watch",
        "incidents 0199 --open",
        "incidents 0199 --model digits",
        "verdict digits 2",
        "verdict --wait",
        "verdict digits --weight 0.1",
        "verdict digits 2 1 --stop --new",
        "verdict digits 2 1 --stop --weight 0.1",
        "verdict digits 2 1 --for inf",
        "rollout start digits 2 --steps 5;25",
        "rollout start digits 2 --strategy big-bang",
        "deploy . --name digits --rollout ab",
        "deploy . --name digits --rollout canary --replicas 2",
        "deploy . --name digits --rollout canary --keep-previous",
        "deploy . --name digits --rollout canary --alias a --alias b",
    ],
)
def test_what_would_have_no_effect_is_refused(given: str) -> None:
    assert CliRunner().invoke(app, given.split()).exit_code == 2


def test_a_number_that_nothing_can_be_made_of_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        output.reporting(lambda: math.floor(math.inf))()
    assert capsys.readouterr().err.startswith("error: ")


def test_one_look_is_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    following(lambda: {"a": [1]}, str, interval_s=0.0, is_json=True, is_once=True)
    assert json.loads(capsys.readouterr().out) == {"a": [1]}


@pytest.mark.parametrize(("is_json", "lines"), [(False, ["1 seen", "2 seen"]), (True, ["1", "2"])])
def test_each_further_look_is_a_line(is_json: bool, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([1, 2])
    with pytest.raises(StopIteration):
        following(lambda: next(looks), "{} seen".format, interval_s=0.0, is_json=is_json, is_once=False)
    assert capsys.readouterr().out.splitlines() == lines


def test_signals_are_told_in_words() -> None:
    assert words.signal_words(Incident.SIGNAL_LATENCY, Phase.PHASE_COMPUTE_INFER) == "latency of compute infer"
    assert words.signal_words(Incident.SIGNAL_LATENCY, Phase.PHASE_UNSPECIFIED) == "latency"
    assert words.signal_words(Incident.SIGNAL_ERROR_RATE, Phase.PHASE_QUEUE) == "error rate"


@pytest.mark.parametrize(("share", "full"), [(-1.0, 0), (0.0, 0), (0.5, 4), (1.0, 8), (math.inf, 8)])
def test_a_bar_is_full_at_most(share: float, full: int) -> None:
    assert words.bar(share, "red") == f"[red]{'█' * full}[/][dim]{'·' * (8 - full)}[/]"
