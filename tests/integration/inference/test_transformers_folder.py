"""What is read in a transformers folder before any library is: weights' headers, and what its files imply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference import backends
from services.inference.backends import LoadError, ModelFiles
from services.inference.backends.safetensors_files import INDEX, WEIGHTS, check_weights, tensors_of
from services.inference.backends.transformers_folder import TransformersFolder
from services.inference.domain.manifest import Step
from tests.support import safetensors

WEIGHT, BIAS = np.ones((2, 3), np.float32), np.zeros(4, np.float32)
ARRAYS = {"weight": WEIGHT, "bias": BIAS}
BERT = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 512}
POOLING = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def write(folder: Path, **contents: Any) -> ModelFiles:
    """A folder with a model, and these JSON files besides; "__" stands for "/"."""
    safetensors.write(folder / WEIGHTS, ARRAYS)
    for name, fields in {"config": BERT, **contents}.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(fields))
    return ModelFiles(folder)


def sentences(folder: Path, *kinds: str, **contents: Any) -> TransformersFolder:
    """One with a tokenizer, and modules of sentence-transformers."""
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in map(_split, kinds)]
    return TransformersFolder(write(folder, tokenizer={}, modules=modules, **contents))


def _split(kind: str) -> tuple[str, str]:
    name, _, path = kind.partition("@")
    return name, path


def test_a_folder_with_weights_and_a_model_type_is_recognised(tmp_path: Path) -> None:
    files = write(tmp_path)
    assert backends.recognise(files).format == "transformers"
    assert tensors_of(files, WEIGHTS) == {"weight", "bias"}
    check_weights(files)


def test_pickled_weights_are_refused_by_name(tmp_path: Path) -> None:
    files = write(tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / "pytorch_model.bin")
    files = ModelFiles(tmp_path)
    assert backends.recognise(files).format == "transformers"
    with pytest.raises(LoadError, match=r"in pytorch_model.bin, a pickle: expected model.safetensors"):
        TransformersFolder(files).check()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("[]", "holds a list, expected an object"),
        ("{", "can't be read as JSON"),
        ("[" * 100_000, "can't be read as JSON"),
        ('{"a": {}, "a": {}}', "can't be read as JSON: a name is there twice"),
        ({"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 40]}}, "expected a type, a shape, and where"),
        ({"weight": {"dtype": "F32", "shape": [-2, -5], "data_offsets": [0, 40]}}, "expected a type, a shape"),
        ({"weight": {"dtype": "object", "shape": [10], "data_offsets": [0, 40]}}, "expected a type, a shape"),
        ({"weight": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 40]}}, "expected a type, a shape"),
        ({"weight": "F32"}, "expected a type, a shape"),
        ({"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]}}, "begins at byte 8 .*, expected 0"),
        ({"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}, r"says that it has \d+ bytes, it has"),
    ],
)
def test_headers_that_lie_are_refused(entries: Any, message: str, tmp_path: Path) -> None:
    files = write(tmp_path)
    safetensors.write(tmp_path / WEIGHTS, ARRAYS, entries=entries)
    with pytest.raises(LoadError, match=f"model.safetensors.*{message}"):
        check_weights(files)


@pytest.mark.parametrize(
    ("content", "length"),
    [(b"", "0"), (b"\xff" * 8, str(2**64 - 1)), ((2**24 + 1).to_bytes(8, "little") + bytes(2**24 + 9), str(2**24 + 1))],
    ids=["empty", "more than there is", "more than there may be"],
)
def test_no_header_is_read_that_is_too_large(content: bytes, length: str, tmp_path: Path) -> None:
    files = write(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(LoadError, match=f"announces a header of {length} bytes, expected at most 16777216 in a file"):
        check_weights(files)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0), bit=st.integers(0, 7), cut=st.integers(0, 20))
def test_a_damaged_file_is_read_as_weights_or_refused(at: int, bit: int, cut: int, tmp_path: Path) -> None:
    files = write(tmp_path)
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[at % len(content)] ^= 1 << bit
    (tmp_path / WEIGHTS).write_bytes(content[: len(content) - cut])
    try:
        found = tensors_of(files, WEIGHTS)
    except LoadError:
        return
    assert cut == 0
    assert len(found) in (1, 2)


def test_an_index_must_say_what_its_files_say(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    for name, array in ARRAYS.items():
        safetensors.write(tmp_path / f"{name}.safetensors", {name: array})
    for entries, message in (
        ({"weight": "weight.safetensors", "bias": "bias.safetensors"}, ""),
        ({"weight": "bias.safetensors"}, "says that bias.safetensors has 'weight', which it has not"),
        ({"weight": "third.safetensors"}, "names third.safetensors, which is not among the model's files"),
        ({"weight": "../weight.safetensors"}, "names the file '../weight.safetensors', expected one that ends with"),
        ({"weight": "config.json"}, "names the file 'config.json', expected one that ends with .safetensors"),
        ({"weight": 3}, "names the file 3, expected one"),
        ({}, 'has no "weight_map" of tensors and files'),
    ):
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": entries}))
        files = ModelFiles(tmp_path)
        assert backends.recognise(files).format == "transformers"
        if not message:
            check_weights(files)
            safetensors.write(tmp_path / WEIGHTS, ARRAYS, entries={})
            with pytest.raises(LoadError, match="safetensors says that it has"):
                check_weights(ModelFiles(tmp_path))
            (tmp_path / WEIGHTS).unlink()
            continue
        with pytest.raises(LoadError, match=message):
            check_weights(files)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, "has model_type 'llama', expected one of albert, bert"),
        ({"architectures": ["BertForQuestionAnswering"]}, "got architecture 'BertForQuestionAnswering', expected an"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "has auto_map: a model that runs code of its own is not served"),
        ({"quantization_config": {}}, "has quantization_config: a model that has quantised weights is not served"),
    ],
)
def test_models_that_are_not_served_are_refused_by_name(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=f"{message}"):
        TransformersFolder(write(tmp_path, config={**BERT, **config})).check()


def test_an_embedding_model_says_its_steps(tmp_path: Path) -> None:
    folder = sentences(
        tmp_path,
        "Transformer",
        "Pooling@1_Pooling",
        "Normalize@2_Normalize",
        **{"1_Pooling__config": {**POOLING, "word_embedding_dimension": 384}},
        sentence_bert_config={"max_seq_length": 256, "do_lower_case": True},
        tokenizer_config={"model_max_length": float("inf"), "pad_token": {"content": "[PAD]"}},
        config_sentence_transformers={"prompts": {"query": "query: "}, "default_prompt_name": "query"},
    )
    arguments = {"max_length": 256, "pad_token": "[PAD]", "lowercase": True, "prefix": "query: "}
    assert folder.before() == (Step("tokenize", arguments),)
    assert folder.after() == [Step("pool", {"mode": "mean"}), Step("l2_normalize")]


def test_an_encoder_says_less(tmp_path: Path) -> None:
    config = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    folder = TransformersFolder(write(tmp_path, config=config, tokenizer={}))
    assert (folder.before(), folder.after()) == ((Step("tokenize", {"max_length": 512}),), (Step("pool"),))
    (tmp_path / "tokenizer.json").unlink()
    folder = TransformersFolder(ModelFiles(tmp_path))
    assert (folder.before(), folder.after()) == ((), ())


@pytest.mark.parametrize(
    ("config", "operations"),
    [
        ({"id2label": {"0": "bad", "1": "good"}}, ["softmax", "top_k", "output"]),
        ({}, ["softmax", "top_k", "output"]),
        ({"problem_type": "multi_label_classification"}, ["sigmoid"]),
        ({"problem_type": "regression"}, []),
        ({"id2label": {"0": "LABEL_0"}}, []),
        ({"num_labels": 1}, []),
    ],
)
def test_a_classifier_gives_probabilities(config: dict[str, Any], operations: list[str], tmp_path: Path) -> None:
    fields = {**BERT, "architectures": ["BertForSequenceClassification"], **config}
    folder = TransformersFolder(write(tmp_path, config=fields))
    assert [step.operation for step in folder.after()] == operations


@pytest.mark.parametrize(
    ("kinds", "pooling", "message"),
    [
        (["Transformer", "Dense@2_Dense"], {}, "has a Dense in '2_Dense', expected Transformer, Pooling and Normalize"),
        (["Transformer@0_Transformer"], {}, "has a Transformer in '0_Transformer'"),
        (["Pooling@1"], {}, "says nothing, expected one of pooling_mode_mean_tokens"),
        (["Pooling@1"], {"pooling_mode_lasttoken": True}, r"says \['pooling_mode_lasttoken'\], expected one of"),
        (["Pooling@1"], {**POOLING, "pooling_mode_max_tokens": True}, "expected one of"),
    ],
)
def test_modules_that_are_not_served_are_refused_by_name(
    kinds: list[str], pooling: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(LoadError, match=message):
        sentences(tmp_path, *kinds, **{"1__config": pooling}).after()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modules", {"type": 1}, "modules.json is no list of modules: TypeError"),
        ("sentence_bert_config", {"max_seq_length": float("nan")}, "has max_seq_length nan, expected a number"),
        ("sentence_bert_config", {"max_seq_length": "many"}, "has max_seq_length 'many', expected a number"),
        ("tokenizer_config", [], "tokenizer_config.json holds a list, expected an object"),
        ("sentence_bert_config", {"x": "x" * 2**20}, r"has \d+ bytes, expected at most 1048576"),
    ],
)
def test_files_of_another_form_are_refused(name: str, content: Any, message: str, tmp_path: Path) -> None:
    folder = TransformersFolder(write(tmp_path, tokenizer={}, **{name: content}))
    with pytest.raises(LoadError, match=message):
        (folder.before(), folder.after())
