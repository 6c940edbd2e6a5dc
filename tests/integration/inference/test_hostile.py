"""Hostile and damaged files in every format: refused by name, nothing of them run, nothing left on the disk.

Each is given to the process that tries new versions, as the agent starts it, but not confined: what a file brings along
would leave its trace.
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
from sklearn.decomposition import PCA
from skops import io as skops

from services.inference.inspector import Inspection
from tests.support.models import digits_onnx, digits_torch_export, folder_onnx

Make = Callable[[Path], Path]
ZEROS = bytes(1 << 20)


def verdict(path: Path, scratch: Path, *, is_trusted: bool = False) -> dict[str, Any]:
    request = Inspection(str(path), "", is_trusted=is_trusted, device="cpu", threads=1)
    done = subprocess.run(
        [sys.executable, "-m", "services.inference.inspector"],
        input=json.dumps(asdict(request)) + "\n",
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    return json.loads(done.stdout) if done.stdout else {"rejection": f"crashed: {done.returncode} {done.stderr[-300:]}"}


class Code:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def trace_of(path: Path) -> Path:
    return path.parent / "trace"


def archive(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def archive_of(name: str) -> Make:
    return lambda path: archive(path, {"m/archive_format": b"pt2", name: b"x"})


def bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("m/archive_format", "w") as entry:
        for _ in range(100):
            entry.write(ZEROS)
    return path


def hidden_bomb(path: Path) -> Path:
    inner = bomb(path.with_name("inner")).read_bytes()
    return archive(path, {"m/archive_format": b"pt2", "m/data/weights": inner})


def overlapping(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/archive_format", os.urandom(100_000))
        for number in range(50):
            again = copy.copy(file.filelist[0])
            again.filename = f"m/{number:014}"
            file.filelist.append(again)
    return path


def nested(path: Path) -> Path:
    content = b"at last"
    for level in range(5):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if level % 2 else zipfile.ZIP_STORED) as file:
            file.writestr("m/archive_format", content)
        content = buffer.getvalue()
    path.write_bytes(content)
    return path


def linked(path: Path) -> Path:
    entry = zipfile.ZipInfo("m/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/archive_format", b"pt2")
        file.writestr(entry, "/etc/passwd")
    return path


def crowded(path: Path) -> Path:
    return archive(path, {f"m/{number}": b"" for number in range(70_000)})


def pickled(protocol: int) -> Make:
    def make(path: Path) -> Path:
        path.write_bytes(pickle.dumps(Code(trace_of(path)), protocol=protocol))
        return path

    return make


def compressed(path: Path) -> Path:
    joblib.dump(Code(trace_of(path)), path, compress=3)
    return path


def state_dict(path: Path) -> Path:
    return archive(path, {"m/data.pkl": pickle.dumps(Code(trace_of(path))), "m/version": b"3"})


def exported_with_code(path: Path) -> Path:
    """As torch.export.save writes them; the samples are a pickle."""
    digits_torch_export(path)
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    samples = next(name for name in entries if "sample_inputs" in name)
    return archive(path, {**entries, samples: pickle.dumps(Code(trace_of(path)))})


def foreign_type(path: Path) -> Path:
    skops.dump(PCA(2).fit(np.eye(4)), path)
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    schema = entries["schema.json"].replace(b'"sklearn.decomposition._pca"', b'"os"').replace(b'"PCA"', b'"system"')
    return archive(path, {**entries, "schema.json": schema})


def program(path: Path) -> Path:
    path.mkdir()
    code = f"import os\nos.mkdir({str(trace_of(path))!r})\nclass Model:\n    pass\n"
    (path / "model.py").write_text(code)
    return path


def escaping(location: str) -> Make:
    def make(path: Path) -> Path:
        (path.parent / "secret").write_bytes(bytes(64))
        return folder_onnx(path, location=location)

    return make


def oversized_field(path: Path) -> Path:
    path.write_bytes(b"\x08\x0a" + b"\x3a\xff\xff\xff\xff\xff\x7f" + b"graph")
    return path


def booster(path: Path, *, head: str = "") -> Path:
    data = lightgbm.Dataset(np.random.default_rng(0).normal(size=(200, 4)), np.arange(200) % 2)
    text = lightgbm.train({"objective": "binary", "verbose": -1}, data, 30).model_to_string()
    path.write_text(text.replace("max_feature_idx=3", head) if head else text)
    return path


@pytest.mark.parametrize("is_trusted", [False, True], ids=["untrusted", "trusted"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bomb, "unpacked it would take more than 64 MiB"),
        (hidden_bomb, "unpacked it would take more than 64 MiB"),
        (overlapping, "its files overlap"),
        (nested, "archives lie in it deeper than 3 levels"),
        (crowded, "it holds more than 65536 files"),
        (linked, "'m/link' in it is a symbolic link"),
        (archive_of("../../evil"), "'../../evil' in it leads elsewhere"),
        (archive_of("/etc/evil"), "'/etc/evil' in it leads elsewhere"),
        (archive_of("m\\..\\evil"), "leads elsewhere"),
        (compressed, "corrupt, or of an unknown format"),
        (pickled(0), "corrupt, or of an unknown format"),
        (state_dict, "pickled PyTorch module or state dict"),
        (escaping("../secret"), "'../secret'"),
        (escaping("/etc/passwd"), "'/etc/passwd'"),
        (oversized_field, "announces 4398046511103 bytes"),
        (lambda path: booster(path, head="max_feature_idx=2000000000"), ""),
    ],
)
def test_what_is_made_to_do_harm_is_refused_whoever_vouches_for_it(
    make: Make, message: str, is_trusted: bool, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    found = verdict(make(tmp_path / "model"), scratch, is_trusted=is_trusted)

    assert message in found["rejection"]
    assert str(tmp_path) not in found["rejection"]
    assert not trace_of(tmp_path / "model").exists()
    assert [one for one in scratch.rglob("*") if one.is_file()] == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pickled(4), "is a Python pickle"),
        (exported_with_code, "can run code while loading"),
        (foreign_type, "(os.system)"),
        (program, "mark the version as trusted"),
    ],
)
def test_code_is_not_run_without_somebody_s_word(make: Make, message: str, tmp_path: Path) -> None:
    assert message in verdict(make(tmp_path / "model"), tmp_path)["rejection"]
    assert not trace_of(tmp_path / "model").exists()


def test_the_trace_shows_what_is_run(tmp_path: Path) -> None:
    """Else the tests above would pass whatever happens."""
    verdict(pickled(4)(tmp_path / "model"), tmp_path, is_trusted=True)
    assert trace_of(tmp_path / "model").exists()


def script(path: Path) -> Path:
    import torch

    tensor = {"datatype": "FP32", "shape": [-1, 4]}
    signature = {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(torch.nn.Linear(4, 4).eval(), torch.zeros(1, 4))
        torch.jit.save(traced, str(path), _extra_files={"signature.json": json.dumps(signature)})
    return path


def estimator(path: Path) -> Path:
    skops.dump(PCA(2).fit(np.eye(4)), path)
    return path


def pickled_estimator(path: Path) -> Path:
    path.write_bytes(pickle.dumps(PCA(2).fit(np.eye(4))))
    return path


GOOD = [digits_onnx, digits_torch_export, script, estimator, pickled_estimator, booster]


@pytest.mark.parametrize("make", GOOD)
def test_half_a_model_is_refused(make: Make, tmp_path: Path) -> None:
    content = make(tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(content[: len(content) // 2])

    assert verdict(tmp_path / "model", tmp_path, is_trusted=True)["rejection"]


@pytest.mark.parametrize("at", [0.0, 0.5], ids=["head", "middle"])
@pytest.mark.parametrize("make", GOOD)
def test_a_flipped_bit_is_refused_or_does_no_harm(make: Make, at: float, tmp_path: Path) -> None:
    """In the midst of weights nothing but a signature tells: there it may change what is answered, and nothing else."""
    content = bytearray(make(tmp_path / "model").read_bytes())
    content[int(at * len(content))] ^= 0x40
    (tmp_path / "model").write_bytes(content)

    found = verdict(tmp_path / "model", tmp_path, is_trusted=True)

    assert ("rejection" in found) or found["signature"]["outputs"]
    assert at or "rejection" in found
