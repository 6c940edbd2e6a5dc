"""Encoders and classifiers of transformers, small ones with random weights, against transformers itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from penstock.client import Client
from services.inference import backends
from services.inference.backends import InputError, LoadError, Model, ModelFiles, Placement
from services.inference.backends.transformers_folder import MODEL_TYPES
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.inspector import Inspection, inspect
from tests.support.suite import Suite

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit, which transformers uses

SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "embedding_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}
TEXTS = ["a small text", "", "another one, which is longer than the others are", "Ωé 🚀"]
LABELS = ["bad", "good", "neither"]


def configuration(kind: str, **more: Any) -> Any:
    names = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64} if kind == "distilbert" else {}
    return transformers.AutoConfig.for_model(kind, **SIZES, **names, **more)


def written(folder: Path, kind: str = "bert", *, classifier: bool = False, shards: bool = False, **more: Any) -> Any:
    """A model of random weights, kept in a folder; the model itself is given back."""
    torch.manual_seed(0)
    auto = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModel
    model = auto.from_config(configuration(kind, **more)).eval()
    model.save_pretrained(folder, max_shard_size="20KB" if shards else "1GB")
    return model


def with_tokenizer(folder: Path) -> Any:
    """A tokenizer of its own in the folder; as transformers reads it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=SIZES["vocab_size"], special_tokens=["<s>", "<pad>", "</s>"])
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")
    wrapped.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def load(folder: Path, manifest: Manifest = NOTHING_SAID) -> Model:
    return backends.load(ModelFiles(folder), "transformers", Placement("cpu", 1), manifest=manifest)


def tokens(model: Model, *, rows: int = 3, count: int = 9) -> dict[str, np.ndarray]:
    """Made-up tokens, of which each row has fewer."""
    found = {spec.name: np.zeros((rows, count), np.int64) for spec in model.signature.inputs}
    found["input_ids"][:] = np.random.default_rng(0).integers(3, SIZES["vocab_size"], (rows, count))
    for row in range(rows):
        found["attention_mask"][row, : count - row] = 1
        found["input_ids"][row, count - row :] = SIZES["pad_token_id"]
    return found


@pytest.mark.parametrize("kind", sorted(MODEL_TYPES))
def test_an_encoder_gives_what_transformers_does(kind: str, tmp_path: Path) -> None:
    original = written(tmp_path, kind, shards=True)
    assert (tmp_path / "model.safetensors.index.json").exists()
    model = load(tmp_path)
    given = tokens(model)
    with torch.no_grad():
        expected = original(**{name: torch.from_numpy(array) for name, array in given.items()}).last_hidden_state
    found = model.run(given)["last_hidden_state"]
    there = given["attention_mask"] == 1
    np.testing.assert_allclose(found[there], expected.numpy()[there], atol=1e-5)
    with pytest.raises(InputError, match="expected one shape with at most"):
        model.run(tokens(model, count=41))


@pytest.mark.parametrize("kind", sorted(MODEL_TYPES))
def test_its_texts_may_share_a_batch(kind: str, tmp_path: Path) -> None:
    written(tmp_path, kind)
    with_tokenizer(tmp_path)
    verdict = inspect(Inspection(str(tmp_path), "", False, "cpu", 1))
    assert [one["outcome"] for one in verdict["probes"]] == ["PASSED"] * 3, verdict["probes"]
    assert verdict["signature"]["is_batchable"]
    assert [one["name"] for one in verdict["signature"]["inputs"]] == ["text"]
    assert verdict["signature"]["outputs"][0]["shape"] == (-1, 32)


def test_a_classifier_names_its_classes_through_the_gateway(suite: Suite, tmp_path: Path) -> None:
    original = written(tmp_path, "roberta", classifier=True, id2label=dict(enumerate(LABELS)), num_labels=3)
    given = with_tokenizer(tmp_path)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = original(given["input_ids"], given["attention_mask"]).logits.softmax(-1).numpy()
    suite.command("deploy", str(tmp_path), "--name", "classifier", "--wait")
    with Client(gateway=suite.grpc_address, registry=suite.registry_address) as client:
        found = client.infer("classifier", {"text": np.array([one.encode() for one in TEXTS], dtype=object)})
        client.undeploy("classifier")
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    assert [one.decode() for one in found["label"][:, 0]] == [LABELS[at] for at in expected.argmax(1)]
    np.testing.assert_allclose(found["score"][:, 0], expected.max(1), atol=1e-5)


def test_numbers_that_are_no_tokens_are_their_rows_error(tmp_path: Path) -> None:
    written(tmp_path)
    with_tokenizer(tmp_path)
    model = load(tmp_path, Manifest(options={"steps": "none"}))
    assert [spec.name for spec in model.signature.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    for name, value, message in (("input_ids", 120, "0 to 119"), ("attention_mask", -1, "0 to 1")):
        given = tokens(model)
        given[name][1, 2] = value
        with pytest.raises(InputError, match=f"input '{name}', row 1: got a number outside {message}") as caught:
            model.run(given)
        assert caught.value.rows.keys() == {1}
    with pytest.raises(LoadError, match="got the option steps = 'all', expected one of implied, none"):
        load(tmp_path, Manifest(options={"steps": "all"}))


def test_half_precision_is_served_as_such(tmp_path: Path) -> None:
    original = written(tmp_path).to(torch.bfloat16)
    original.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.signature.outputs[0].datatype == "BF16"
    given = tokens(model, rows=1)
    with torch.no_grad():
        expected = original(**{name: torch.from_numpy(array) for name, array in given.items()}).last_hidden_state
    found = (model.run(given)["last_hidden_state"].astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(found, expected.float().numpy(), atol=0.05)
    with_tokenizer(tmp_path)
    assert load(tmp_path).signature.outputs[0].datatype == "FP32"


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lacking(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, path, {"format": "pt"})


def misshapen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without_a_shard(folder: Path) -> None:
    shutil.rmtree(folder)
    written(folder, shards=True)
    next(folder.glob("model-00002*.safetensors")).unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, r"model.safetensors says that it has \d+ bytes, it has"),
        (lacking, "the weights lack 'encoder.layer.1.output.dense.weight'"),
        (misshapen, "transformers can't load the model: .*(size|shape)"),
        (pickled, "the weights are in pytorch_model.bin, a pickle"),
        (without_a_shard, "index.json names model-00002-of-.*, which is not among the model's files"),
    ],
)
def test_folders_that_are_not_whole_are_refused(harm: Any, message: str, tmp_path: Path) -> None:
    written(tmp_path)
    harm(tmp_path)
    with pytest.raises(LoadError, match=message):
        inspect(Inspection(str(tmp_path), "", False, "cpu", 1))


def test_weights_stay_in_their_file_until_they_are_used(tmp_path: Path) -> None:
    written(tmp_path)
    model: Any = load(tmp_path)
    ranges = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(tmp_path / "model.safetensors"))
    ]
    for weight in model._module.parameters():
        assert any(begin <= weight.data_ptr() < end for begin, end in ranges)
