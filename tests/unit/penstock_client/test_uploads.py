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


def test_a_folder_of_empty_files_is_empty(channel: Channel, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for names in ((), ("a",), ("a", ".hidden", "penstock.toml")):
        for name in names:
            (tmp_path / "model" / name).write_text("x" if name != "a" else "")
        with pytest.raises(ValueError, match="model is empty"):
            upload(channel, tmp_path / "model")


def test_a_link_in_a_folder_is_refused_lest_it_leads_elsewhere(channel: Channel, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="weights is a symbolic link"):
        upload(channel, tmp_path / "model")


@pytest.mark.timeout(5)
def test_what_may_never_end_is_refused(channel: Channel, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for endless in (path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="is no regular file"):
            upload(channel, endless)
    with pytest.raises(FileNotFoundError):
        upload(channel, tmp_path / "missing")
