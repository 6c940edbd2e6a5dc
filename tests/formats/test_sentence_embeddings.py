"""A real model, as safetensors, torch.export and ONNX: sentences in, embeddings out, and all of them the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

from penstock.client import Client
from penstock.errors import InvalidArgumentError
from penstock.registry.v1.resources_pb2 import Probe
from tests.formats.minilm import minilm, with_its_tokenizer
from tests.support.suite import Suite

pytestmark = [pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SENTENCES = [
    "A man is eating food.",
    "Someone eats a meal.",
    "The stock market fell by three percent today.",
    "",
    "Où est la gare? 世界 🚀",
    "One sentence after the other makes a text that is longer than what the model can look at. " * 20,
]
FORMATS = ("safetensors", "torch-export", "onnx")
INT8 = "int8"


class Encoder(torch.nn.Module):
    """What is exported: from tokens to their vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.model = transformers.AutoModel.from_pretrained(minilm(), attn_implementation="eager").eval()

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def exported(folder: Path) -> dict[str, Path]:
    """The model in each format."""
    encoder, example = Encoder(), (torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64))
    batch, length = torch.export.Dim("batch", min=1, max=1024), torch.export.Dim("length", min=2, max=512)
    shapes = {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}}
    folders = {name: folder / name for name in (*FORMATS, INT8)}
    for one in folders.values():
        one.mkdir()
        with_its_tokenizer(one)
    program = torch.export.export(encoder, example, dynamic_shapes=shapes)
    torch.export.save(program, folders["torch-export"] / "model.pt2")
    graph = folders["onnx"] / "model.onnx"
    torch.onnx.export(
        encoder,
        example,
        graph,
        dynamo=True,
        dynamic_shapes=shapes,
        opset_version=20,
        external_data=False,
        output_names=["last_hidden_state"],
        verbose=False,
    )
    quantize(graph, folders[INT8] / "model.onnx")
    return {**folders, "safetensors": minilm()}


def quantize(graph: Path, to: Path) -> None:
    """Dynamic int8, whose scale is that of the whole batch."""
    prepared = to.with_suffix(".prepared")
    quant_pre_process(graph, prepared, skip_symbolic_shape=True)
    model = onnx.load(prepared)
    del model.graph.value_info[:]  # shapes of the example, which the quantiser would take for all
    onnx.save(model, prepared)
    quantize_dynamic(prepared, to, weight_type=QuantType.QInt8)
    prepared.unlink()


@pytest.fixture(scope="module")
def client(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """With all of them deployed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporters say much
        folders = exported(tmp_path_factory.mktemp("formats"))
    for name, folder in folders.items():
        suite.command("deploy", str(folder), "--name", name, "--trust", "--wait", timeout_s=400)
    with Client(gateway=suite.grpc_address, registry=suite.registry_address) as connected:
        yield connected


def texts(*sentences: str) -> dict[str, np.ndarray]:
    return {"text": np.array([one.encode() for one in sentences], dtype=object)}


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """The embeddings by transformers and torch alone."""
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(minilm()), Encoder()
    given = tokenizer(SENTENCES, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        vectors = model(given["input_ids"], given["attention_mask"])
    mask = given["attention_mask"][..., None].float()
    means = (vectors * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(means, dim=1).numpy()


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_what_transformers_does(name: str, client: Client, expected: np.ndarray) -> None:
    found = client.infer(name, texts(*SENTENCES))["sentence_embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found[0] @ found[1] > 0.5 > 0.2 > found[0] @ found[2]


def test_the_formats_agree(client: Client) -> None:
    first, *others = (client.infer(name, texts(*SENTENCES))["sentence_embedding"] for name in FORMATS)
    for one in others:
        np.testing.assert_allclose(one, first, atol=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_callers_who_share_a_batch_get_what_is_theirs(name: str, client: Client, expected: np.ndarray) -> None:
    """One of them sends what is no text."""

    def ask(number: int) -> float:
        row = number % len(SENTENCES)
        found = client.infer(name, texts(SENTENCES[row]))["sentence_embedding"]
        return float(np.abs(found - expected[row]).max())

    def ask_wrongly(_number: int) -> str:
        with pytest.raises(InvalidArgumentError) as caught:
            client.infer(name, {"text": np.array([b"\xff"], dtype=object)})
        return str(caught.value)

    with ThreadPoolExecutor(16) as pool:
        errors, refusals = pool.map(ask, range(48)), pool.map(ask_wrongly, range(16))
        assert max(errors) < 1e-4
        assert all("input 'text', row 0: got bytes that are not UTF-8" in one for one in refusals)


def test_int8_with_the_scale_of_a_batch_is_served_unbatched(client: Client, expected: np.ndarray) -> None:
    (version,) = client.versions(INT8)
    assert Probe.OUTCOME_FAILED in [probe.outcome for probe in version.validation_report.probes]
    assert not version.signature.batchable
    found = client.infer(INT8, texts(SENTENCES[0]))["sentence_embedding"]
    assert found @ expected[0] > 0.9
