"""Labels come later than answers, by command and over REST, and become figures, incidents and verdicts."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from penstock.client import Client
from penstock.monitor.v1.verdict_service_pb2 import Guardrail
from tests.support import models
from tests.support.suite import Suite, wait_until

_ROWS = 50
_SWAPPED = [1, 0, 3, 2, 4, 5, 6, 7, 8, 9]


def _confused(path: Path) -> Path:
    """The digits, four of which are taken for others."""
    model = onnx.load(models.digits_onnx(path))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)[..., _SWAPPED]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    onnx.save(model, str(path))
    return path


def _ask(client: Client, model: str, name: str, requests: int, *, version: str = "") -> NDArray[np.int64]:
    """Ask for so many requests of fifty images each; returns the right answers, [requests, rows]."""
    digits, random = models.digits(), np.random.default_rng(len(name) + requests)
    truths = []
    for number in range(requests):
        chosen = random.integers(0, len(digits.images), _ROWS)
        client.infer(model, {"image": digits.images[chosen]}, version=version, request_id=f"{name}-{number}")
        truths.append(digits.labels[chosen])
    return np.array(truths)


def _write(path: Path, name: str, truths: NDArray[np.int64]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["request_id", "row", "label", "slice.half"])
        for (number, row), truth in np.ndenumerate(truths):
            writer.writerow([f"{name}-{number}", row, truth, "first" if row < _ROWS / 2 else "second"])
    return path


def _tell(suite: Suite, model: str, path: Path) -> dict[str, int]:
    counts: dict[str, int] = suite.command("feedback", model, "--file", str(path))["counts"]
    return counts


def _quality(suite: Suite, model: str, labels: int) -> list[dict[str, Any]]:
    """What is known, once it is of so many labels: some may wait for their predictions a second."""

    def found() -> list[dict[str, Any]]:
        versions: list[dict[str, Any]] = suite.command("feedback", model)
        return versions if sum(int(one["label_count"]) for one in versions) >= labels else []

    versions: list[dict[str, Any]] = wait_until(found)
    return versions


def _accuracy(version: dict[str, Any], *, of: str = "") -> float:
    figures: Sequence[dict[str, Any]] = version["figures"]
    return next(
        float(one["value"])
        for one in figures
        if one["metric"] == "accuracy" and one["slice"] == of and not one["is_recent"] and "min_age_duration" not in one
    )


@pytest.mark.timeout(300)
def test_labels_that_come_later_give_accuracy_and_flipped_ones_an_incident(suite: Suite, tmp_path: Path) -> None:
    suite.command("deploy", str(models.digits_onnx(tmp_path / "good.onnx")), "--name", "labelled", "--feedback")
    with Client(gateway=suite.grpc_address, registry=suite.registry_address) as client:
        truths = _ask(client, "labelled", "good", 30)
        counts = _tell(suite, "labelled", _write(tmp_path / "good.csv", "good", truths))
        assert counts["joined"] + counts["pending"] == truths.size
        (version,) = _quality(suite, "labelled", truths.size)
        expected = np.mean(models.digits().predict(models.digits().images) == models.digits().labels)
        assert _accuracy(version) == pytest.approx(expected, abs=0.03)
        assert _accuracy(version, of="half=first") == pytest.approx(expected, abs=0.05)

        truth = int(_ask(client, "labelled", "rest", 1)[0, 0])
        body = {"labels": [{"request_id": "rest-0", "class_index": truth}, {"request_id": "rest-0", "number": 1}]}
        answer = httpx.post(f"http://{suite.http_address}/v2/models/labelled/feedback", json=body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["joined_count"] + told["pending_count"] == 1
        assert told["duplicate_count"] + told["refused_count"] == 1
        _quality(suite, "labelled", truths.size + 1)

        suite.command("infer", "labelled", "--random", "--id", "by-hand")
        told_by_hand = suite.command("feedback", "labelled", "--id", "by-hand", "--label", "3", "--slice", "by=hand")
        assert told_by_hand["counts"]["joined"] + told_by_hand["counts"]["pending"] == 1
        (version,) = _quality(suite, "labelled", truths.size + 2)
        assert 0 <= _accuracy(version, of="by=hand") <= 1
        assert "accuracy" in suite.command_text("feedback", "labelled")
        drift = suite.command("drift", "labelled")[0]["figures"]
        assert [one["state"] for one in drift if one["signal"] == "SIGNAL_ACCURACY"] == ["STATE_WATCHING"]

        assert not suite.command("incidents", "--model", "labelled")
        truths = _ask(client, "labelled", "flipped", 8)
        _tell(suite, "labelled", _write(tmp_path / "flipped.csv", "flipped", (truths + 1) % 10))

    incident = wait_until(
        lambda: [one for one in suite.command("incidents", "--model", "labelled") if one["signal"] == "SIGNAL_ACCURACY"]
    )[0]
    assert "Accuracy of labelled version 1 fell from 9" in incident["summary"]
    assert float(incident["after"]) > 0.5


def test_what_is_no_label_is_refused_over_rest(suite: Suite) -> None:
    address = f"http://{suite.http_address}/v2/models/identity/feedback"
    for body, expected in (
        ("{", "is no JSON"),
        ("[]", "is no object"),
        (json.dumps({"request_id": "a", "colour": 1}), "can't be read"),
        (json.dumps({"request_id": "a", "model": "digits", "number": 1}), "expected identity"),
        (json.dumps({"labels": []}), "expected 1 to 1000"),
    ):
        answer = httpx.post(address, content=body)
        assert answer.status_code == 400
        assert expected in answer.json()["error"]

    answer = httpx.post(address, json={"request_id": "a", "number": 1})
    assert answer.json()["refused_count"] == 1
    assert "deploy it with --feedback" in answer.json()["refusals"][0]["reason"]


@pytest.mark.timeout(300)
def test_a_canary_that_answers_worse_is_told_by_its_labels(suite: Suite, tmp_path: Path) -> None:
    suite.command("deploy", str(models.digits_onnx(tmp_path / "good.onnx")), "--name", "canary", "--feedback")
    suite.command("deploy", str(_confused(tmp_path / "bad.onnx")), "--name", "canary", "--keep-previous")
    with Client(gateway=suite.grpc_address, registry=suite.registry_address, monitor=suite.monitor_address) as client:
        guardrail = Guardrail(signal=Guardrail.SIGNAL_ACCURACY, margin=0.05)
        begun = client.verdicts.compare("canary", "2", "1", guardrails=[guardrail])
        for part in range(4):
            for version in ("1", "2"):
                name = f"{version}-{part}"
                _write(tmp_path / f"{name}.csv", name, _ask(client, "canary", name, 3, version=version))
            lines = [(tmp_path / f"{version}-{part}.csv").read_text().splitlines() for version in ("1", "2")]
            mixed = [lines[0][0], *(line for pair in zip(*(one[1:] for one in lines), strict=True) for line in pair)]
            (tmp_path / "mixed.csv").write_text("\n".join(mixed))
            _tell(suite, "canary", tmp_path / "mixed.csv")

        ended = wait_until(lambda: one if (one := client.verdicts.get(begun.name)).is_final else None, within=30)
    assert "version 2 is worse: wrong answers by labels" in ended.reason


def test_answers_and_labels_survive_a_monitor_that_is_killed(suite: Suite, tmp_path: Path) -> None:
    suite.command("deploy", str(models.digits_onnx(tmp_path / "good.onnx")), "--name", "survivor", "--feedback")
    with Client(gateway=suite.grpc_address, registry=suite.registry_address) as client:
        truths = _ask(client, "survivor", "kept", 1)
    tell = ("feedback", "survivor", "--id", "kept-0", "--label", str(truths[0, 0]))
    suite.command(*tell)
    _quality(suite, "survivor", 1)

    os.kill(suite.pid_of("monitor"), signal.SIGKILL)

    def told() -> dict[str, int] | None:
        try:
            return _tell(suite, "survivor", _write(tmp_path / "kept.csv", "kept", truths))
        except AssertionError:  # the monitor is being started
            return None

    counts = wait_until(told, within=40)
    assert (counts["joined"], counts["duplicate"]) == (truths.size - 1, 1)
    assert suite.command(*tell)["counts"]["duplicate"] == 1
