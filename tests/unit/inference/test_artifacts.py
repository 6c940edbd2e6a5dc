"""The cache of model files lets go of what no version names."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.inference.adapters.artifacts import ArtifactCache

WANTED, GONE = "aa" + 62 * "0", "bb" + 62 * "0"


def cache_with(folder: Path, *names: str) -> ArtifactCache:
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    return ArtifactCache(folder, stub=None)


def test_files_of_versions_that_are_gone_are_removed_whole_or_not(tmp_path: Path) -> None:
    kept = [f"aa/{WANTED}", f"aa/{WANTED}~aot-1-cpu.pt2", f"partial/{WANTED}"]
    gone = [f"bb/{GONE}", f"bb/{GONE}~aot-1-cpu.pt2", f"partial/{GONE}"]
    cache = cache_with(tmp_path, *kept, *gone)

    cache.keep_only({WANTED})

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == kept
    assert cache.size_bytes == 15


def test_a_file_that_is_removed_while_the_size_is_asked_for_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_with(tmp_path, f"aa/{WANTED}")
    monkeypatch.setattr(cache, "_files", lambda: [tmp_path / "aa" / WANTED, tmp_path / "bb" / GONE])

    assert cache.size_bytes == 5
