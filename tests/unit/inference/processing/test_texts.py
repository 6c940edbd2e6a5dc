"""Texts as tokens, and tokens as vectors; against the library's own encoding and plain sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from services.inference.backends import InputError, LoadError
from services.inference.domain.signature import TensorSpec
from services.inference.processing.model import ProcessedModel
from tests.unit.inference.processing.models import Function, step, with_steps

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "man", "eats", "food", "some", "##one", "é"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding(length=12)  # what the file says of these doesn't count
    tokenizer.enable_truncation(5)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def tokens(folder: Path, *names: str, datatype: str = "INT64", **arguments: Any) -> ProcessedModel:
    """A model that gives back the tokens that it takes."""
    specs = [TensorSpec(name, datatype, (-1, -1)) for name in names or ("input_ids", "attention_mask")]
    outputs = [TensorSpec(f"{spec.name}_", datatype, (-1, -1)) for spec in specs]
    model = Function(specs, outputs, lambda inputs: {f"{name}_": array for name, array in inputs.items()})
    return with_steps(model, [step("tokenize", **{"max_length": 8, "datatype": datatype, **arguments})], folder=folder)


def texts(*given: str | bytes) -> dict[str, np.ndarray]:
    return {"text": np.array([one if isinstance(one, bytes) else one.encode() for one in given], dtype=object)}


def test_texts_are_padded_to_the_longest_of_the_batch(folder: Path) -> None:
    model = tokens(folder)
    assert model.signature.inputs == (TensorSpec("text", "BYTES", (-1,)),)
    found = model.run(texts("a man eats", "Someone", ""))
    assert found["input_ids_"].tolist() == [[2, 4, 5, 6, 3], [2, 8, 9, 3, 0], [2, 3, 0, 0, 0]]
    assert found["attention_mask_"].tolist() == [[1] * 5, [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]


def test_they_are_cut_or_padded_to_the_length_that_is_said(folder: Path) -> None:
    text = "a man eats food some man eats food"
    assert tokens(folder, max_length=4).run(texts(text))["input_ids_"].tolist() == [[2, 4, 5, 3]]
    padded = tokens(folder, padding="max_length").run(texts("é", "É"))["input_ids_"]
    assert padded.tolist() == [[2, 10, 3, 0, 0, 0, 0, 0]] * 2
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole.no_truncation()
    whole.no_padding()
    expected = [whole.encode(text).ids]
    assert tokens(folder, max_length=64).run(texts(text))["input_ids_"].tolist() == expected


def test_models_get_the_tensors_that_they_take_in_their_type(folder: Path) -> None:
    model = tokens(folder, "i", "token_type_ids", datatype="INT32", ids="i", prefix="a ", lowercase=True)
    found = model.run(texts("MAN"))
    assert (found["i_"].dtype, found["i_"].tolist()) == (np.int32, [[2, 4, 5, 3]])
    assert found["token_type_ids_"].tolist() == [[0, 0, 0, 0]]


def test_a_text_that_is_none_is_its_rows_error(folder: Path) -> None:
    model = tokens(folder, truncation=False, max_length=4, max_bytes=1000)
    for wrong, message in (
        (
            b"\xff\xfe",
            r"input 'text', row 1: got bytes that are not UTF-8 \(invalid start byte at 0\), expected a text",
        ),
        (b"x" * 1001, "row 1: got a text of 1001 bytes, expected at most 1000"),
        ("a man eats food", "row 1: got a text of 6 tokens, expected 1 to 4"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            model.run(texts("man", wrong))
        assert caught.value.rows.keys() == {1}


def test_a_text_without_tokens_is_none(folder: Path) -> None:
    """Alone it would be nothing, among others a row of padding."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.Sequence([])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(InputError, match="row 1: got a text of 0 tokens, expected 1 to 8"):
        tokens(folder).run(texts("man", " "))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 2}, "got max_length = 2, expected more than 2 special tokens"),
        ({"pad_token": "<pad>"}, "got pad_token = '<pad>', expected a token of the vocabulary"),
        ({"file": "../tokenizer.json"}, r"got file = '../tokenizer.json', expected one of broken.json, tokenizer.json"),
        ({"file": "broken.json"}, "broken.json is no tokenizer: "),
        ({"padding": "none"}, "got padding = 'none', expected one of longest, max_length"),
    ],
)
def test_a_tokenizer_that_can_not_be_had_is_refused(arguments: dict[str, Any], message: str, folder: Path) -> None:
    (folder / "broken.json").write_text('{"model": {"type": "WordPiece"}}')
    with pytest.raises(LoadError, match=message):
        tokens(folder, **arguments)


def pooled(vectors: np.ndarray, mask: list[list[int]], mode: str, datatype: str = "FP32") -> np.ndarray:
    inputs = [TensorSpec("ids", "INT64", (-1, -1)), TensorSpec("attention_mask", "INT64", (-1, -1))]
    output = TensorSpec("hidden", datatype, (-1, -1, vectors.shape[2]))
    model = with_steps(Function(inputs, [output], lambda _: {"hidden": vectors}), after=[step("pool", mode=mode)])
    assert model.signature.outputs == (TensorSpec("sentence_embedding", "FP32", (-1, vectors.shape[2])),)
    return model.run({"ids": np.zeros_like(mask), "attention_mask": np.array(mask)})["sentence_embedding"]


def test_only_tokens_that_are_there_are_pooled() -> None:
    vectors = np.array([[[1, -2], [3, -4], [90, 90]], [[5, 6], [70, 70], [80, 80]]], np.float32)
    mask = [[1, 1, 0], [1, 0, 0]]
    assert pooled(vectors, mask, "mean").tolist() == [[2, -3], [5, 6]]
    assert pooled(vectors, mask, "max").tolist() == [[3, -2], [5, 6]]
    assert pooled(vectors, mask, "cls").tolist() == [[1, -2], [5, 6]]
    patterns = (vectors.view(np.uint32) >> 16).astype(np.uint16)
    assert pooled(patterns, mask, "mean", "BF16").tolist() == [[2, -3], [5, 6]]
