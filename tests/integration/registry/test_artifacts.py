"""Content: upload with resume and check, download, collection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common.errors import UnavailableError
from services.registry.adapters.upload_streams import UploadStreams
from tests.support.registry import Registry, digest, fails, upload_messages
from tests.support.waiting import until

CONTENT = os.urandom((5 << 20) + 17)
SHA256 = digest(CONTENT)


async def start(registry: Registry, content: bytes = CONTENT) -> int:
    request = api.StartUploadRequest(sha256=digest(content), size_bytes=len(content))
    return (await registry.stub.StartUpload(request)).committed_bytes


async def upload(registry: Registry, messages: list[api.UploadArtifactRequest]) -> pb.Artifact:
    return (await registry.stub.UploadArtifact(iter(messages))).artifact


async def download(registry: Registry, sha256: str = SHA256, offset: int = 0) -> list[api.DownloadArtifactResponse]:
    request = api.DownloadArtifactRequest(sha256=sha256, offset_bytes=offset)
    return [message async for message in registry.stub.DownloadArtifact(request)]


async def break_off(registry: Registry, messages: list[api.UploadArtifactRequest], *, held: int) -> None:
    """Send messages, see them arrive, then vanish without ending the stream."""
    call = registry.stub.UploadArtifact()
    for message in messages:
        await call.write(message)
    await until(lambda: partial_size(registry) >= held)
    call.cancel()


def partial_size(registry: Registry) -> int:
    path = registry.artifacts / "uploads" / SHA256
    return path.stat().st_size if path.exists() else 0


async def test_what_is_uploaded_can_be_downloaded_from_any_offset(registry: Registry) -> None:
    assert await start(registry) == 0

    artifact = await upload(registry, upload_messages(CONTENT))

    assert (artifact.sha256, artifact.size_bytes) == (SHA256, len(CONTENT))
    assert (registry.stored(), registry.partials()) == ({SHA256}, set())
    assert await start(registry) == len(CONTENT)
    for offset in (0, 1, 1 << 20, len(CONTENT) - 1, len(CONTENT)):
        messages = await download(registry, offset=offset)
        assert b"".join(message.chunk for message in messages) == CONTENT[offset:]
        assert messages[0].size_bytes == len(CONTENT)


async def test_a_broken_upload_goes_on_from_what_is_held(registry: Registry) -> None:
    messages = upload_messages(CONTENT)
    await break_off(registry, messages[:4], held=3 << 20)
    assert (registry.stored(), registry.partials()) == (set(), {SHA256})

    committed = await start(registry)
    assert committed == 3 << 20
    await upload(registry, upload_messages(CONTENT, offset=committed))

    assert b"".join(message.chunk for message in await download(registry)) == CONTENT
    assert registry.partials() == set()


async def test_an_upload_may_go_on_from_before_what_is_held(registry: Registry) -> None:
    await break_off(registry, upload_messages(CONTENT)[:4], held=3 << 20)

    await upload(registry, upload_messages(CONTENT, offset=1_000_001))

    assert registry.stored() == {SHA256}


async def test_a_stream_that_ends_early_can_go_on(registry: Registry) -> None:
    await fails(upload(registry, upload_messages(CONTENT)[:3]), StatusCode.ABORTED, with_text=["StartUpload"])

    assert registry.stored() == set()
    assert await start(registry) == 2 << 20


async def test_an_offset_beyond_what_is_held_is_aborted(registry: Registry) -> None:
    await fails(upload(registry, upload_messages(CONTENT, offset=5)), StatusCode.ABORTED, with_text=["at most 0"])

    assert registry.partials() == set()


async def test_corrupted_content_is_not_kept(registry: Registry) -> None:
    corrupted = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])

    call = upload(registry, upload_messages(corrupted, sha256=SHA256))
    await fails(call, StatusCode.DATA_LOSS, with_text=[SHA256, digest(corrupted)])

    assert (registry.stored(), registry.partials()) == (set(), set())
    assert await start(registry) == 0
    await upload(registry, upload_messages(CONTENT))


async def test_an_upload_resumed_on_corrupted_bytes_is_found_out(registry: Registry) -> None:
    await break_off(registry, upload_messages(bytes(3 << 20), sha256=SHA256, size=len(CONTENT)), held=3 << 20)

    call = upload(registry, upload_messages(CONTENT, offset=await start(registry)))
    await fails(call, StatusCode.DATA_LOSS)

    assert await start(registry) == 0


async def test_more_than_was_announced_is_refused(registry: Registry) -> None:
    messages = upload_messages(CONTENT, size=len(CONTENT) - 1)

    await fails(upload(registry, messages), StatusCode.INVALID_ARGUMENT, with_text=[str(len(CONTENT) - 1)])

    assert (registry.stored(), registry.partials()) == (set(), set())


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "empty stream"),
        ([api.UploadArtifactRequest(chunk=b"x")], "sha256"),
        ([api.UploadArtifactRequest(sha256="../" * 21 + "x", size_bytes=1)], "sha256"),
        ([api.UploadArtifactRequest(sha256=SHA256, size_bytes=-1)], "size_bytes"),
        ([api.UploadArtifactRequest(sha256=SHA256, chunk=b"x")], "expected 0 as announced"),
        ([api.UploadArtifactRequest(sha256=SHA256, size_bytes=2, offset_bytes=-1)], "offset_bytes"),
        ([api.UploadArtifactRequest(sha256=SHA256, size_bytes=2, offset_bytes=3)], "offset_bytes"),
        ([api.UploadArtifactRequest(sha256=SHA256, size_bytes=8 << 20, chunk=bytes((4 << 20) + 1))], "chunk"),
    ],
    ids=["empty", "no digest", "path", "negative size", "no size", "negative", "beyond", "large chunk"],
)
async def test_a_malformed_upload_is_refused(
    registry: Registry, messages: list[api.UploadArtifactRequest], text: str
) -> None:
    await fails(upload(registry, messages), StatusCode.INVALID_ARGUMENT, with_text=[text])

    assert registry.stored() == set()


async def test_a_client_that_falls_silent_is_let_go() -> None:
    async def silent() -> AsyncIterator[api.UploadArtifactRequest]:
        yield api.UploadArtifactRequest(chunk=b"first")
        await asyncio.Event().wait()

    streams, requests = UploadStreams(silence_s=0.01), silent()
    chunks = streams.read_chunks(await streams.read_first(requests), requests)

    assert await anext(chunks) == b"first"
    with pytest.raises(UnavailableError, match="StartUpload"):
        await anext(chunks)


async def test_what_can_not_fit_is_refused_at_once(registry: Registry) -> None:
    request = api.StartUploadRequest(sha256=SHA256, size_bytes=1 << 60)

    await fails(registry.stub.StartUpload(request), StatusCode.RESOURCE_EXHAUSTED, with_text=["disk full"])


async def test_known_content_has_its_size(registry: Registry) -> None:
    await upload(registry, upload_messages(CONTENT))

    request = api.StartUploadRequest(sha256=SHA256, size_bytes=5)
    await fails(registry.stub.StartUpload(request), StatusCode.INVALID_ARGUMENT, with_text=[str(len(CONTENT))])


async def test_concurrent_uploads_of_the_same_content_all_succeed(registry: Registry) -> None:
    done = await asyncio.gather(*(upload(registry, upload_messages(CONTENT)) for _ in range(6)))

    assert {artifact.sha256 for artifact in done} == {SHA256}
    assert b"".join(message.chunk for message in await download(registry)) == CONTENT
    assert (registry.stored(), registry.partials()) == ({SHA256}, set())


async def test_a_waiting_upload_takes_over_when_the_first_is_corrupted(registry: Registry) -> None:
    corrupted = upload_messages(bytes(len(CONTENT)), sha256=SHA256)
    first = registry.stub.UploadArtifact()
    await first.write(corrupted[0])
    await first.write(corrupted[1])
    await until(lambda: partial_size(registry) >= 1 << 20)
    second = asyncio.ensure_future(upload(registry, upload_messages(CONTENT)))
    for message in corrupted[2:]:
        await first.write(message)
    await first.done_writing()

    await fails(first, StatusCode.DATA_LOSS)
    await second

    assert b"".join(message.chunk for message in await download(registry)) == CONTENT


async def test_bad_downloads_are_refused(registry: Registry) -> None:
    await upload(registry, upload_messages(CONTENT))

    await fails(download(registry, digest(b"unknown")), StatusCode.NOT_FOUND)
    await fails(download(registry, "x"), StatusCode.INVALID_ARGUMENT)
    await fails(download(registry, offset=-1), StatusCode.INVALID_ARGUMENT)
    await fails(download(registry, offset=len(CONTENT) + 1), StatusCode.OUT_OF_RANGE)


async def test_a_download_goes_on_while_its_content_is_removed(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits", CONTENT)
    messages = aiter(registry.stub.DownloadArtifact(api.DownloadArtifactRequest(sha256=SHA256)))
    got = [(await anext(messages)).chunk]

    await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=version.name))
    await registry.collect(grace_s=0)

    assert registry.stored() == set()
    got += [message.chunk async for message in messages]
    assert b"".join(got) == CONTENT


async def test_content_goes_with_the_last_version_that_has_it(registry: Registry) -> None:
    await registry.create_model("digits")
    first, second = [await registry.create_version("digits") for _ in range(2)]

    registry.clock.turn(25 * 3600)

    await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=first.name))
    assert await registry.collect() == []
    await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=second.name))
    await until(lambda: not registry.stored())


async def test_content_that_was_promised_outlives_its_last_version(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits", CONTENT)
    assert await start(registry) == len(CONTENT)

    await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=version.name))

    again = pb.ModelVersion(files=[pb.Artifact(sha256=SHA256, path="model.onnx")])
    created = await registry.stub.CreateModelVersion(
        api.CreateModelVersionRequest(parent="models/digits", model_version=again)
    )
    assert created.model_version.files[0].size_bytes == len(CONTENT)


async def test_empty_content_is_content(registry: Registry) -> None:
    request = api.StartUploadRequest(sha256=digest(b""))
    assert (await registry.stub.StartUpload(request)).committed_bytes == 0
    artifact = await upload(registry, [api.UploadArtifactRequest(sha256=digest(b""))])
    assert (artifact.sha256, artifact.size_bytes) == (digest(b""), 0)
    (message,) = [one async for one in registry.stub.DownloadArtifact(api.DownloadArtifactRequest(sha256=digest(b"")))]
    assert message.chunk == b""


async def test_what_nobody_comes_back_for_is_removed_after_a_day(registry: Registry) -> None:
    await upload(registry, upload_messages(b"never made a version"))
    await break_off(registry, upload_messages(CONTENT)[:2], held=1 << 20)
    registry.clock.turn(23 * 3600)
    await asyncio.sleep(0.1)
    assert (len(registry.stored()), len(registry.partials())) == (1, 1)

    registry.clock.turn(2 * 3600)

    await until(lambda: not registry.stored() | registry.partials())


async def test_a_clock_that_is_set_back_does_not_stop_the_sweeping(registry: Registry) -> None:
    registry.clock.turn(30 * 24 * 3600)
    await asyncio.sleep(0.1)  # it sweeps
    registry.clock.turn(-30 * 24 * 3600)
    await upload(registry, upload_messages(b"never made a version"))

    registry.clock.turn(25 * 3600)

    await until(lambda: not registry.stored())


async def test_creation_and_deletion_never_part_a_version_from_its_content(registry: Registry) -> None:
    await registry.create_model("digits")

    async def churn(number: int) -> None:
        for _ in range(8):
            version = await registry.create_version("digits")
            if number % 2:
                await download(registry, digest(b"weights"))
            await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=version.name))

    await asyncio.gather(*(churn(number) for number in range(6)))
    await registry.collect(grace_s=0)

    assert registry.stored() == set()


async def test_an_upload_that_was_removed_meanwhile_is_aborted(registry: Registry) -> None:
    async def messages() -> AsyncIterator[api.UploadArtifactRequest]:
        first, *rest = upload_messages(CONTENT)
        yield first
        for message in rest:
            yield message
        await until(lambda: partial_size(registry) == len(CONTENT))
        (registry.artifacts / "uploads" / SHA256).unlink()

    await fails(registry.stub.UploadArtifact(messages()), StatusCode.ABORTED, with_text=["StartUpload"])
    assert await start(registry) == 0


async def test_content_that_can_not_be_removed_keeps_nothing_else(registry: Registry) -> None:
    await registry.create_model("digits")
    stuck, other = [await registry.create_version("digits", content) for content in (b"stuck", b"other")]
    path = registry.places()[digest(b"stuck")]
    path.unlink()
    path.mkdir()  # even root can't unlink it
    for version in (stuck, other):
        await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=version.name))

    failures = {one.sha256: one.failure for one in await registry.collect(grace_s=0)}

    assert failures == {digest(b"stuck"): "Is a directory", digest(b"other"): ""}
    assert registry.stored() == {digest(b"stuck")}
    path.rmdir()
    assert {one.failure for one in await registry.collect()} <= {""}  # or the registry was first
    assert await registry.collect() == []
