"""Gradient boosting gives through the backend what it gives by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from services.inference import backends
from services.inference.backends import LoadError, ModelFiles, Placement
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.domain.signature import TensorSpec
from services.inference.inspector import Inspection, inspect

OBJECTIVES = [
    ("regression", load_diabetes(), 1),
    ("binary", load_breast_cancer(), 1),
    ("multiclass", load_digits(), 10),
]


def booster(objective: str, data: Any, count: int) -> lightgbm.Booster:
    classes = {"num_class": count} if count > 1 else {}
    settings = {"objective": objective, "verbose": -1, "num_threads": 1, **classes}
    return lightgbm.train(settings, lightgbm.Dataset(data.data, data.target), 5)


def load(path: Path, manifest: Manifest = NOTHING_SAID) -> Any:
    files = ModelFiles(path)
    return backends.load(files, backends.recognise(files).format, Placement("cpu", 1), manifest=manifest)


@pytest.mark.parametrize(("objective", "data", "count"), OBJECTIVES, ids=[one[0] for one in OBJECTIVES])
def test_a_booster_of_lightgbm_predicts_the_same(objective: str, data: Any, count: int, tmp_path: Path) -> None:
    made = booster(objective, data, count)
    made.save_model(tmp_path / "m")

    verdict = inspect(Inspection(str(tmp_path / "m"), "", False, "cpu", 1))
    assert (verdict["format"], verdict["signature"]["is_batchable"]) == ("lightgbm", True)
    model = load(tmp_path / "m")
    assert model.signature.inputs == (TensorSpec("X", "FP64", (-1, data.data.shape[1])),)
    assert model.signature.outputs[0].shape == ((-1,) if count == 1 else (-1, count))
    outputs = model.run({"X": data.data[:20]})
    np.testing.assert_allclose(outputs["prediction"], made.predict(data.data[:20]))


def test_a_manifest_names_input_and_classes(tmp_path: Path) -> None:
    booster(*OBJECTIVES[2]).save_model(tmp_path / "m")
    classes = TensorSpec("prediction", "", (), tuple("0123456789"))
    manifest = Manifest(inputs=(TensorSpec("pixels", "FP32", ()),), outputs=(classes,))
    model = load(tmp_path / "m", manifest)
    assert model.signature.inputs == (TensorSpec("pixels", "FP32", (-1, 64)),)
    assert model.signature.outputs[0].labels == classes.labels
    model.run({"pixels": load_digits().data[:2].astype(np.float32)})
    with pytest.raises(LoadError, match="takes numbers, the manifest says BYTES"):
        load(tmp_path / "m", Manifest(inputs=(TensorSpec("pixels", "BYTES", ()),)))


def test_a_damaged_booster_is_refused(tmp_path: Path) -> None:
    booster(*OBJECTIVES[0]).save_model(tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    for content in (whole[:40], whole[:600], whole.replace(b"max_feature_idx", b"max_feature_idy")):
        (tmp_path / "m").write_bytes(content)
        with pytest.raises(LoadError, match="lightgbm can't load the booster"):
            load(tmp_path / "m")
