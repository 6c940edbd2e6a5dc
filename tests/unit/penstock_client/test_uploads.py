from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.channels import Channel
from penstock.uploads import upload


@pytest.fixture
def channel() -> Channel:
    return Channel("registry", "127.0.0.1:9")


def test_an_empty_file_is_refused_by_name(channel: Channel, tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    with pytest.raises(ValueError, match=r"empty\.onnx is empty"):
        upload(channel, path)


@pytest.mark.timeout(5)
def test_what_may_never_end_is_refused(channel: Channel, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for endless in (path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="is no regular file"):
            upload(channel, endless)
    with pytest.raises(FileNotFoundError):
        upload(channel, tmp_path / "missing")
