"""Aliases: creation, moves, deletion, lists."""

from __future__ import annotations

from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.support.registry import Registry, fails

NAME = "models/digits/aliases/production"


async def set_alias(registry: Registry, version: str, *, name: str = NAME, etag: str = "") -> pb.Alias:
    request = api.SetAliasRequest(alias=pb.Alias(name=name, version=version, etag=etag))
    return (await registry.stub.SetAlias(request)).alias


async def test_an_alias_moves(registry: Registry) -> None:
    await registry.create_model("digits")
    first, second = [(await registry.create_version("digits")).name for _ in range(2)]

    created = await set_alias(registry, first)
    registry.clock.turn(1)
    moved = await set_alias(registry, second, etag=created.etag)

    assert (created.version, moved.version) == (first, second)
    assert moved.update_time.ToNanoseconds() == registry.clock.now_ns
    await fails(set_alias(registry, first, etag=created.etag), StatusCode.ABORTED)
    assert (await registry.stub.ListAliases(api.ListAliasesRequest(parent="models/digits"))).aliases == [moved]


async def test_a_deletion_checks_the_etag(registry: Registry) -> None:
    await registry.create_model("digits")
    version = (await registry.create_version("digits")).name
    alias = await set_alias(registry, version)

    await fails(registry.stub.DeleteAlias(api.DeleteAliasRequest(name=NAME, etag="0")), StatusCode.ABORTED)
    await registry.stub.DeleteAlias(api.DeleteAliasRequest(name=NAME, etag=alias.etag))

    await fails(registry.stub.DeleteAlias(api.DeleteAliasRequest(name=NAME)), StatusCode.NOT_FOUND)
    await fails(set_alias(registry, version, etag=alias.etag), StatusCode.ABORTED)


async def test_bad_aliases_are_refused(registry: Registry) -> None:
    for model in ("digits", "letters"):
        await registry.create_model(model)
    version = (await registry.create_version("digits")).name
    other = (await registry.create_version("letters")).name

    for name in ("models/digits/aliases/1", "models/digits/aliases/", "models/digits/aliases/a b", "production"):
        await fails(set_alias(registry, version, name=name), StatusCode.INVALID_ARGUMENT, with_text=["expected"])
    await fails(set_alias(registry, other), StatusCode.INVALID_ARGUMENT, with_text=["models/digits"])
    await fails(set_alias(registry, "models/digits/versions/9"), StatusCode.NOT_FOUND)


async def test_aliases_of_all_models_are_listed_by_name(registry: Registry) -> None:
    wanted = []
    for model in ("a", "b"):
        await registry.create_model(model)
        version = (await registry.create_version(model)).name
        for alias in ("y", "X"):
            await set_alias(registry, version, name=f"models/{model}/aliases/{alias}")
        wanted += [f"models/{model}/aliases/X", f"models/{model}/aliases/y"]

    names, token = [], ""
    while True:
        page = await registry.stub.ListAliases(api.ListAliasesRequest(parent="models/-", page_size=1, page_token=token))
        names += [alias.name for alias in page.aliases]
        if not (token := page.next_page_token):
            break

    assert names == wanted
