"""A node's cache: what it fetches from a real registry, what makes room for it, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common.errors import DataLossError, NotFoundError, ResourceExhaustedError, UnavailableError
from services.inference.adapters import integrity
from services.inference.adapters.artifacts import ArtifactCache
from services.inference.domain.content import Content
from tests.support.fetcher import content_of
from tests.support.ports import free_port
from tests.support.registry import Registry, running_registry

KIB = 1024
A, B, C, D = (bytes([number]) * 100 * KIB for number in range(4))
SHARED = b"s" * 10 * KIB


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with running_registry(tmp_path / "registry") as running:
        for content in (A, B, C, D, SHARED):
            await running.upload(content)
        yield running


@pytest.fixture
def cache(registry: Registry, tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache", registry.stub, limit_bytes=250 * KIB)


def contents_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def is_there(cache: ArtifactCache, content: Content) -> bool:
    return cache._folder.model(content.digest).exists()


async def test_what_was_not_used_for_the_longest_time_makes_room(cache: ArtifactCache) -> None:
    first, second, third = content_of(A, SHARED), content_of(B, SHARED), content_of(C, SHARED)
    for content in (first, second, first):
        assert contents_in(await cache.fetch(content))[1] == SHARED
    assert cache.size_bytes == 210 * KIB

    root = await cache.fetch(third)

    assert contents_in(root) == [C, SHARED]
    assert [is_there(cache, one) for one in (first, second, third)] == [True, False, True]
    assert (cache.size_bytes, cache.evictions, cache.limit_bytes) == (210 * KIB, 1, 250 * KIB)


async def test_what_is_in_use_makes_no_room(cache: ArtifactCache) -> None:
    first, second, third = content_of(A), content_of(B), content_of(C)
    with cache.hold(first):
        await cache.fetch(first)
        with cache.hold(second):
            await cache.fetch(second)
            with pytest.raises(ResourceExhaustedError, match=f"no room for {100 * KIB} .*{200 * KIB} of .* in use"):
                await cache.fetch(third)
            await cache.keep_only([])  # not even for having no version
            assert is_there(cache, first)
        await cache.fetch(third)
        assert [is_there(cache, one) for one in (first, second, third)] == [True, False, True]
    await cache.keep_only([])
    assert cache.size_bytes == 0


async def test_models_that_are_fetched_at_once_share_the_room(cache: ArtifactCache) -> None:
    models = [content_of(one) for one in (A, B, C, D)]

    outcomes = await asyncio.gather(*map(cache.fetch, models), return_exceptions=True)

    failures = [one for one in outcomes if isinstance(one, BaseException)]
    assert all(isinstance(one, ResourceExhaustedError) for one in failures)
    assert cache.size_bytes <= 250 * KIB
    for content in models:  # each of them alone finds room
        assert len(contents_in(await cache.fetch(content))) == 1
        assert cache.size_bytes <= 250 * KIB


async def test_what_is_larger_than_the_cache_is_told_so(cache: ArtifactCache) -> None:
    await cache.fetch(content_of(A))

    with pytest.raises(ResourceExhaustedError, match=f"got a model of {300 * KIB} bytes, expected at most {250 * KIB}"):
        await cache.fetch(content_of(A, B, C))

    assert is_there(cache, content_of(A))  # nothing went for nothing


async def test_without_a_limit_a_tenth_of_the_disk_is_left_to_others(registry: Registry, tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path / "cache", registry.stub)
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize

    assert 0.8 * free < cache.limit_bytes < 0.95 * free


async def test_a_download_goes_on_from_what_is_there(cache: ArtifactCache) -> None:
    content = content_of(A)
    partial = cache._folder.partial(content.files[0].sha256)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(A[: 60 * KIB])
    told: list[float] = []

    root = await cache.fetch(content, told.append)

    assert contents_in(root) == [A]
    assert told == [1.0]  # of the bytes that were missing there was one message
    assert not partial.exists()


async def test_bytes_that_are_wrong_are_found_out_and_not_kept(cache: ArtifactCache) -> None:
    content = content_of(A)
    partial = cache._folder.partial(content.files[0].sha256)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(60 * KIB)[:-1] + b"!")

    with pytest.raises(DataLossError, match="digest differs"):
        await cache.fetch(content)

    assert contents_in(await cache.fetch(content)) == [A]


async def test_content_that_was_damaged_where_it_is_stored_reaches_no_model(
    cache: ArtifactCache, registry: Registry
) -> None:
    content = content_of(A)
    path = registry.places()[content.files[0].sha256]
    path.write_bytes(A[:-1] + b"!")

    with pytest.raises(DataLossError, match="damaged"):
        await cache.fetch(content)

    path.write_bytes(A)
    assert contents_in(await cache.fetch(content)) == [A]


def damage(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


@pytest.mark.parametrize("is_new_agent", [False, True])
async def test_what_was_damaged_on_the_node_is_fetched_again(
    cache: ArtifactCache, registry: Registry, tmp_path: Path, is_new_agent: bool
) -> None:
    first, second = content_of(A, SHARED), content_of(B, SHARED)
    damaged = await cache.fetch(first) / "part-1"
    await cache.fetch(second)
    before = damaged.stat()
    damage(damaged)
    os.utime(damaged, ns=(before.st_atime_ns, before.st_mtime_ns))
    if is_new_agent:
        cache = ArtifactCache(tmp_path / "cache", registry.stub, limit_bytes=250 * KIB)

    assert contents_in(await cache.fetch(first)) == [A, SHARED]
    assert contents_in(await cache.fetch(second)) == [B, SHARED]  # what they share was damaged there too
    assert cache.repairs == 2
    assert cache.size_bytes == 210 * KIB


async def test_damage_that_leaves_no_trace_is_found_when_the_model_did_not_load(
    cache: ArtifactCache,
) -> None:
    content = content_of(A)
    path = await cache.fetch(content) / "part-0"
    damage(path)
    cache._integrity.note(content)  # as if the disk had lost a bit by itself

    assert contents_in(await cache.fetch(content)) != [A]
    cache.doubt(content)

    assert contents_in(await cache.fetch(content)) == [A]


async def test_a_folder_that_has_other_files_than_its_model_is_put_together_anew(cache: ArtifactCache) -> None:
    content = content_of(A, B)
    root = await cache.fetch(content)
    for change in (
        (root / "part-0").unlink,
        lambda: (root / "part-2").write_bytes(b"more"),
        lambda: (root / "part-1").rename(root / "part-0"),
        lambda: ((root / "part-1").unlink(), (root / "part-1").symlink_to(root / "part-0")),
    ):
        change()
        assert contents_in(await cache.fetch(content)) == [A, B]
        assert sorted(path.name for path in root.iterdir()) == ["part-0", "part-1"]


async def test_what_is_whole_is_hashed_once(cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_of(A)
    await cache.fetch(content)
    monkeypatch.setattr(integrity, "digest_of", lambda path: pytest.fail(f"{path} is hashed again"))

    await cache.fetch(content)

    assert cache.repairs == 0


async def test_two_who_find_the_same_damage_fetch_it_once(cache: ArtifactCache) -> None:
    content = content_of(A)
    damage(await cache.fetch(content) / "part-0")

    roots = await asyncio.gather(*(cache.fetch(content) for _ in range(3)))

    assert contents_in(roots[0]) == [A]
    assert cache.repairs == 1


async def test_what_the_registry_lacks_is_told(cache: ArtifactCache) -> None:
    with pytest.raises(NotFoundError, match="is not stored"):
        await cache.fetch(content_of(b"nobody uploaded this"))


ADAPTERS = "services.inference.adapters"
DOWNLOAD, FOLDER = f"{ADAPTERS}.downloads:Download", f"{ADAPTERS}.cache_folder:CacheFolder"
STEPS = [
    (f"{DOWNLOAD}._receive", "before"),
    (f"{DOWNLOAD}._receive", "after"),
    (f"{DOWNLOAD}._finish", "after"),
    ("pathlib:Path.hardlink_to", "after"),  # a model of two files has one
    (f"{FOLDER}.assemble", "after"),
    ("shutil:rmtree", "before"),  # a model was put together, its scratch is left
    (f"{FOLDER}.remove_model", "before"),
    (f"{ADAPTERS}.artifacts:ArtifactCache._tidy", "before"),
    (f"{ADAPTERS}.artifacts:ArtifactCache._tidy", "after"),
]


@pytest.mark.parametrize(("step", "when"), STEPS)
async def test_an_agent_killed_at_any_step_leaves_nothing_half_done(
    registry: Registry, tmp_path: Path, step: str, when: str
) -> None:
    texts = [b"a" * 600, b"b" * 600, b"c" * 700]
    for text in texts:
        await registry.upload(text)
    models = [",".join(text.decode() for text in pair) for pair in (texts[:2], texts[1:])]
    folder = tmp_path / "cache"
    arguments = [str(folder), registry.address, "1900", *models]  # the second has no room beside the first

    assert await run("tests.support.doomed", "tests.support.fetcher", step, when, *arguments) == -9
    for root in folder.glob("models/*"):
        assert len(list(root.iterdir())) == 2  # a folder that is there is whole
    assert await run("tests.support.fetcher", *arguments) == 0

    last = content_of(*texts[1:])
    assert contents_in(folder / "models" / last.digest) == texts[1:]
    assert {path.name for path in folder.glob("[0-9a-f][0-9a-f]/*")} == {file.sha256 for file in last.files}
    assert list((folder / "partial").iterdir()) == []
    assert [path.name for path in (folder / "models").iterdir()] == [last.digest]


async def run(*arguments: str) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments)
    return await process.wait()


async def test_while_the_registry_is_away_what_is_there_serves(registry: Registry, tmp_path: Path) -> None:
    await ArtifactCache(tmp_path / "cache", registry.stub).fetch(content_of(A))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port()}") as nowhere:
        cache = ArtifactCache(tmp_path / "cache", RegistryServiceStub(nowhere))
        assert contents_in(await cache.fetch(content_of(A))) == [A]
        with pytest.raises(UnavailableError):
            await cache.fetch(content_of(B))
