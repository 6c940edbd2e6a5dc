"""The follower's side of WatchResources; tests/integration/registry has the stream itself."""

from __future__ import annotations

import pytest

from penstock.registry.v1.registry_service_pb2 import WatchResourcesRequest, WatchResourcesResponse
from penstock.registry.v1.resources_pb2 import Alias, Deployment, Model, ModelVersion
from services.common.watch import ResourceCache


class Registry:
    """A cache and the registry that it follows, message by message."""

    def __init__(self) -> None:
        self.changes = 0
        self.cache = ResourceCache(self._count)
        self.asked: list[int] = []

    def _count(self) -> None:
        self.changes += 1

    async def connect(self, *messages: WatchResourcesResponse) -> None:
        """One stream, from the call to its end."""
        await self.cache._follow_once(Stub(self.asked, messages))  # type: ignore[arg-type]


class Stub:
    """The registry's stub as far as the cache uses it."""

    def __init__(self, asked: list[int], messages: tuple[WatchResourcesResponse, ...]) -> None:
        self._asked, self._messages = asked, list(messages)

    def WatchResources(self, request: WatchResourcesRequest) -> Stub:
        self._asked.append(request.revision)
        return self

    async def read(self) -> WatchResourcesResponse | object:
        from grpc.aio import EOF

        return self._messages.pop(0) if self._messages else EOF

    def cancel(self) -> None:
        self._messages.clear()


def model(name: str, *, revision: int = 0, description: str = "", is_deleted: bool = False) -> WatchResourcesResponse:
    resource = Model(name=f"models/{name}", description=description)
    return WatchResourcesResponse(revision=revision, model=resource, is_deleted=is_deleted)


def snapshot_end(revision: int) -> WatchResourcesResponse:
    return WatchResourcesResponse(revision=revision, is_snapshot_end=True)


@pytest.fixture
def registry() -> Registry:
    return Registry()


async def test_a_snapshot_is_told_of_once_when_it_is_complete(registry: Registry) -> None:
    await registry.connect(model("a"), model("b"))
    assert (registry.cache.is_complete, registry.changes) == (False, 0)

    await registry.connect(model("a"), model("b"), snapshot_end(7))

    assert registry.cache.is_complete
    assert registry.changes == 1
    assert list(registry.cache.models) == ["models/a", "models/b"]
    assert registry.asked == [0, 0]


async def test_every_kind_of_resource_has_its_table(registry: Registry) -> None:
    await registry.connect(
        model("a"),
        WatchResourcesResponse(model_version=ModelVersion(name="models/a/versions/1")),
        WatchResourcesResponse(alias=Alias(name="models/a/aliases/best")),
        WatchResourcesResponse(deployment=Deployment(name="deployments/a", replicas=2)),
        snapshot_end(4),
    )

    cache = registry.cache
    assert list(cache.versions) == ["models/a/versions/1"]
    assert list(cache.aliases) == ["models/a/aliases/best"]
    assert cache.deployments["deployments/a"].replicas == 2


async def test_changes_after_the_snapshot_are_told_of_one_by_one(registry: Registry) -> None:
    await registry.connect(
        model("a"),
        snapshot_end(1),
        model("a", revision=2, description="new"),
        model("b", revision=3),
        model("a", revision=4, is_deleted=True),
    )

    assert registry.changes == 4
    assert list(registry.cache.models) == ["models/b"]


async def test_a_stream_resumes_after_the_last_revision_seen(registry: Registry) -> None:
    await registry.connect(model("a"), snapshot_end(5))
    await registry.connect(model("b", revision=9))
    await registry.connect(model("b", revision=10, is_deleted=True))

    assert registry.asked == [0, 5, 9]
    assert list(registry.cache.models) == ["models/a"]
    assert registry.changes == 3


async def test_a_sign_of_life_changes_nothing_and_brings_the_revision(registry: Registry) -> None:
    await registry.connect(model("a"), snapshot_end(5), WatchResourcesResponse(revision=8), WatchResourcesResponse())
    await registry.connect()

    assert registry.changes == 1
    assert registry.asked == [0, 8]


async def test_the_deletion_of_something_unknown_is_no_error(registry: Registry) -> None:
    await registry.connect(snapshot_end(1), model("never-seen", revision=2, is_deleted=True))

    assert registry.cache.models == {}


async def test_a_second_snapshot_removes_what_is_gone_and_only_at_its_end(registry: Registry) -> None:
    await registry.connect(model("stays"), model("goes"), snapshot_end(5))
    registry.cache._revision = 0  # what `follow` does when the registry answers OUT_OF_RANGE

    await registry.connect(model("stays", description="new"))
    assert set(registry.cache.models) == {"models/stays", "models/goes"}
    await registry.connect(model("stays", description="new"), model("comes"), snapshot_end(9))

    assert set(registry.cache.models) == {"models/stays", "models/comes"}
    assert registry.cache.models["models/stays"].description == "new"


async def test_a_snapshot_cut_off_serves_on_and_is_asked_for_again(registry: Registry) -> None:
    await registry.connect(model("a"))
    await registry.connect(model("b"), snapshot_end(3))

    assert registry.asked == [0, 0]
    assert set(registry.cache.models) == {"models/b"}
