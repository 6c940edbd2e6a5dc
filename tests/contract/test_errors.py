"""One error tree, one status table, one boundary: every error reaches a real caller as it was meant."""

from __future__ import annotations

import asyncio
import importlib
import logging
import pkgutil
import re
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import services
from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import (
    RegistryServiceServicer,
    RegistryServiceStub,
    add_RegistryServiceServicer_to_server,
)
from services.common import boundary, errors, status

SECRET = "the password is hunter2"


def tree(root: type[errors.PenstockError]) -> Iterator[type[errors.PenstockError]]:
    for child in root.__subclasses__():
        yield child
        yield from tree(child)


ERRORS = list(dict.fromkeys(tree(errors.PenstockError)))


class Failing(RegistryServiceServicer):
    """A servicer whose rpcs of every shape raise ``error``, the streaming one after its first message."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.waiting = asyncio.Event()
        self.was_cancelled = asyncio.Event()

    async def GetModel(self, request: pb.GetModelRequest, context: object) -> pb.GetModelResponse:
        assert self.error is not None
        raise self.error

    async def UploadArtifact(self, requests: AsyncIterator[object], context: object) -> pb.UploadArtifactResponse:
        assert self.error is not None
        async for _ in requests:
            raise self.error
        raise AssertionError("nothing was sent")

    async def WatchResources(
        self, request: pb.WatchResourcesRequest, context: object
    ) -> AsyncIterator[pb.WatchResourcesResponse]:
        yield pb.WatchResourcesResponse(revision=1)
        if self.error is not None:
            raise self.error
        await self._wait()

    async def ListModels(self, request: pb.ListModelsRequest, context: object) -> pb.ListModelsResponse:
        await self._wait()
        raise AssertionError("unreachable")

    async def _wait(self) -> None:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise


@pytest.fixture
async def failing() -> AsyncIterator[tuple[Failing, RegistryServiceStub]]:
    server = grpc.aio.server()
    servicer = boundary.translated(Failing())
    add_RegistryServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, RegistryServiceStub(channel)
    await server.stop(None)


async def call(stub: RegistryServiceStub, shape: str) -> grpc.aio.AioRpcError:
    """Make a call of this shape; return the status it ended with."""
    try:
        if shape == "unary":
            await stub.GetModel(pb.GetModelRequest())
        elif shape == "client stream":
            await stub.UploadArtifact(iter([pb.UploadArtifactRequest()]))
        else:
            async for _ in stub.WatchResources(pb.WatchResourcesRequest()):
                pass
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call succeeded")


SHAPES = ["unary", "client stream", "server stream"]


def test_every_error_of_every_service_has_a_code() -> None:
    for module in pkgutil.walk_packages(services.__path__, "services."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)

    assert {error.__qualname__ for error in (errors.PenstockError, *tree(errors.PenstockError))} == {
        error.__qualname__ for error in status.CODES
    }


def test_the_base_of_all_errors_is_internal() -> None:
    error = errors.PenstockError("odd")

    assert (status.code_of(error), status.http_status_of(error)) == (grpc.StatusCode.INTERNAL, 500)


def test_reasons_are_upper_snake_case_and_differ() -> None:
    reasons = [error.reason for error in ERRORS]

    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", reason) for reason in reasons)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^[│ ]*[├└]── (\w+)", errors.__doc__ or "", re.MULTILINE)

    assert drawn == [error.__name__ for error in ERRORS if error.__module__ == errors.__name__]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_survives_the_way_over_its_code(error: type[errors.PenstockError]) -> None:
    code = status.code_of(error("got this"))

    back = status.error_from_code(code.value[0], "got this", reason="WHY")

    assert type(back) is error
    assert (back.message, back.reason) == ("got this", "WHY")


@pytest.mark.parametrize("code", [0, 2, 7, 16, 99])
def test_a_code_without_an_error_becomes_internal(code: int) -> None:
    back = status.error_from_code(code, "odd", reason="")

    assert type(back) is errors.InternalError
    assert back.reason == "INTERNAL"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
async def test_an_error_ends_a_call_with_its_code_and_details(
    error: type[errors.PenstockError], shape: str, failing: tuple[Failing, RegistryServiceStub]
) -> None:
    servicer, stub = failing
    servicer.error = error("got 3, expected 4", model="digits")

    ended = await call(stub, shape)

    assert ended.code() is status.CODES[error]
    assert ended.details() == "got 3, expected 4"
    rich = rpc_status.from_call(ended)
    assert rich is not None
    info = error_details_pb2.ErrorInfo()
    assert rich.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (error.reason, "penstock.dev", {"model": "digits"})


@pytest.mark.parametrize("text", ["a", "é", "\N{GRINNING FACE}"])
async def test_a_message_of_any_length_reaches_the_caller(
    text: str, failing: tuple[Failing, RegistryServiceStub]
) -> None:
    """gRPC answers RESOURCE_EXHAUSTED instead of a status that is too long for its headers."""
    servicer, stub = failing
    servicer.error = errors.NotFoundError(text * 20_000)

    ended = await call(stub, "unary")

    assert ended.code() is grpc.StatusCode.NOT_FOUND
    assert (ended.details() or "").startswith(text * 400)


async def test_a_reason_of_its_own_reaches_the_caller(failing: tuple[Failing, RegistryServiceStub]) -> None:
    servicer, stub = failing
    servicer.error = errors.UnavailableError("the queue is full", reason="QUEUE_FULL")

    rich = rpc_status.from_call(await call(stub, "unary"))

    info = error_details_pb2.ErrorInfo()
    assert rich is not None
    assert rich.details[0].Unpack(info)
    assert info.reason == "QUEUE_FULL"


async def test_when_to_come_again_reaches_the_caller(failing: tuple[Failing, RegistryServiceStub]) -> None:
    servicer, stub = failing
    servicer.error = errors.UnavailableError("the queue is full", retry_after_s=7)

    ended = await call(stub, "unary")

    rich, retry = rpc_status.from_call(ended), error_details_pb2.RetryInfo()
    assert rich is not None
    assert rich.details[1].Unpack(retry)
    assert (retry.retry_delay.seconds, dict(ended.trailing_metadata())["retry-after"]) == (7, "7")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("error", [ValueError(SECRET), KeyError(SECRET), OSError(2, SECRET)], ids=repr)
async def test_an_unexpected_error_is_logged_and_hidden_behind_an_id(
    error: Exception, shape: str, failing: tuple[Failing, RegistryServiceStub], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, stub = failing
    servicer.error = error

    with caplog.at_level(logging.ERROR):
        ended = await call(stub, shape)

    assert ended.code() is grpc.StatusCode.INTERNAL
    found = re.fullmatch(r"internal error, logged under id ([0-9a-f]{16})", ended.details() or "")
    assert found is not None
    (record,) = [record for record in caplog.records if record.name == boundary.__name__]
    assert found[1] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert not any(SECRET in str(value) for value in ended.trailing_metadata())


@pytest.mark.parametrize("shape", ["unary", "server stream"])
async def test_cancellation_passes_through(
    shape: str, failing: tuple[Failing, RegistryServiceStub], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, stub = failing
    running = (
        stub.ListModels(pb.ListModelsRequest()) if shape == "unary" else stub.WatchResources(pb.WatchResourcesRequest())
    )
    if shape == "server stream":
        await running.read()
    await asyncio.wait_for(servicer.waiting.wait(), 5)

    running.cancel()

    await asyncio.wait_for(servicer.was_cancelled.wait(), 5)
    assert not caplog.records


def test_messages_about_absent_meaning_are_fixed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        first, second = (boundary.status_of(RuntimeError(SECRET)) for _ in range(2))

    assert SECRET not in first.message
    assert first.message != second.message
    assert not first.details


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.NotFoundError, 404),
        (errors.InternalError, 500),
        (errors.UnimplementedError, 501),
        (errors.UnavailableError, 503),
        (errors.DeadlineExceededError, 504),
        (errors.AlreadyExistsError, 400),
        (errors.InvalidArgumentError, 400),
        (errors.OutOfRangeError, 400),
    ],
)
def test_http_follows_triton(error: type[errors.PenstockError], expected: int) -> None:
    assert status.http_status_of(error("x")) == expected
