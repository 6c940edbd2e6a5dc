"""Models: creation, update, deletion, lists."""

from __future__ import annotations

import uuid

import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.support.registry import Registry, digest, fails


async def test_a_model_is_read_as_it_was_created(registry: Registry) -> None:
    wanted = pb.Model(description="näher \U0001f600", labels={"team": "vision"}, name="ignored", etag="ignored")

    created = (await registry.stub.CreateModel(api.CreateModelRequest(model_id="digits", model=wanted))).model

    assert (created.name, created.description, created.labels) == ("models/digits", wanted.description, wanted.labels)
    assert created.create_time.ToNanoseconds() == created.update_time.ToNanoseconds() == registry.clock.now_ns
    assert (await registry.stub.GetModel(api.GetModelRequest(name="models/digits"))).model == created


async def test_an_id_that_is_taken_is_refused(registry: Registry) -> None:
    await registry.create_model("digits")

    await fails(registry.stub.CreateModel(api.CreateModelRequest(model_id="digits")), StatusCode.ALREADY_EXISTS)


async def test_a_repeated_creation_answers_as_the_first_did(registry: Registry) -> None:
    request = api.CreateModelRequest(model_id="digits", request_id=str(uuid.uuid4()))
    first = await registry.stub.CreateModel(request)
    await registry.stub.UpdateModel(
        api.UpdateModelRequest(model=pb.Model(name="models/digits", description="changed since"))
    )

    assert await registry.stub.CreateModel(request) == first

    request.model_id = "letters"
    await fails(registry.stub.CreateModel(request), StatusCode.INVALID_ARGUMENT, with_text=["models/digits"])


async def test_a_request_may_be_repeated_for_a_day(registry: Registry) -> None:
    request = api.CreateModelRequest(model_id="digits", request_id=str(uuid.uuid4()))
    await registry.stub.CreateModel(request)
    registry.clock.turn(25 * 3600)

    async def repeat_for_ever() -> None:
        while True:
            await registry.stub.CreateModel(request)

    await fails(repeat_for_ever(), StatusCode.ALREADY_EXISTS)


@pytest.mark.parametrize(
    "request_",
    [
        api.CreateModelRequest(model_id=""),
        api.CreateModelRequest(model_id="-"),
        api.CreateModelRequest(model_id="a/b"),
        api.CreateModelRequest(model_id="a" * 65),
        api.CreateModelRequest(model_id="a\0b"),
        api.CreateModelRequest(model_id="a", request_id="no uuid"),
        api.CreateModelRequest(model_id="a", model=pb.Model(description="x" * 4097)),
        api.CreateModelRequest(model_id="a", model=pb.Model(description="x\0")),
        api.CreateModelRequest(model_id="a", model=pb.Model(labels={str(n): "" for n in range(65)})),
        api.CreateModelRequest(model_id="a", model=pb.Model(labels={"k" * 64: ""})),
        api.CreateModelRequest(model_id="a", model=pb.Model(labels={"k": "v" * 64})),
        api.CreateModelRequest(model_id="a", model=pb.Model(labels={"": "v"})),
    ],
    ids=lambda request: str(request)[:40],
)
async def test_a_model_that_breaks_a_limit_is_refused(registry: Registry, request_: api.CreateModelRequest) -> None:
    await fails(registry.stub.CreateModel(request_), StatusCode.INVALID_ARGUMENT, with_text=["got", "expected"])

    assert not (await registry.stub.ListModels(api.ListModelsRequest())).models


async def test_limits_are_met_exactly(registry: Registry) -> None:
    model = pb.Model(description="ü" * 4096, labels={f"{n:063}": "v" * 63 for n in range(64)})

    created = (await registry.stub.CreateModel(api.CreateModelRequest(model_id="a" * 64, model=model))).model

    assert created.labels == model.labels


async def test_an_update_takes_over_what_the_mask_names(registry: Registry) -> None:
    first = (
        await registry.stub.CreateModel(
            api.CreateModelRequest(model_id="digits", model=pb.Model(description="old", labels={"a": "1"}))
        )
    ).model
    registry.clock.turn(1)
    wanted = pb.Model(name=first.name, description="new", labels={"b": "2"}, etag=first.etag)
    request = api.UpdateModelRequest(model=wanted)
    request.update_mask.paths.append("description")

    second = (await registry.stub.UpdateModel(request)).model

    assert (second.description, second.labels) == ("new", {"a": "1"})
    assert second.etag != first.etag
    assert (second.create_time, second.update_time.ToNanoseconds()) == (first.create_time, registry.clock.now_ns)

    wanted.etag = second.etag
    third = (await registry.stub.UpdateModel(api.UpdateModelRequest(model=wanted))).model

    assert third.labels == {"b": "2"}


