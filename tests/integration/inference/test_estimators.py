"""scikit-learn's estimators give through the backend what they give by themselves."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_linnerud
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops import io

from services.inference import backends
from services.inference.backends import InputError, LoadError, ModelFiles, Placement, RefusedError
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.domain.signature import TensorSpec
from services.inference.inspector import Inspection, inspect

DIGITS, CLASSES = load_digits(return_X_y=True)
TEXTS = np.array(["cheap pills now", "meeting at noon", "win money now", "lunch at noon"])


def kept(estimator: Any, path: Path) -> Path:
    io.dump(estimator, path)
    return path


def load(path: Path, manifest: Manifest = NOTHING_SAID) -> Any:
    files = ModelFiles(path)
    return backends.load(files, backends.recognise(files).format, Placement("cpu", 1), manifest=manifest)


def inspected(path: Path, *, is_trusted: bool = False, manifest: Manifest = NOTHING_SAID) -> dict[str, Any]:
    return inspect(Inspection(str(path), "", is_trusted, "cpu", 1, manifest))


def test_what_an_estimator_says_of_its_input_is_said_of_the_callers(tmp_path: Path) -> None:
    model = load(kept(LogisticRegression(max_iter=200).fit(DIGITS, CLASSES), tmp_path / "m"))
    with pytest.raises(RefusedError, match="Input X contains NaN"):
        model.run({"X": np.full((1, 64), np.nan)})


def test_a_classifier_gives_labels_and_probabilities(tmp_path: Path) -> None:
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(DIGITS, CLASSES)
    path = kept(estimator, tmp_path / "m")

    verdict = inspected(path)
    assert (verdict["format"], verdict["backend"], verdict["signature"]["is_batchable"]) == ("sklearn", "skops", True)
    model = load(path)
    assert model.signature.inputs == (TensorSpec("X", "FP64", (-1, 64)),)
    assert model.signature.outputs == (
        TensorSpec("label", "INT64", (-1,)),
        TensorSpec("probabilities", "FP64", (-1, 10), tuple("0123456789")),
    )
    outputs = model.run({"X": DIGITS[:50]})
    np.testing.assert_array_equal(outputs["label"], estimator.predict(DIGITS[:50]))
    np.testing.assert_allclose(outputs["probabilities"], estimator.predict_proba(DIGITS[:50]))


def test_classes_may_be_words_and_inputs_of_another_type(tmp_path: Path) -> None:
    iris = load_iris()
    estimator = LogisticRegression(max_iter=500).fit(iris.data, iris.target_names[iris.target])
    manifest = Manifest(inputs=(TensorSpec("flower", "FP32", ()),))
    model = load(kept(estimator, tmp_path / "m"), manifest)
    assert model.signature.inputs == (TensorSpec("flower", "FP32", (-1, 4)),)
    assert model.signature.outputs[1].labels == ("setosa", "versicolor", "virginica")
    labels = model.run({"flower": iris.data[::25].astype(np.float32)})["label"]
    assert [one.decode() for one in labels] == list(estimator.predict(iris.data[::25]))


@pytest.mark.parametrize(
    ("estimator", "data", "output"),
    [
        (LinearRegression(), load_diabetes(), ("prediction", "FP64", (-1,))),
        (LinearRegression(), load_linnerud(), ("prediction", "FP64", (-1, 3))),
        (KMeans(5, n_init=1, random_state=0), load_digits(), ("label", "INT64", (-1,))),
    ],
    ids=["regressor", "several outputs", "clusterer"],
)
def test_what_predicts_numbers_predicts_the_same(
    estimator: Any, data: Any, output: tuple[str, str, tuple[int, ...]], tmp_path: Path
) -> None:
    model = load(kept(estimator.fit(data.data, data.target), tmp_path / "m"))
    assert model.signature.outputs == (TensorSpec(*output),)
    np.testing.assert_allclose(model.run({"X": data.data[:20]})[output[0]], estimator.predict(data.data[:20]))


def test_a_transformer_transforms(tmp_path: Path) -> None:
    estimator = PCA(3, random_state=0).fit(DIGITS)
    np.testing.assert_allclose(
        load(kept(estimator, tmp_path / "m")).run({"X": DIGITS[:5]})["transformed"], estimator.transform(DIGITS[:5])
    )


def test_texts_need_a_manifest(tmp_path: Path) -> None:
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, ["spam", "ham", "spam", "ham"])
    path = kept(estimator, tmp_path / "m")
    with pytest.raises(LoadError, match=r'expected a manifest with one input, for example \{name = "text"'):
        load(path)
    manifest = Manifest(inputs=(TensorSpec("text", "BYTES", (-1,)),))
    outputs = load(path, manifest).run({"text": np.array([b"money now", b"at noon"], dtype=object)})
    assert list(outputs["label"]) == [b"spam", b"ham"]
    with pytest.raises(InputError, match="input 'text', row 1: got bytes that are not UTF-8"):
        load(path, manifest).run({"text": np.array([b"money", b"\xff"], dtype=object)})
    assert inspected(path, manifest=manifest)["signature"]["is_batchable"]


def test_trees_are_to_be_vouched_for(tmp_path: Path) -> None:
    estimator = RandomForestClassifier(5, random_state=0).fit(DIGITS, CLASSES)
    path = kept(estimator, tmp_path / "m")
    with pytest.raises(LoadError, match=r"can do harm when they were tampered with \(sklearn\.tree\._tree\.Tree\)"):
        inspected(path)
    assert inspected(path, is_trusted=True)["format"] == "sklearn"
    np.testing.assert_array_equal(load(path).run({"X": DIGITS[:9]})["label"], estimator.predict(DIGITS[:9]))


@pytest.mark.parametrize("dump", [lambda one, path: path.write_bytes(pickle.dumps(one)), joblib.dump])
def test_a_pickle_is_to_be_vouched_for(dump: Any, tmp_path: Path) -> None:
    estimator, path = PCA(3, random_state=0).fit(DIGITS), tmp_path / "m"
    dump(estimator, path)
    with pytest.raises(LoadError, match="Python pickle, which can run any code"):
        inspected(path)
    assert inspected(path, is_trusted=True)["format"] == "sklearn_pickle"
    transformed = load(path).run({"X": DIGITS[:5]})["transformed"]
    np.testing.assert_allclose(transformed, estimator.transform(DIGITS[:5]))


class Harmful:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "m"
    path.write_bytes(pickle.dumps(Harmful(trace)))
    with pytest.raises(LoadError, match="Python pickle"):
        inspected(path)
    assert not trace.exists()
    path.write_bytes(pickle.dumps({"no": "estimator"}))
    with pytest.raises(LoadError, match=r"holds a dict, expected an estimator of scikit-learn"):
        inspected(path, is_trusted=True)


def test_foreign_types_in_an_archive_are_named_and_not_loaded(tmp_path: Path) -> None:
    path = kept(PCA(2).fit(DIGITS), tmp_path / "m")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    hostile = members["schema.json"].replace(b'"sklearn.decomposition._pca"', b'"os"').replace(b'"PCA"', b'"system"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, hostile if name == "schema.json" else content)
    with pytest.raises(LoadError, match=r"tampered with \(os\.system\)"):
        inspected(path)


@pytest.mark.parametrize(
    "schema", [b"", b"[", b'{"_skops_version": 1}', b'{"_skops_version": "0.16", "__loader__": "x"}']
)
def test_a_damaged_archive_is_refused(schema: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(LoadError):
        inspected(path)
