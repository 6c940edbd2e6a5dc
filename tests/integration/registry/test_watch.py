"""The watch stream: snapshot, changes in order, resume."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common.watch import ResourceCache
from services.registry.adapters.database import Database
from services.registry.domain.changes import Mark
from services.registry.watch import Watch
from tests.support.registry import Clock, Registry, fails, running_registry


def watch(registry: Registry, revision: int = 0) -> AsyncIterator[api.WatchResourcesResponse]:
    return registry.stub.WatchResources(api.WatchResourcesRequest(revision=revision))  # type: ignore[no-any-return]


async def snapshot(registry: Registry) -> tuple[list[api.WatchResourcesResponse], int]:
    """The resources of a snapshot, and its revision."""
    messages = []
    async for message in watch(registry):
        if message.is_snapshot_end:
            return messages, message.revision
        messages.append(message)
    raise AssertionError("the stream ended")


async def changes(registry: Registry, revision: int, count: int) -> list[api.WatchResourcesResponse]:
    """The next changes after a revision."""
    found: list[api.WatchResourcesResponse] = []
    async for message in watch(registry, revision):
        if message.WhichOneof("resource"):
            found.append(message)
        if len(found) == count:
            return found
    raise AssertionError("the stream ended")


def name_of(message: api.WatchResourcesResponse) -> str:
    kind = message.WhichOneof("resource")
    assert kind is not None
    return str(getattr(message, kind).name)


async def test_an_empty_registry_has_an_empty_snapshot(registry: Registry) -> None:
    messages, revision = await snapshot(registry)

    assert messages == []
    assert revision > 0


async def test_a_snapshot_has_everything_parents_first(registry: Registry) -> None:
    deployment = await registry.deploy("digits")
    alias = pb.Alias(name="models/digits/aliases/best", version=deployment.versions[0])
    await registry.stub.SetAlias(api.SetAliasRequest(alias=alias))

    messages, revision = await snapshot(registry)

    assert [name_of(message) for message in messages] == [
        "models/digits",
        "models/digits/versions/1",
        "models/digits/aliases/best",
        "deployments/digits",
    ]
    assert {message.revision for message in messages} == {0}
    assert messages[-1].deployment == deployment
    assert messages[1].model_version.state == pb.ModelVersion.State.STATE_READY
    assert messages[0].model == (await registry.stub.GetModel(api.GetModelRequest(name="models/digits"))).model
    assert (await snapshot(registry))[1] == revision


async def test_every_change_is_told_in_order(registry: Registry) -> None:
    _, start = await snapshot(registry)
    deployment = await registry.deploy("digits")
    await registry.stub.DeleteDeployment(api.DeleteDeploymentRequest(name=deployment.name))
    await registry.stub.DeleteModel(api.DeleteModelRequest(name="models/digits"))

    told = await changes(registry, start, 8)

    assert [message.revision for message in told] == list(range(start + 1, start + 9))
    assert [(name_of(message), message.is_deleted) for message in told] == [
        ("models/digits", False),
        ("models/digits/versions/1", False),
        ("models/digits/versions/1", False),
        ("models/digits/versions/1", False),
        ("deployments/digits", False),
        ("deployments/digits", True),
        ("models/digits/versions/1", True),
        ("models/digits", True),
    ]
    states = pb.ModelVersion.State
    assert [message.model_version.state for message in told[1:4]] == [
        states.STATE_PENDING,
        states.STATE_VALIDATING,
        states.STATE_READY,
    ]
    assert told[-1].model == pb.Model(name="models/digits")


async def test_a_watch_goes_on_from_any_revision(registry: Registry) -> None:
    _, start = await snapshot(registry)
    for model in "abc":
        await registry.create_model(model)

    for seen in range(3):
        told = await changes(registry, start + seen, 3 - seen)
        assert [name_of(message) for message in told] == [f"models/{model}" for model in "abc"[seen:]]


async def test_a_refused_write_tells_nothing(registry: Registry) -> None:
    await registry.create_model("a")
    _, start = await snapshot(registry)

    await fails(registry.create_model("a"), StatusCode.ALREADY_EXISTS)
    await registry.create_model("b")

    (told,) = await changes(registry, start, 1)
    assert (told.revision, name_of(told)) == (start + 1, "models/b")


async def test_revisions_that_are_not_kept_or_never_were_are_out_of_range(tmp_path: Path, database_url: str) -> None:
    async with running_registry(tmp_path, database_url=database_url, change_log_length=100) as registry:
        _, start = await snapshot(registry)
        await registry.create_model("digits")
        update = api.UpdateModelRequest(model=pb.Model(name="models/digits"))
        for _ in range(220):
            await registry.stub.UpdateModel(update)
        _, end = await snapshot(registry)

        for revision in (1, start, end - 201, end + 1, 2**62):
            await fails(anext(aiter(watch(registry, revision))), StatusCode.OUT_OF_RANGE, with_text=["begin at 0"])
        await fails(anext(aiter(watch(registry, -1))), StatusCode.INVALID_ARGUMENT)
        assert [message.revision for message in await changes(registry, end - 100, 100)] == [*range(end - 99, end + 1)]


async def test_watchers_miss_and_repeat_nothing_while_many_write(registry: Registry) -> None:
    """Each watcher breaks off and resumes as it likes; what it has put together must be the log itself."""
    _, start = await snapshot(registry)
    writers, each = 8, 25
    total = writers * (each + 1)

    async def write(number: int) -> None:
        model = await registry.create_model(f"m{number}")
        for _ in range(each):
            await registry.stub.UpdateModel(api.UpdateModelRequest(model=pb.Model(name=model.name)))

    async def follow(break_after: int) -> list[int]:
        seen: list[int] = []
        while len(seen) < total:
            count = min(break_after, total - len(seen))
            seen += [message.revision for message in await changes(registry, start + len(seen), count)]
        return seen

    async def resync() -> None:
        for _ in range(5):
            messages, revision = await snapshot(registry)
            etags = {message.model.name: message.model.etag for message in messages}
            log = await changes(registry, start, revision - start) if revision > start else []
            assert etags == {message.model.name: message.model.etag for message in log}

    results = await asyncio.gather(
        *(follow(count) for count in (1000, 30, 7)), resync(), *(write(number) for number in range(writers))
    )

    for seen in results[:3]:
        assert seen == list(range(start + 1, start + total + 1))


async def test_a_watcher_that_does_not_read_holds_up_nobody(registry: Registry) -> None:
    await registry.create_model("digits")
    idle = registry.stub.WatchResources(api.WatchResourcesRequest())
    await idle.read()
    big = pb.Model(name="models/digits", description="x" * 4096)
    for _ in range(300):
        await registry.stub.UpdateModel(api.UpdateModelRequest(model=big))

    _, revision = await snapshot(registry)

    seen = 0
    while seen < revision:
        seen = (await idle.read()).revision
    idle.cancel()


async def test_the_common_follower_keeps_an_exact_copy(registry: Registry) -> None:
    changed = asyncio.Event()
    cache = ResourceCache(changed.set)
    following = asyncio.create_task(cache.follow(registry.stub))
    deployment = await registry.deploy("digits")
    while cache.deployments.get(deployment.name) != deployment:
        await changed.wait()
        changed.clear()

    await registry.stub.DeleteDeployment(api.DeleteDeploymentRequest(name=deployment.name))
    while cache.deployments:
        await changed.wait()
        changed.clear()

    assert set(cache.versions) == {"models/digits/versions/1"}
    following.cancel()


async def test_an_idle_watch_shows_signs_of_life(tmp_path: Path, database_url: str) -> None:
    database = Database(database_url, clock=Clock(), changes_kept=100)
    await database.migrate()
    events = Watch(database, sign_of_life_s=0.01).follow(0)

    end, *signs = [await anext(events) for _ in range(3)]

    assert isinstance(end, Mark)
    assert end.is_snapshot_end
    assert signs == [Mark(end.revision)] * 2
    await events.aclose()
    database.close()


@pytest.mark.parametrize("writer", [0, 1])
async def test_registries_on_one_database_tell_of_each_other(tmp_path: Path, database_url: str, writer: int) -> None:
    async with (
        running_registry(tmp_path, database_url=database_url) as one,
        running_registry(tmp_path, database_url=database_url) as two,
    ):
        registries = [one, two]
        _, start = await snapshot(registries[1 - writer])

        await registries[writer].create_model("digits")

        (told,) = await changes(registries[1 - writer], start, 1)
        assert name_of(told) == "models/digits"


async def test_registries_on_one_database_write_one_log(tmp_path: Path, database_url: str) -> None:
    async with (
        running_registry(tmp_path, database_url=database_url) as one,
        running_registry(tmp_path, database_url=database_url) as two,
    ):
        _, start = await snapshot(one)
        names = [f"m{number:02}" for number in range(40)]

        await asyncio.gather(*((one, two)[index % 2].create_model(name) for index, name in enumerate(names)))

        told = await changes(one, start, len(names))
        assert [message.revision for message in told] == list(range(start + 1, start + len(names) + 1))
        assert sorted(name_of(message) for message in told) == [f"models/{name}" for name in names]
        assert await changes(two, start, len(names)) == told
