"""Buckets that are watched: a real server of S3, by its own protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.registry.v1 import source_service_pb2 as pb
from tests.support.object_stores import S3
from tests.support.registry import running_registry
from tests.support.sources import Sources, sources_of

URI = "s3://bucket/models/digits"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with S3() as store:
        for name, value in store.environ.items():
            monkeypatch.setenv(name, value)
        yield store


@pytest.fixture
async def sources(tmp_path: Path, bucket: S3) -> AsyncIterator[Sources]:
    async with running_registry(tmp_path) as registry, sources_of(registry) as made:
        yield made


async def put(bucket: S3, place: str, content: bytes) -> None:
    files: Any = bucket.files()
    await asyncio.to_thread(files.pipe_file, f"bucket/models/digits/{place}", content)


async def test_objects_below_a_prefix_become_versions(sources: Sources, bucket: S3) -> None:
    await put(bucket, "model.onnx", b"weights")
    await put(bucket, "data/labels.txt", b"a")
    await sources.add(bucket=pb.BucketLocation(uri=URI))
    await sources.until(lambda one: one.version, timeout_s=30)
    (version,) = await sources.versions()
    assert [(one.path, one.size_bytes) for one in version.files] == [("data/labels.txt", 1), ("model.onnx", 7)]
    assert version.lineage.origin == URI

    await put(bucket, "data/labels.txt", b"b")
    await sources.check()
    assert len(await sources.versions()) == 2


async def test_the_highest_number_counts_there_too(sources: Sources, bucket: S3) -> None:
    for number in (9, 10):
        await put(bucket, f"{number}/model.onnx", str(number).encode())
    await sources.add(bucket=pb.BucketLocation(uri=URI))
    source = await sources.until(lambda one: one.version, timeout_s=30)
    assert source.revision == "10"

    await put(bucket, "11/model.onnx", b"11")
    assert (await sources.check()).revision == "11"


async def test_one_object_is_a_model_too(sources: Sources, bucket: S3) -> None:
    await put(bucket, "model.onnx", b"weights")
    await sources.add(bucket=pb.BucketLocation(uri=f"{URI}/model.onnx"))
    await sources.until(lambda one: one.version, timeout_s=30)
    (version,) = await sources.versions()
    assert [one.path for one in version.files] == ["model.onnx"]


async def test_a_bucket_that_is_away_or_not_there_is_told_of(sources: Sources, bucket: S3) -> None:
    await sources.add("other", bucket=pb.BucketLocation(uri="s3://nobodys/models"))
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING, "other", timeout_s=30)
    assert source.state_reason == "there is no bucket for s3://nobodys/models"

    await asyncio.to_thread(bucket.kill)
    await sources.add(bucket=pb.BucketLocation(uri=URI))
    source = await sources.until(lambda one: one.state == pb.Source.STATE_FAILING, timeout_s=30)
    assert "connect" in source.state_reason.lower()
