"""The cache of models puts them together, and lets go of what no version has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.common.errors import InvalidArgumentError
from services.inference.adapters.artifacts import ArtifactCache
from services.inference.domain.content import Content, ModelFile

CONTENT = b"12345"
WANTED, GONE = hashlib.sha256(CONTENT).hexdigest(), "bb" + 62 * "0"
PLACE = f"{WANTED[:2]}/{WANTED}"
MODEL = Content("dd", (ModelFile("graph", WANTED, 5), ModelFile("variables/all", WANTED, 5)))


def cache_with(folder: Path, *names: str) -> ArtifactCache:
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(CONTENT)
    return ArtifactCache(folder, stub=None)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_model_is_put_together_of_what_is_there(tmp_path: Path) -> None:
    cache = cache_with(tmp_path, PLACE, "partial/any")

    root = await cache.fetch(MODEL)

    assert files_below(root) == ["graph", "variables/all"]
    assert (root / "variables" / "all").read_bytes() == CONTENT
    assert await cache.fetch(MODEL) == root
    assert cache.size_bytes == 10  # with what is under way


async def test_no_file_lies_outside_of_its_model(tmp_path: Path) -> None:
    cache = cache_with(tmp_path, PLACE, "partial/any")
    with pytest.raises(InvalidArgumentError, match="path"):
        await cache.fetch(Content("dd", (ModelFile("a", WANTED, 5), ModelFile("../../b", WANTED, 5))))
    assert files_below(tmp_path) == [PLACE, "partial/any"]


async def test_what_versions_that_are_gone_had_is_removed_whole_or_not(tmp_path: Path) -> None:
    kept = [PLACE, "models/dd/graph", "models/dd~aot-1-cpu.pt2", f"partial/{WANTED}"]
    gone = [f"bb/{GONE}", "models/ee/graph", "models/ee~aot-1-cpu.pt2", f"partial/{GONE}"]
    cache = cache_with(tmp_path, *kept, *gone)
    assert cache.has_product("dd")

    await cache.keep_only([MODEL])

    assert files_below(tmp_path) == kept
    assert not (tmp_path / "models" / "ee").exists()
    assert (cache.has_product("dd"), cache.has_product("ee")) == (True, False)
    assert cache.size_bytes == 15


def test_a_file_that_is_removed_while_the_size_is_asked_for_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_with(tmp_path, PLACE)
    monkeypatch.setattr(cache._folder, "files", lambda: [tmp_path / PLACE, tmp_path / "bb" / GONE])

    assert cache.size_bytes == 5
