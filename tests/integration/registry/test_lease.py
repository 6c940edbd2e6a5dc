"""Several registries on one database: one writes, the others follow, and nobody who calls knows which is which."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.common.errors import UnavailableError
from services.common.serving import CHANNEL_OPTIONS
from services.registry import models
from services.registry.adapters import heads
from services.registry.adapters.database import NOT_WRITER, Database
from services.registry.adapters.transaction import Transaction
from services.registry.domain.resources import Model
from services.registry.lease import Lease
from tests.support.postgresql import Postgresql
from tests.support.registry import NODE, Clock, RegistryProcess, digest, fails, running_registry, upload_messages
from tests.support.waiting import until

CONTENT = bytes(range(256)) * 10_000


def open_database(url: str) -> Database:
    return Database(url, clock=Clock(), changes_kept=10_000)


async def test_who_lost_the_right_to_write_and_does_not_know_writes_nothing(database_url: str) -> None:
    old, new = open_database(database_url), open_database(database_url)
    await old.migrate()
    first, second = Lease(old, address="a:1"), Lease(new, address="b:1")
    await first.begin()
    await second.begin()
    assert (first.is_writer, second.is_writer, second.writer) == (True, False, "a:1")
    await old.write(models.create_model, Model(id="before"), request_id="")

    assert await second._take_over(await new.head())

    for _ in range(2):
        with pytest.raises(UnavailableError) as refused:
            await old.write(models.create_model, Model(id="late"), request_id="")
        assert refused.value.reason == NOT_WRITER
    await new.write(models.create_model, Model(id="after"), request_id="")
    found = await old.read(lambda tx: [one.id for one in tx.select(Model)])
    assert (found, first.is_writer) == (["after", "before"], False)

    await first.release()  # what it doesn't have
    assert (await new.head()).writer == "b:1"
    await second.release()
    assert (await new.head()).writer == ""
    old.close()
    new.close()


async def test_of_two_that_take_over_at_once_one_does(database_url: str) -> None:
    databases = [open_database(database_url) for _ in range(4)]
    await databases[0].migrate()
    seen = await databases[0].head()

    terms = await asyncio.gather(*(one.contend(heads.take_over, seen=seen, address="a:1") for one in databases))

    assert sorted(terms) == [0, 0, 0, seen.term + 1]
    for one in databases:
        one.close()


async def unless_unavailable(call: Awaitable[Any]) -> Any:
    """The answer, or None where it may be asked for again."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() not in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
            raise
        return None


async def pause(process: RegistryProcess, url: str) -> None:
    """Stop a process, and not amid a transaction: SQLite lets nobody else write then."""
    while True:
        process.process.send_signal(signal.SIGSTOP)
        if not url.startswith("sqlite:///"):
            return
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0.2)
        with contextlib.closing(connection), contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
            return
        process.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.05)


@pytest.mark.postgresql
async def test_a_transaction_that_was_given_up_for_its_silence_is_not_written(postgresql: Postgresql) -> None:
    """As that of a process which was stopped in the middle of it."""

    def stand_still(tx: Transaction) -> None:
        models.create_model(tx, Model(id="late"), request_id="")
        tx.connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 50")
        time.sleep(0.5)
        tx.select(Model)

    with postgresql.database() as url:
        database = open_database(url)
        await database.migrate()
        with pytest.raises(UnavailableError):
            await database.write(stand_still)
        assert await database.read(lambda tx: tx.select(Model)) == []
        database.close()


@contextlib.asynccontextmanager
async def stub_of(process: RegistryProcess) -> AsyncIterator[RegistryServiceStub]:
    # A connection of its own: that of a channel before may be to a process that was killed, and not know it yet.
    options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(process.address, options) as channel:
        stub = RegistryServiceStub(channel)
        await stub.ListModels(api.ListModelsRequest(), wait_for_ready=True)
        yield stub


@contextlib.asynccontextmanager
async def two(home: Path, url: str) -> AsyncIterator[tuple[RegistryProcess, RegistryProcess]]:
    """The one that writes, and the other."""
    with RegistryProcess(home, DATABASE_URL=url) as writer:
        async with stub_of(writer):
            with RegistryProcess(home, DATABASE_URL=url) as reader:
                async with stub_of(reader):
                    yield writer, reader


