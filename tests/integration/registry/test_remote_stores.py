"""Content in buckets: real servers, which are paused, killed and forget what they had."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common.serving import CHANNEL_OPTIONS
from tests.support.object_stores import S3, SECRET, Gcs, ObjectStore
from tests.support.registry import Registry, RegistryProcess, digest, fails, running_registry, upload_messages
from tests.support.waiting import until

CONTENT = os.urandom((40 << 20) + 17)  # several parts, and several blocks
SHA256 = digest(CONTENT)
WHOLE = api.StartUploadRequest(sha256=SHA256, size_bytes=len(CONTENT))

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs does, in its own thread
without_gcs = pytest.mark.skipif(not Gcs.is_installed, reason="needs gcsfs and gcp-storage-emulator")


@pytest.fixture(params=[S3, pytest.param(Gcs, marks=without_gcs)])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with request.param() as store:
        for name, value in store.environ.items():
            monkeypatch.setenv(name, value)
        yield store


@pytest.fixture
async def registry(tmp_path: Path, bucket: ObjectStore) -> AsyncIterator[Registry]:
    async with running_registry(tmp_path / "one", artifacts=bucket.location) as running:
        yield running


async def send(stub: RegistryServiceStub, content: bytes = CONTENT, *, offset: int = 0) -> None:
    await stub.UploadArtifact(iter(upload_messages(content, offset=offset)))


async def download(stub: RegistryServiceStub, sha256: str = SHA256, *, offset: int = 0) -> bytes:
    request = api.DownloadArtifactRequest(sha256=sha256, offset_bytes=offset)
    return b"".join([message.chunk async for message in stub.DownloadArtifact(request)])


async def test_content_is_one_object_from_upload_to_collection(registry: Registry, bucket: ObjectStore) -> None:
    await registry.create_model("digits")
    versions = [await registry.create_version("digits", content) for content in (CONTENT, b"small", CONTENT)]

    assert bucket.objects().keys() == {SHA256, digest(b"small")}
    assert all(path.startswith("bucket/models/") for path in bucket.objects().values())
    assert (registry.partials(), list((registry.artifacts / "verified").iterdir())) == (set(), [])
    for offset in (0, 1, 8 << 20, len(CONTENT) - 1, len(CONTENT)):
        assert await download(registry.stub, offset=offset) == CONTENT[offset:]
    assert await download(registry.stub, digest(b"small")) == b"small"

    for version in versions[:2]:
        await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=version.name))
    removed = await registry.collect(grace_s=0)

    assert [one.sha256 for one in removed] == [digest(b"small")]
    assert bucket.objects().keys() == {SHA256}


async def test_registries_with_one_bucket_need_no_folder_in_common(tmp_path: Path, bucket: ObjectStore) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    async with running_registry(tmp_path / "two", database_url=url, artifacts=bucket.location) as second:
        async with running_registry(tmp_path / "one", database_url=url, artifacts=bucket.location) as first:
            await send(first.stub)
            assert await download(second.stub) == CONTENT
        assert await download(second.stub) == CONTENT


async def test_a_folder_can_be_moved_into_a_bucket(tmp_path: Path, bucket: ObjectStore) -> None:
    async with running_registry(tmp_path) as before:
        await before.upload(b"weights")
        for path in before.places().values():
            bucket.files().pipe_file(f"bucket/models/{path.relative_to(before.artifacts)}", path.read_bytes())

    async with running_registry(tmp_path, artifacts=bucket.location) as registry:
        assert await download(registry.stub, digest(b"weights")) == b"weights"


async def test_what_a_bucket_damaged_or_lost_is_found_out_and_can_be_stored_again(
    registry: Registry, bucket: ObjectStore
) -> None:
    await send(registry.stub)
    path = bucket.objects()[SHA256]
    bucket.files().pipe_file(path, CONTENT[:-1] + b"!")

    await fails(download(registry.stub), StatusCode.DATA_LOSS, with_text=[SHA256])

    bucket.files().rm(path)
    await fails(download(registry.stub), StatusCode.NOT_FOUND)
    assert (await registry.stub.StartUpload(WHOLE)).committed_bytes == 0
    await send(registry.stub)
    assert await download(registry.stub) == CONTENT


async def test_a_bucket_that_is_away_fails_nobody_else_and_loses_nothing(
    registry: Registry, bucket: ObjectStore
) -> None:
    bucket.kill()

    await fails(send(registry.stub), StatusCode.UNAVAILABLE, with_text=[bucket.location.partition("/models")[0]])
    await registry.create_model("digits")

    bucket.start(with_bucket=False)
    await fails(send(registry.stub, offset=len(CONTENT)), StatusCode.UNAVAILABLE, with_text=["no bucket"])

    bucket.make_bucket()
    assert (await registry.stub.StartUpload(WHOLE)).committed_bytes == len(CONTENT)
    await send(registry.stub, offset=len(CONTENT))
    assert await download(registry.stub) == CONTENT


async def test_a_bucket_that_hangs_holds_nobody_else_up(registry: Registry, bucket: ObjectStore) -> None:
    bucket.pause()
    sending = asyncio.ensure_future(send(registry.stub))
    await until((registry.artifacts / "verified" / SHA256).exists)

    async with asyncio.timeout(10):
        await registry.create_model("digits")
        assert (await registry.stub.StartUpload(WHOLE)).committed_bytes == len(CONTENT)  # to be stored only
    assert not sending.done()

    sending.cancel()  # what was sent is stored all the same
    bucket.resume()
    await until(lambda: SHA256 in bucket.objects())
    await send(registry.stub, offset=len(CONTENT))
    assert await download(registry.stub) == CONTENT


async def test_deleting_waits_for_no_bucket(registry: Registry, bucket: ObjectStore) -> None:
    await registry.create_model("digits")
    await registry.create_version("digits")
    bucket.pause()

    async with asyncio.timeout(5):
        await registry.stub.DeleteModel(api.DeleteModelRequest(name="models/digits"))

    bucket.resume()
    await registry.collect(grace_s=0)
    assert bucket.objects() == {}


async def test_garbage_stays_known_until_the_bucket_is_back(registry: Registry, bucket: ObjectStore) -> None:
    await send(registry.stub, b"nobody's")
    bucket.kill()

    (failed,) = await registry.collect(grace_s=0)
    assert "bucket" in failed.failure

    bucket.start()
    (gone,) = await registry.collect()
    assert (gone.sha256, gone.failure) == (digest(b"nobody's"), "")
    assert await registry.collect(grace_s=0) == []


async def test_multipart_uploads_that_were_cut_off_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with S3() as bucket:
        for name, value in bucket.environ.items():
            monkeypatch.setenv(name, value)
        files = bucket.files()
        for key in ("models/ab/cut-off", "others/of-another-suite"):
            files.call_s3("create_multipart_upload", Bucket="bucket", Key=key)
        async with running_registry(tmp_path, artifacts=bucket.location):
            # Of which moto says that they are years old.
            await until(lambda: len(files.list_multipart_uploads("bucket")) == 1)
        (left,) = files.list_multipart_uploads("bucket")
        assert left["Key"] == "others/of-another-suite"


async def test_a_registry_killed_while_it_stores_goes_on_from_there(
    tmp_path: Path, bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", "DEBUG")
    staged = tmp_path / "artifacts" / "verified" / SHA256
    with RegistryProcess(tmp_path, ARTIFACTS=bucket.location) as process:
        async with grpc.aio.insecure_channel(process.address, CHANNEL_OPTIONS) as channel:
            stub = RegistryServiceStub(channel)
            await stub.CreateModel(api.CreateModelRequest(model_id="digits"), wait_for_ready=True)
            bucket.pause()
            sending = asyncio.ensure_future(send(stub))
            await until(staged.exists)
            process.kill()
            bucket.resume()
            await fails(sending, StatusCode.UNAVAILABLE)

            process.start()
            answer = await stub.StartUpload(WHOLE, wait_for_ready=True)
            assert answer.committed_bytes == len(CONTENT)
            await send(stub, offset=len(CONTENT))
            assert await download(stub) == CONTENT
        assert not staged.exists()
        code, stderr = await asyncio.to_thread(process.stop)
    assert (code, "Traceback" in stderr, SECRET in stderr) == (0, False, False)


async def test_a_registry_stops_in_time_while_it_stores(tmp_path: Path, bucket: ObjectStore) -> None:
    with RegistryProcess(tmp_path, ARTIFACTS=bucket.location) as process:
        async with grpc.aio.insecure_channel(process.address, CHANNEL_OPTIONS) as channel:
            stub = RegistryServiceStub(channel)
            await stub.CreateModel(api.CreateModelRequest(model_id="digits"), wait_for_ready=True)
            bucket.pause()
            sending = asyncio.ensure_future(send(stub))
            await until((tmp_path / "artifacts" / "verified" / SHA256).exists)
            code, stderr = await asyncio.to_thread(process.stop)
            assert (code, "Traceback" in stderr, SECRET in stderr) == (0, False, False)
            await fails(sending, StatusCode.UNAVAILABLE)


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("ftp://bucket/models", "gs://BUCKET/PREFIX"),
        ("s3://", "s3://BUCKET/PREFIX"),
        ("s3://bucket/models?versionId=1", "s3://BUCKET/PREFIX"),
        (f"s3://key:{SECRET}@bucket/models", "credentials"),
    ],
)
def test_a_place_that_is_none_is_a_clear_line(tmp_path: Path, location: str, text: str) -> None:
    with RegistryProcess(tmp_path, ARTIFACTS=location) as process:
        code, stderr = process.wait()

    complaint = "\n".join(line for line in stderr.splitlines() if not line.startswith("{"))
    assert (code, text in complaint, "Traceback" in stderr, SECRET in stderr) == (1, True, False, False)
