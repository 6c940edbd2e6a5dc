"""A scanner's second opinion on versions that can run code: the real scanner, on real models and hostile ones."""

from __future__ import annotations

import pickle
import timeit
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from penstock.registry.v1 import resources_pb2 as pb
from services.inference.backends import LoadError, ModelFiles, scanners
from tests.support.inference_node import InferenceNode
from tests.support.models import digits_torch_export, identity_onnx


class Timed:
    """Runs what it is given, by a way that not every scanner knows."""

    def __reduce__(self) -> tuple[Any, ...]:
        return timeit.timeit, ("pass", "pass", timeit.default_timer, 1)


def classifier(path: Path, *, dump: Callable[[Any, Path], object]) -> Path:
    rows = np.random.default_rng(1).normal(size=(40, 3))
    dump(LogisticRegression().fit(rows, rows[:, 0] > 0), path)
    return path


def pickled(value: Any, path: Path) -> Path:
    path.write_bytes(pickle.dumps(value))
    return path


def python_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.py").write_text("class Model:\n    def infer(self, inputs): return inputs\n")
    return folder


@pytest.fixture
async def node(tmp_path: Path, redis_url: str) -> AsyncIterator[InferenceNode]:
    async with InferenceNode(tmp_path / "home", redis_url, PENSTOCK_INFERENCE__SCANNER="picklescan") as node:
        yield node


async def test_what_can_run_code_is_scanned_and_the_verdict_kept(node: InferenceNode, tmp_path: Path) -> None:
    good = classifier(tmp_path / "good.pkl", dump=pickled)
    names = [
        await node.create_version("m", good, trusted=True),
        await node.create_version("m", good),
        await node.create_version("m", pickled(Timed(), tmp_path / "evil.pkl"), trusted=True),
        await node.create_version("m", python_model(tmp_path / "python"), trusted=True),
        await node.create_version("m", identity_onnx(tmp_path / "m.onnx")),
    ]
    clean, untrusted, evil, unscanned, data = [await node.validated(name) for name in names]

    assert clean.state == pb.ModelVersion.STATE_READY
    (scan,) = scans_of(clean)
    assert scan.outcome == pb.Probe.OUTCOME_PASSED
    assert scan.detail.startswith("picklescan 1.")
    assert "looked at 1 of 1 files: nothing dangerous" in scan.detail
    assert "can run any code" in untrusted.state_reason, "a scanner stands in for nobody's trust"
    assert evil.state == unscanned.state == pb.ModelVersion.STATE_REJECTED
    assert "found timeit.timeit in evil.pkl" in evil.state_reason
    assert scans_of(evil)[0].outcome == pb.Probe.OUTCOME_FAILED
    assert "found nothing in it that it can scan" in unscanned.state_reason
    assert (data.state, scans_of(data)) == (pb.ModelVersion.STATE_READY, []), "data needs no second opinion"


def scans_of(version: pb.ModelVersion) -> list[pb.Probe]:
    return [one for one in version.validation_report.probes if one.name == "scan"]


def test_pickles_are_found_in_archives_whatever_their_names(tmp_path: Path) -> None:
    exported = digits_torch_export(tmp_path / "m.pt2")
    assert "nothing dangerous" in scanners.scan(ModelFiles(exported))
    inner, outer = tmp_path / "inner.zip", tmp_path / "outer.pt2"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("harmless.txt", pickle.dumps(Timed()))
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "archive/data/sample_inputs/model.pt")

    with pytest.raises(LoadError, match=r"found timeit.timeit in outer.pt2:archive/data/.*harmless.txt"):
        scanners.scan(ModelFiles(outer))


def test_old_pickles_and_arrays_of_objects_are_looked_at(tmp_path: Path) -> None:
    old = tmp_path / "old.pkl"
    old.write_bytes(pickle.dumps(Timed(), protocol=0))
    np.save(tmp_path / "array.npy", np.array([Timed()], dtype=object))
    for path in (old, tmp_path / "array.npy"):
        with pytest.raises(LoadError, match=f"found timeit.timeit in {path.name}"):
            scanners.scan(ModelFiles(path))


def test_what_the_scanner_can_t_read_to_its_end_is_no_clean_file(tmp_path: Path) -> None:
    path = classifier(tmp_path / "arrays.joblib", dump=joblib.dump)
    with pytest.raises(LoadError, match=r"can't read arrays\.joblib to its end"):
        scanners.scan(ModelFiles(path))


def test_a_compressed_pickle_counts_as_not_scanned(tmp_path: Path) -> None:
    path = tmp_path / "packed.joblib"
    joblib.dump(Timed(), path, compress=3)
    with pytest.raises(LoadError, match="found nothing in it that it can scan"):
        scanners.scan(ModelFiles(path))
