"""Gradient boosting gives through the backend what it gives by itself."""

from __future__ import annotations

import re
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

DIABETES = load_diabetes()
OBJECTIVES = [
    ("regression", DIABETES, 1),
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


KINDS: dict[str, dict[str, Any]] = {
    "random forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "dart": {"boosting": "dart", "drop_rate": 0.5},
    "linear trees": {"linear_tree": True},
    "one leaf": {"min_data_in_leaf": 400},
    "one linear leaf": {"linear_tree": True, "min_data_in_leaf": 400},
    "constraints": {"monotone_constraints": [1] * 10},
    "own objective": {"objective": lambda guess, data: (guess - data.get_label(), np.ones_like(guess))},
    "one against all": {"objective": "multiclassova", "num_class": 3},
    "ranks": {"objective": "rank_xendcg"},
    "refitted": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_boosters_of_all_kinds_predict_the_same(kind: str, tmp_path: Path) -> None:
    classes, group = DIABETES.target.astype(int) % 3, [len(DIABETES.target)]
    data = lightgbm.Dataset(DIABETES.data, classes if "rank" in kind or "all" in kind else DIABETES.target, group=group)
    made = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1, **KINDS[kind]}, data, 6)
    if kind == "refitted":
        made = made.refit(DIABETES.data, -DIABETES.target)
    made.save_model(tmp_path / "m")
    found = load(tmp_path / "m").run({"X": DIABETES.data})["prediction"]
    np.testing.assert_allclose(found, made.predict(DIABETES.data))


def categorical() -> tuple[lightgbm.Booster, Any]:
    rows = np.random.default_rng(0).integers(0, 90, (600, 2)).astype(float)
    data = lightgbm.Dataset(rows, rows[:, 0] % 7, categorical_feature=[0])
    settings = {"verbose": -1, "num_threads": 1, "min_data_per_group": 1, "max_cat_to_onehot": 1}
    return lightgbm.train(settings, data, 4), rows


def test_categories_are_learnt(tmp_path: Path) -> None:
    made, rows = categorical()
    made.save_model(tmp_path / "m")
    assert "\ncat_boundaries=" in (tmp_path / "m").read_text()
    rows[:3, 0] = (np.nan, -4, 5000)
    np.testing.assert_allclose(load(tmp_path / "m").run({"X": rows})["prediction"], made.predict(rows))


def first(name: str, value: str) -> tuple[str, str]:
    """Another first number on the first line of that name."""
    return rf"(?m)^{name}=[^ \n]+", f"{name}={value}"


TAMPERED = {
    "in circles": first("right_child", "0"),
    "far left": first("left_child", "1000000"),
    "no such leaf": first("left_child", "-1000000"),
    "no such feature": first("split_feature", "1000000"),
    "a feature below none": first("split_feature", "-1"),
    "many leaves": first("num_leaves", "1000000"),
    "fewer leaves than none": first("num_leaves", "-5"),
    "too few values": (r"(?m)^leaf_value=\S+ ", "leaf_value="),
    "too few thresholds": (r"(?m)^threshold=\S+ ", "threshold="),
    "too few counts": (r"(?m)^internal_count=\S+ ", "internal_count="),
    "no categories": first("decision_type", "1"),
    "no such decision": first("decision_type", "257"),
    "linear": ("is_linear=0", "is_linear=1\nnum_features=1"),
    "sizes": first("tree_sizes", "99999999"),
    "other sizes": first("tree_sizes", "1"),
    "no features": first("max_feature_idx", "-1"),
    "classes": first("num_class", "0"),
    "more classes": (r"num_class=1\nnum_tree_per_iteration=1", "num_class=1000\nnum_tree_per_iteration=1000"),
    "other classes": first("num_tree_per_iteration", "3"),
    "an objective of more classes": ("objective=regression", "objective=multiclass num_class:1000"),
    "an objective of unknown classes": ("objective=regression", "objective=multiclass"),
    "an objective that says it twice": ("objective=regression", "objective=multiclass num_class:1 :num_class:9"),
    "said twice": ("num_class=1", "num_class=1\nnum_class=2"),
    "said otherwise": ("num_class=1", "num_class=1\n=num_class=2"),
    "no line": (r"(?m)^split_gain=.*\n", "split_gain\n"),
    "a parameter": ("parameters:\n", "parameters:\nnothing\n"),
}


def refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(LoadError, match=r"lightgbm can't load the booster: .* don't fit together"):
        load(path)


@pytest.mark.parametrize("how", TAMPERED)
def test_trees_that_lead_out_of_memory_are_refused(how: str, tmp_path: Path) -> None:
    """LightGBM itself loads most of these, and ends its process then, or with the first prediction, or never."""
    text = booster(*OBJECTIVES[0]).model_to_string()
    pattern, value = TAMPERED[how]
    changed = re.sub(pattern, lambda _: value, text, count=1)
    assert changed != text
    if how not in ("sizes", "other sizes"):
        changed = re.sub(r"(?m)^tree_sizes=.*\n", "", changed)  # as whoever tampers would, lest it tell
    refused(tmp_path / "m", changed)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        first("threshold", "1000000"),
        first("num_cat", "1000000"),
        first("cat_boundaries", "-9"),
        (r"(?m)^(cat_boundaries=.* )\d+$", r"\g<1>1000000"),
        (r"(?m)^cat_threshold=\d+ ", "cat_threshold="),
    ],
)
def test_categories_that_lead_out_of_memory_are_refused(pattern: str, value: str, tmp_path: Path) -> None:
    text = re.sub(r"(?m)^tree_sizes=.*\n", "", categorical()[0].model_to_string())
    changed = re.sub(pattern, value, text, count=1)
    assert changed != text
    refused(tmp_path / "m", changed)


@pytest.mark.parametrize(("pattern", "value"), [(r"(leaf_features=)\d", r"\g<1>99"), (r"(num_features=)\d", r"\g<1>9")])
def test_linear_trees_that_lead_out_of_memory_are_refused(pattern: str, value: str, tmp_path: Path) -> None:
    settings = {"linear_tree": True, "verbose": -1, "num_threads": 1}
    made = lightgbm.train(settings, lightgbm.Dataset(DIABETES.data, DIABETES.target), 3)
    text = re.sub(r"(?m)^tree_sizes=.*\n", "", made.model_to_string())
    changed = re.sub(pattern, value, text, count=1)
    assert changed != text
    refused(tmp_path / "m", changed)


def test_what_lightgbm_doesnt_write_is_refused_by_name(tmp_path: Path) -> None:
    text = booster(*OBJECTIVES[0]).model_to_string()
    for old, new in (("\nnum_class", "\r\nnum_class"), ("num_class", "num\0class"), ("Tree=1", "Tree=é")):
        (tmp_path / "m").write_bytes(text.replace(old, new).encode())
        with pytest.raises(LoadError, match="it has characters that LightGBM doesn't write"):
            load(tmp_path / "m")
