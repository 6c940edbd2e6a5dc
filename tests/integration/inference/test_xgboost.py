"""XGBoost's boosters give through the backend what they give by themselves, and damaged ones are refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_linnerud

from services.inference import backends
from services.inference.backends import LoadError, ModelFiles, Placement, RunError
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.domain.signature import TensorSpec
from services.inference.inspector import Inspection, inspect

DIABETES, DIGITS = load_diabetes(), load_digits()
CASES = {
    "regression": ({"objective": "reg:squarederror"}, DIABETES, ()),
    "binary": ({"objective": "binary:logistic"}, load_breast_cancer(), ()),
    "probabilities": ({"objective": "multi:softprob", "num_class": 10}, DIGITS, (10,)),
    "class": ({"objective": "multi:softmax", "num_class": 10}, DIGITS, ()),
    "several targets": ({"objective": "reg:squarederror"}, load_linnerud(), (3,)),
    "dart": ({"booster": "dart", "rate_drop": 0.5}, DIABETES, ()),
    "linear": ({"booster": "gblinear", "updater": "coord_descent"}, DIABETES, ()),
}


def booster(settings: dict[str, Any], data: Any) -> xgboost.Booster:
    common = {"nthread": 1, "max_depth": 3, "verbosity": 0} if settings.get("booster") != "gblinear" else {"nthread": 1}
    return xgboost.train({**common, **settings}, xgboost.DMatrix(data.data, data.target), 5)


def load(path: Path, manifest: Manifest = NOTHING_SAID) -> Any:
    files = ModelFiles(path)
    return backends.load(files, backends.recognise(files).format, Placement("cpu", 1), manifest=manifest)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
@pytest.mark.parametrize("case", CASES)
def test_a_booster_predicts_the_same(case: str, suffix: str, tmp_path: Path) -> None:
    settings, data, shape = CASES[case]
    made = booster(settings, data)
    made.save_model(tmp_path / f"m.{suffix}")
    path = (tmp_path / f"m.{suffix}").rename(tmp_path / "m")  # the name says nothing

    verdict = inspect(Inspection(str(path), "", False, "cpu", 1))
    assert (verdict["format"], verdict["signature"]["is_batchable"]) == ("xgboost", True)
    model = load(path)
    assert model.signature.inputs == (TensorSpec("X", "FP64", (-1, data.data.shape[1])),)
    assert model.signature.outputs == (TensorSpec("prediction", "FP32", (-1, *shape)),)
    rows = np.asarray(data.data[:20], np.float64)
    np.testing.assert_allclose(model.run({"X": rows})["prediction"], made.predict(xgboost.DMatrix(rows)), rtol=1e-6)


def test_missing_values_go_the_way_that_was_learnt_for_them(tmp_path: Path) -> None:
    holes = np.where(np.random.default_rng(0).random(DIGITS.data.shape) < 0.3, np.nan, DIGITS.data)
    estimator = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(holes, DIGITS.target)
    estimator.save_model(tmp_path / "m.ubj")
    found = load(tmp_path / "m.ubj").run({"X": holes[:30]})["prediction"]
    np.testing.assert_allclose(found, estimator.predict_proba(holes[:30]), rtol=1e-6)
    whole = load(tmp_path / "m.ubj").run({"X": np.nan_to_num(holes[:30])})["prediction"]
    assert not np.allclose(found, whole)


def test_an_estimator_that_was_stopped_early_predicts_with_its_best_iteration(tmp_path: Path) -> None:
    rows, targets = DIABETES.data, DIABETES.target
    estimator = xgboost.XGBRegressor(n_estimators=200, early_stopping_rounds=5, learning_rate=0.9, n_jobs=1)
    estimator.fit(rows[:300], targets[:300], eval_set=[(rows[300:], targets[300:])], verbose=False)
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    estimator.save_model(tmp_path / "m.json")
    found = load(tmp_path / "m.json").run({"X": rows[300:]})["prediction"]
    np.testing.assert_allclose(found, estimator.predict(rows[300:]), rtol=1e-6)


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT16", "INT64", "FP16", "FP32"])
def test_the_manifest_says_of_which_type_inputs_are(datatype: str, tmp_path: Path) -> None:
    settings, data, _ = CASES["probabilities"]
    made = booster(settings, data)
    made.save_model(tmp_path / "m.json")
    classes = TensorSpec("prediction", "", (), tuple("0123456789"))
    model = load(tmp_path / "m.json", Manifest(inputs=(TensorSpec("pixels", datatype, ()),), outputs=(classes,)))
    assert model.signature.inputs == (TensorSpec("pixels", datatype, (-1, 64)),)
    assert model.signature.outputs[0].labels == classes.labels
    rows = data.data[:9].astype({"BOOL": "?", "FP16": "f2", "FP32": "f4"}.get(datatype, datatype.lower()))
    expected = made.predict(xgboost.DMatrix(rows.astype(np.float32)))
    np.testing.assert_allclose(model.run({"pixels": rows})["prediction"], expected, rtol=1e-6)
    with pytest.raises(LoadError, match="takes numbers, the manifest says BYTES"):
        load(tmp_path / "m.json", Manifest(inputs=(TensorSpec("pixels", "BYTES", ()),)))


def test_infinity_is_the_callers_error(tmp_path: Path) -> None:
    booster({"booster": "gblinear"}, DIABETES).save_model(tmp_path / "m.json")
    with pytest.raises(RunError, match=r"(?i)inf"):
        load(tmp_path / "m.json").run({"X": np.full((1, 10), np.inf)})


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_a_booster_that_ends_early_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m.{suffix}"
    booster(*CASES["regression"][:2]).save_model(path)
    whole = path.read_bytes()
    for size in (40, 300, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(LoadError, match="xgboost can't load the booster"):
            load(path)


def changed(name: str, value: int) -> Callable[[dict[str, Any]], None]:
    def change(learner: dict[str, Any]) -> None:
        model_of(learner)["trees"][0][name][0] = value

    return change


def model_of(learner: dict[str, Any]) -> Any:
    return learner["gradient_booster"]["model"]


def parameter(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    return lambda learner: learner["learner_model_param"].__setitem__(name, value)


TAMPERED: dict[str, Callable[[dict[str, Any]], None]] = {
    "far left": changed("left_children", 10**6),
    "far right": changed("right_children", 2**31 - 1),
    "negative": changed("left_children", -7),
    "in circles": changed("left_children", 0),
    "no such feature": changed("split_indices", 10**6),
    "categories": changed("split_type", 1),
    "no such output": lambda learner: model_of(learner)["tree_info"].__setitem__(0, 10**6),
    "no such tree": lambda learner: model_of(learner)["iteration_indptr"].__setitem__(-1, 10**6),
    "too few nodes": lambda learner: model_of(learner)["trees"][0]["split_conditions"].pop(),
    "features": parameter("num_feature", "1000000000"),
    "classes": parameter("num_class", "1000000000"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_trees_that_lead_out_of_memory_are_refused(how: str, tmp_path: Path) -> None:
    """XGBoost itself loads most of these, and ends its process then, or with the first prediction."""
    document = json.loads(bytes(booster(*CASES["regression"][:2]).save_raw("json")))
    TAMPERED[how](document["learner"])
    (tmp_path / "m").write_text(json.dumps(document))
    with pytest.raises(LoadError, match=r"xgboost can't load the booster: .* don't fit together"):
        load(tmp_path / "m")


def test_nothing_is_said_twice_and_nodes_are_integers(tmp_path: Path) -> None:
    raw = bytes(booster(*CASES["regression"][:2]).save_raw("json"))
    for old, new, message in (
        (b'"left_children":[', b'"left_children":[],"left_children":[', "it has 'left_children' twice in one place"),
        (b'"left_children":[1', b'"left_children":[1.5', "its numbers of nodes don't fit together"),
    ):
        assert old in raw
        (tmp_path / "m").write_bytes(raw.replace(old, new, 1))
        with pytest.raises(LoadError, match=message):
            load(tmp_path / "m")


def test_trees_are_checked_in_ubjson_too(tmp_path: Path) -> None:
    booster(*CASES["regression"][:2]).save_model(tmp_path / "m.ubj")
    content = (tmp_path / "m.ubj").read_bytes()
    at = content.index(b"left_children[$l#L") + len(b"left_children[$l#L") + 8
    (tmp_path / "m.ubj").write_bytes(content[:at] + (10**6).to_bytes(4, "big") + content[at + 4 :])
    with pytest.raises(LoadError, match="a tree's nodes don't fit together"):
        load(tmp_path / "m.ubj")


def test_vectors_in_leaves_are_refused_by_name(tmp_path: Path) -> None:
    booster({"multi_strategy": "multi_output_tree", "tree_method": "hist"}, load_linnerud()).save_model(
        tmp_path / "m.ubj"
    )
    with pytest.raises(LoadError, match=r"several outputs each \(multi_output_tree\)"):
        load(tmp_path / "m.ubj")


def test_categories_are_learnt_and_checked(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, 8, (200, 2)).astype(np.float32)
    matrix = xgboost.DMatrix(rows, rows[:, 0] % 3, feature_types=["c", "q"], enable_categorical=True)
    made = xgboost.train({"nthread": 1, "max_cat_to_onehot": 1}, matrix, 3)
    made.save_model(tmp_path / "m.json")
    found = load(tmp_path / "m.json").run({"X": rows.astype(np.float64)})["prediction"]
    np.testing.assert_allclose(found, made.predict(matrix), rtol=1e-6)
    document = json.loads((tmp_path / "m.json").read_text())
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    assert tree["categories_sizes"]
    tree["categories_sizes"][0] = 10**6
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(LoadError, match="xgboost can't load the booster"):
        load(tmp_path / "m.json")


def test_what_else_xgboost_writes_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"binf" + bytes(200))
    with pytest.raises(LoadError, match=r"XGBoost's old binary, which XGBoost 3\.0 can keep as JSON or UBJ"):
        load(tmp_path / "old")
    (tmp_path / "pickle").write_bytes(pickle.dumps(booster(*CASES["regression"][:2])))
    with pytest.raises(LoadError, match="Python pickle, which can run any code"):
        inspect(Inspection(str(tmp_path / "pickle"), "", False, "cpu", 1))