async def test_a_reader_passes_on_what_it_can_not_answer(database_url: str, tmp_path: Path) -> None:
    async with (
        running_registry(tmp_path / "writer", database_url=database_url) as writer,
        running_registry(tmp_path / "reader", database_url=database_url) as reader,
    ):
        watch = reader.stub.WatchResources(api.WatchResourcesRequest())
        while not (await watch.read()).is_snapshot_end:
            pass
        await reader.create_model("digits")
        assert (await watch.read()).model.name == "models/digits"
        watch.cancel()
        await fails(reader.create_model("digits"), StatusCode.ALREADY_EXISTS, with_text=["models/digits exists"])

        await fails(
            reader.stub.UploadArtifact(iter(upload_messages(CONTENT, sha256=digest(b"other")))), StatusCode.DATA_LOSS
        )
        version = await reader.create_ready_version("digits", CONTENT)
        assert (writer.stored(), reader.stored()) == ({digest(CONTENT)}, set())
        download = reader.stub.DownloadArtifact(api.DownloadArtifactRequest(sha256=digest(CONTENT)))
        assert b"".join([message.chunk async for message in download]) == CONTENT
        await fails(
            aiter(reader.stub.DownloadArtifact(api.DownloadArtifactRequest(sha256=digest(b"other")))).__anext__(),
            StatusCode.NOT_FOUND,
        )

        await reader.stub.ReportNode(api.ReportNodeRequest(node=NODE))
        request = api.CreateDeploymentRequest(deployment_id="digits", deployment=pb.Deployment(versions=[version.name]))
        assert (await reader.stub.CreateDeployment(request)).deployment.placements[0].node == NODE
        listed = [await one.stub.ListNodes(api.ListNodesRequest()) for one in (writer, reader)]
        assert listed[0] == listed[1]
        assert [one.name for one in listed[0].nodes] == [NODE]


async def test_the_death_of_the_writer_loses_nothing_and_repeats_nothing(database_url: str, tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    is_over = False

    async def write(number: int, stub: RegistryServiceStub) -> None:
        """Create models, each until it is answered, as clients do."""
        for count in range(100_000):
            if is_over:
                return
            request = api.CreateModelRequest(model_id=f"m{number}-{count}", request_id=str(uuid.uuid4()))
            await until(lambda request=request: unless_unavailable(stub.CreateModel(request, timeout=10)))
            acknowledged.add(f"models/{request.model_id}")

    async with two(tmp_path, database_url) as (writer, reader), stub_of(reader) as stub:
        watch = stub.WatchResources(api.WatchResourcesRequest())
        while not (await watch.read()).is_snapshot_end:
            pass
        writing = asyncio.gather(*(write(number, stub) for number in range(3)))
        await until(lambda: len(acknowledged) >= 30)
        writer.kill()
        before = len(acknowledged)
        await until(lambda: len(acknowledged) >= before + 30)
        is_over = True
        await writing

        told: list[str] = []
        while len(told) < len(acknowledged):
            if name := (await watch.read()).model.name:  # else a sign of life
                told.append(name)
        assert sorted(told) == sorted(acknowledged)
        watch.cancel()
        writer.start()
        async with stub_of(writer) as returned:  # as one that follows
            await returned.CreateModel(api.CreateModelRequest(model_id="late"))
            assert (await stub.GetModel(api.GetModelRequest(name="models/late"))).model.name == "models/late"


async def test_a_writer_that_was_paused_writes_no_more(database_url: str, tmp_path: Path) -> None:
    async with two(tmp_path, database_url) as (writer, reader), stub_of(reader) as stub, stub_of(writer) as old:
        await stub.CreateModel(api.CreateModelRequest(model_id="before"))
        await pause(writer, database_url)
        late = [
            asyncio.ensure_future(old.CreateModel(api.CreateModelRequest(model_id=f"late-{number}"), timeout=60))
            for number in range(5)
        ]

        request = api.CreateModelRequest(model_id="after", request_id=str(uuid.uuid4()))
        await until(lambda: unless_unavailable(stub.CreateModel(request, timeout=1)))
        writer.process.send_signal(signal.SIGCONT)

        await asyncio.gather(*map(unless_unavailable, late))
        expected = {one.name for one in (await stub.ListModels(api.ListModelsRequest())).models}
        assert {"models/before", "models/after"} <= expected
        assert {one.name for one in (await old.ListModels(api.ListModelsRequest())).models} == expected


async def test_a_registry_that_was_killed_writes_again_at_once(tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process:
        async with stub_of(process):
            process.kill()
        process.start()
        async with stub_of(process) as stub:
            await stub.CreateModel(api.CreateModelRequest(model_id="digits"))


async def test_one_that_stops_hands_over_at_once(tmp_path: Path) -> None:
    async with two(tmp_path, f"sqlite:///{tmp_path}/test.db") as (writer, reader), stub_of(reader) as stub:
        assert (await asyncio.to_thread(writer.stop))[0] == 0

        request = api.CreateModelRequest(model_id="after", request_id=str(uuid.uuid4()))
        await until(lambda: unless_unavailable(stub.CreateModel(request)))
