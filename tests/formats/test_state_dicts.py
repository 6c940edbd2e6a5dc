"""Pickled weights become safetensors that are served as they were; what is more than weights is left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file

from penstock.state_dicts import ConversionError, convert
from services.inference import backends
from services.inference.backends import ModelFiles, Placement

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STATE = OrderedDict(
    weight=torch.arange(6.0).reshape(2, 3).T, half=torch.ones(3, dtype=torch.bfloat16), empty=torch.zeros(0, 2)
)


class Hostile:
    """Runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def as_pickles(folder: Path, *, shards: int) -> Any:
    """A small encoder with its weights as torch used to keep them; the model itself is given back."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    model = transformers.BertModel(config).eval()
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    state, places = model.state_dict(), {}
    for shard in range(shards):
        name = "pytorch_model.bin" if shards == 1 else f"pytorch_model-{shard + 1:05}-of-{shards:05}.bin"
        part = {key: tensor for at, (key, tensor) in enumerate(state.items()) if at % shards == shard}
        torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    if shards > 1:
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return model


@pytest.mark.parametrize("shards", [1, 3])
def test_a_converted_folder_is_served_as_it_was(shards: int, tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    original = as_pickles(source, shards=shards)
    command = [sys.executable, "-m", "penstock", "convert", str(source), str(target), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert len(json.loads(done.stdout)["files"]) == shards
    assert not list(target.glob("*.bin*"))
    model = backends.load(ModelFiles(target), "transformers", Placement("cpu", 1))
    ids = np.arange(3, 13).reshape(2, 5)
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    with torch.no_grad():
        expected = original(**{name: torch.from_numpy(one) for name, one in given.items()}).last_hidden_state
    np.testing.assert_allclose(model.run(given)["last_hidden_state"], expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("is_old", [False, True])
def test_a_state_dict_is_converted_tensor_by_tensor(*, is_old: bool, tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / "a.pt", _use_new_zipfile_serialization=not is_old)
    assert convert(tmp_path / "a.pt", tmp_path / "b.safetensors") == [tmp_path / "b.safetensors"]
    found = load_file(tmp_path / "b.safetensors")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], one) and found[name].dtype == one.dtype for name, one in STATE.items())


def test_what_is_more_than_weights_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "a.bin"
    for content, message in (
        ({"w": Hostile(mark)}, r"a.bin is not converted: it asks for pathlib\.Path\.touch|it asks for"),
        ({"weight": torch.ones(2), "name": "x"}, "a.bin has 'name', a str, expected tensors alone"),
        ([torch.ones(2)], "a.bin holds a list, expected tensors by their names"),
    ):
        torch.save(content, path)
        with pytest.raises(ConversionError, match=message):
            convert(path, tmp_path / "b.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConversionError, match="torch can't read it"):
        convert(path, tmp_path / "b.safetensors")
    with pytest.raises(FileExistsError, match="exists, expected a new name"):
        convert(path, path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]
    (tmp_path / "c").mkdir()
    with pytest.raises(ConversionError, match="c holds no pytorch_model"):
        convert(tmp_path / "c", tmp_path / "d")