async def test_an_update_of_an_older_state_is_aborted(registry: Registry) -> None:
    first = await registry.create_model("digits")
    await registry.stub.UpdateModel(api.UpdateModelRequest(model=first))

    await fails(registry.stub.UpdateModel(api.UpdateModelRequest(model=first)), StatusCode.ABORTED)
    await fails(registry.stub.DeleteModel(api.DeleteModelRequest(name=first.name, etag=first.etag)), StatusCode.ABORTED)


async def test_an_unknown_path_in_a_mask_is_refused(registry: Registry) -> None:
    model = await registry.create_model("digits")
    request = api.UpdateModelRequest(model=model)
    request.update_mask.paths.append("create_time")

    await fails(registry.stub.UpdateModel(request), StatusCode.INVALID_ARGUMENT, with_text=["create_time", "labels"])


async def test_what_does_not_exist_is_not_found(registry: Registry) -> None:
    stub, name = registry.stub, "models/none"

    await fails(stub.GetModel(api.GetModelRequest(name=name)), StatusCode.NOT_FOUND, with_text=[name])
    await fails(stub.UpdateModel(api.UpdateModelRequest(model=pb.Model(name=name))), StatusCode.NOT_FOUND)
    await fails(stub.DeleteModel(api.DeleteModelRequest(name=name)), StatusCode.NOT_FOUND)
    await fails(stub.ListModelVersions(api.ListModelVersionsRequest(parent=name)), StatusCode.NOT_FOUND)
    await fails(stub.ListAliases(api.ListAliasesRequest(parent=name)), StatusCode.NOT_FOUND)
    await fails(stub.GetModel(api.GetModelRequest(name="none")), StatusCode.INVALID_ARGUMENT, with_text=["models/*"])


async def test_a_model_goes_with_its_versions_aliases_and_content(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")
    await registry.stub.SetAlias(
        api.SetAliasRequest(alias=pb.Alias(name="models/digits/aliases/best", version=version.name))
    )
    assert registry.stored() == {digest(b"weights")}

    await registry.stub.DeleteModel(api.DeleteModelRequest(name="models/digits"))

    assert not (await registry.stub.ListModelVersions(api.ListModelVersionsRequest(parent="models/-"))).model_versions
    assert not (await registry.stub.ListAliases(api.ListAliasesRequest(parent="models/-"))).aliases
    await registry.collect(grace_s=0)
    assert registry.stored() == set()


async def test_a_deployed_model_stays(registry: Registry) -> None:
    deployment = await registry.deploy("digits")

    await fails(
        registry.stub.DeleteModel(api.DeleteModelRequest(name="models/digits")),
        StatusCode.FAILED_PRECONDITION,
        with_text=[deployment.name],
    )


async def test_pages_hold_every_model_once_by_name(registry: Registry) -> None:
    ids = ["b", "B", "a-1", "a.1", "a_1", "a1", "Z", "0"]
    for model in ids:
        await registry.create_model(model)

    names, token = [], ""
    while True:
        page = await registry.stub.ListModels(api.ListModelsRequest(page_size=3, page_token=token))
        assert len(page.models) <= 3
        names += [model.name for model in page.models]
        if not (token := page.next_page_token):
            break

    assert names == [f"models/{model}" for model in sorted(ids)]


async def test_a_page_goes_on_after_what_was_deleted(registry: Registry) -> None:
    for model in "abcd":
        await registry.create_model(model)
    page = await registry.stub.ListModels(api.ListModelsRequest(page_size=2))
    await registry.stub.DeleteModel(api.DeleteModelRequest(name="models/b"))

    rest = await registry.stub.ListModels(api.ListModelsRequest(page_token=page.next_page_token))

    assert [model.name for model in rest.models] == ["models/c", "models/d"]


async def test_bad_pages_are_refused(registry: Registry) -> None:
    for model in "abc":
        await registry.create_model(model)
    token = (await registry.stub.ListModels(api.ListModelsRequest(page_size=1))).next_page_token

    for request in (
        api.ListModelsRequest(page_size=-1),
        api.ListModelsRequest(page_token="nonsense"),
        api.ListModelsRequest(page_token="ü"),
    ):
        await fails(registry.stub.ListModels(request), StatusCode.INVALID_ARGUMENT, with_text=["got", "expected"])
    call = registry.stub.ListDeployments(api.ListDeploymentsRequest(page_token=token))
    await fails(call, StatusCode.INVALID_ARGUMENT, with_text=["next_page_token"])
    assert len((await registry.stub.ListModels(api.ListModelsRequest(page_size=5000))).models) == 3
