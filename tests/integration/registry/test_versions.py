"""Versions: creation, validation, deletion."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from pathlib import Path

import pytest
from grpc import StatusCode

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from tests.support.registry import NODE, SIGNATURE, Registry, digest, fails

OTHER = "nodes/other"
STATE = pb.ModelVersion.State
MANIFEST = pb.Manifest(
    signature=pb.Signature(outputs=[pb.TensorSpec(name="y", datatype="FP32", shape=[-1, 2], labels=["cat", "dog"])]),
    options={"providers": "CPUExecutionProvider"},
    postprocessing=[pb.Step(operation="top_k", arguments={"k": 1, "tensors": ["y"]})],
)


async def claim(registry: Registry, node: str = NODE, *formats: str) -> str:
    """Name of the version that the node was given; empty when there was none."""
    request = api.ClaimValidationRequest(node=node, formats=formats)
    return (await registry.stub.ClaimValidation(request)).model_version.name


async def get(registry: Registry, name: str) -> pb.ModelVersion:
    return (await registry.stub.GetModelVersion(api.GetModelVersionRequest(name=name))).model_version


async def test_a_version_is_read_as_it_was_created(registry: Registry, tmp_path: Path) -> None:
    for path, content in (("variables/modèle.bin", b"weights"), ("graph", b"graph"), ("again", b"weights")):
        (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / path).write_bytes(content)
    await registry.create_model("digits")
    weights, graph = await registry.upload(b"weights"), await registry.upload(b"graph")
    wanted = pb.ModelVersion(
        files=[
            pb.Artifact(sha256=weights.sha256, path="variables/modèle.bin", size_bytes=1),
            pb.Artifact(sha256=graph.sha256, path="graph"),
            pb.Artifact(sha256=weights.sha256, path="again"),
        ],
        format="onnx",
        trusted=True,
        manifest=MANIFEST,
        metrics={"accuracy": 0.1 + 0.2},
        labels={"a": "b"},
        state=STATE.STATE_READY,
        signature=SIGNATURE,
    )

    created = (
        await registry.stub.CreateModelVersion(
            api.CreateModelVersionRequest(parent="models/digits", model_version=wanted)
        )
    ).model_version

    assert created.name == "models/digits/versions/1"
    assert [(one.path, one.size_bytes) for one in created.files] == [
        ("again", len(b"weights")),
        ("graph", len(b"graph")),
        ("variables/modèle.bin", len(b"weights")),
    ]
    command = ["sha256sum", *(one.path for one in created.files)]
    assert created.digest == digest(await asyncio.to_thread(subprocess.check_output, command, cwd=tmp_path / "model"))
    assert (created.format, created.trusted, created.labels) == (wanted.format, True, {"a": "b"})
    assert created.metrics == {"accuracy": 0.1 + 0.2}
    assert created.manifest == MANIFEST
    assert created.state == STATE.STATE_PENDING
    assert not created.HasField("signature")
    assert await get(registry, created.name) == created


async def test_numbers_are_never_given_twice(registry: Registry) -> None:
    await registry.create_model("digits")
    second = [await registry.create_version("digits") for _ in range(2)][1]
    await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=second.name))

    assert (await registry.create_version("digits")).name == "models/digits/versions/3"


async def test_a_repeated_creation_makes_one_version(registry: Registry) -> None:
    await registry.create_model("digits")
    request = api.CreateModelVersionRequest(
        parent="models/digits",
        model_version=pb.ModelVersion(files=[await registry.upload(b"weights")], metrics={"accuracy": 0.5}),
        request_id=str(uuid.uuid4()),
    )
    first = await registry.stub.CreateModelVersion(request)
    await claim(registry)

    assert await registry.stub.CreateModelVersion(request) == first
    versions = await registry.stub.ListModelVersions(api.ListModelVersionsRequest(parent="models/digits"))
    assert len(versions.model_versions) == 1


async def test_bad_versions_are_refused(registry: Registry) -> None:
    await registry.create_model("digits")
    artifact = await registry.upload(b"weights")

    async def expect(code: StatusCode, text: str, parent: str = "models/digits", **fields: object) -> None:
        version = pb.ModelVersion(**{"files": [artifact], **fields})  # type: ignore[arg-type]
        request = api.CreateModelVersionRequest(parent=parent, model_version=version)
        await fails(registry.stub.CreateModelVersion(request), code, with_text=[text])

    bad = StatusCode.INVALID_ARGUMENT
    await expect(bad, "sha256", files=[pb.Artifact(sha256="../../etc/passwd", path="a")])
    await expect(bad, "sha256", files=[pb.Artifact(sha256=artifact.sha256.upper(), path="a")])
    await expect(bad, "path", files=[artifact, pb.Artifact(sha256=artifact.sha256, path="../a")])
    await expect(bad, "0 files", files=[])
    await expect(bad, "format", format="no/format")
    await expect(bad, "manifest of", manifest=pb.Manifest(options={"a": "b" * 65_536}))
    await expect(bad, "finite", metrics={"loss": float("nan")})
    await expect(bad, "label", labels={"k" * 64: ""})
    await expect(bad, "models/*", parent="models/-/x")
    await expect(StatusCode.NOT_FOUND, "models/none", parent="models/none")
    await expect(
        StatusCode.FAILED_PRECONDITION, "b: ", files=[artifact, pb.Artifact(sha256=digest(b"other"), path="b")]
    )


async def test_versions_are_listed_newest_first(registry: Registry) -> None:
    for model in ("b", "a"):
        await registry.create_model(model)
        for _ in range(11):
            await registry.create_version(model)

    async def listed(parent: str) -> list[str]:
        names, token = [], ""
        while True:
            page = await registry.stub.ListModelVersions(
                api.ListModelVersionsRequest(parent=parent, page_size=4, page_token=token)
            )
            names += [version.name for version in page.model_versions]
            if not (token := page.next_page_token):
                return names

    of = {model: [f"models/{model}/versions/{number}" for number in range(11, 0, -1)] for model in "ab"}
    assert await listed("models/a") == of["a"]
    assert await listed("models/-") == of["a"] + of["b"]


async def test_a_claim_is_exclusive_until_its_lease_runs_out(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")

    assert await claim(registry) == version.name
    assert (await get(registry, version.name)).state == STATE.STATE_VALIDATING
    assert await claim(registry, OTHER) == ""
    registry.clock.turn(59)
    assert await claim(registry, OTHER) == ""
    registry.clock.turn(1)
    assert await claim(registry, OTHER) == version.name
    assert await claim(registry) == ""

    await fails(registry.report(version), StatusCode.ABORTED, with_text=[OTHER, NODE])
    assert (await registry.report(version, node=OTHER)).state == STATE.STATE_READY


async def test_a_node_gets_its_own_claim_back_first_with_a_fresh_lease(registry: Registry) -> None:
    await registry.create_model("digits")
    first, second = [await registry.create_version("digits") for _ in range(2)]
    assert await claim(registry) == first.name
    assert await claim(registry, OTHER) == second.name
    registry.clock.turn(50)

    assert await claim(registry) == first.name
    registry.clock.turn(50)
    assert await claim(registry) == first.name  # although the other's has lapsed, and is claimable
    await registry.report(first)
    assert await claim(registry) == second.name


async def test_an_agent_gets_only_what_it_can_load(registry: Registry) -> None:
    await registry.create_model("digits")
    artifact = await registry.upload(b"weights")
    for kind in ("torch_export", "onnx", ""):
        registry.clock.turn(1)
        await registry.stub.CreateModelVersion(
            api.CreateModelVersionRequest(
                parent="models/digits", model_version=pb.ModelVersion(files=[artifact], format=kind)
            )
        )

    assert await claim(registry, "nodes/a", "onnx") == "models/digits/versions/2"
    assert await claim(registry, "nodes/b", "onnx") == "models/digits/versions/3"
    assert await claim(registry, "nodes/c", "onnx") == ""
    assert await claim(registry, "nodes/c") == "models/digits/versions/1"

    report = pb.ValidationReport(libraries=["pillow"])
    request = api.ReportValidationRequest(
        name="models/digits/versions/2",
        node="nodes/a",
        format="onnx",
        validation_report=report,
        handed_back="no pillow",
    )
    await registry.stub.ReportValidation(request)
    assert await claim(registry, "nodes/a", "onnx") == ""
    both = api.ClaimValidationRequest(node="nodes/b", formats=["onnx"], libraries=["pillow", "tokenizers"])
    assert (await registry.stub.ClaimValidation(both)).model_version.name == "models/digits/versions/3", "its own first"
    both.node = "nodes/d"
    assert (await registry.stub.ClaimValidation(both)).model_version.name == "models/digits/versions/2"


async def test_a_good_version_has_what_the_agent_saw(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")
    await claim(registry)
    report = pb.ValidationReport(backend="onnxruntime", device="cpu")
    report.load_duration.FromMilliseconds(120)
    report.complete_time.FromSeconds(1_700_000_000)

    ready = (
        await registry.stub.ReportValidation(
            api.ReportValidationRequest(
                name=version.name,
                node=NODE,
                signature=SIGNATURE,
                format="onnx",
                validation_report=report,
            )
        )
    ).model_version

    assert (ready.state, ready.signature, ready.format) == (STATE.STATE_READY, SIGNATURE, "onnx")
    assert ready.validation_report.node == NODE
    assert ready.validation_report.load_duration.ToMilliseconds() == 120
    assert ready.validation_report.complete_time == report.complete_time
    assert await get(registry, version.name) == ready


async def test_a_rejected_version_says_why(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")
    await claim(registry)

    rejected = await registry.report(version, rejection="not an ONNX file\0" + "x" * 5000)

    assert rejected.state == STATE.STATE_REJECTED
    assert rejected.state_reason.startswith("not an ONNX file\N{REPLACEMENT CHARACTER}x")
    assert len(rejected.state_reason) == 4096
    assert await claim(registry) == ""


async def test_a_report_may_be_repeated_but_not_changed(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")
    await claim(registry)
    first = await registry.report(version)

    assert await registry.report(version) == first
    await fails(registry.report(version, rejection="changed my mind"), StatusCode.ABORTED)
    await fails(registry.report(version, node=OTHER), StatusCode.ABORTED)


async def test_a_report_without_a_claim_is_aborted(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")

    await fails(registry.report(version), StatusCode.ABORTED, with_text=["PENDING", "nobody"])


@pytest.mark.parametrize(
    "signature",
    [
        None,
        pb.Signature(inputs=SIGNATURE.inputs),
        pb.Signature(outputs=[pb.TensorSpec(name="y", datatype="FLOAT")]),
        pb.Signature(outputs=[pb.TensorSpec(name="", datatype="FP32")]),
        pb.Signature(outputs=[pb.TensorSpec(name="y", datatype="FP32", shape=[-2])]),
        pb.Signature(outputs=[*SIGNATURE.outputs, *SIGNATURE.outputs]),
        pb.Signature(outputs=SIGNATURE.outputs, max_batch_size=-1),
        pb.Signature(outputs=SIGNATURE.outputs, batchable=True, decoupled=True),
    ],
    ids=["none", "no output", "datatype", "no name", "shape", "twice", "batch", "decoupled"],
)
async def test_an_unusable_signature_is_refused(registry: Registry, signature: pb.Signature | None) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")
    await claim(registry)
    request = api.ReportValidationRequest(name=version.name, node=NODE, signature=signature)

    await fails(registry.stub.ReportValidation(request), StatusCode.INVALID_ARGUMENT, with_text=["expected"])

    assert (await get(registry, version.name)).state == STATE.STATE_VALIDATING


async def test_nonsense_times_are_refused(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")
    await claim(registry)
    request = api.ReportValidationRequest(name=version.name, node=NODE, signature=SIGNATURE)
    request.validation_report.complete_time.seconds = 2**62

    await fails(registry.stub.ReportValidation(request), StatusCode.INVALID_ARGUMENT)


async def test_a_version_that_is_named_stays(registry: Registry) -> None:
    deployment = await registry.deploy("digits")
    first = deployment.versions[0]
    second = (await registry.create_version("digits")).name
    alias = pb.Alias(name="models/digits/aliases/best", version=second)
    await registry.stub.SetAlias(api.SetAliasRequest(alias=alias))

    for name, guard in ((first, deployment.name), (second, alias.name)):
        await fails(
            registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=name)),
            StatusCode.FAILED_PRECONDITION,
            with_text=[guard],
        )

    await registry.stub.DeleteAlias(api.DeleteAliasRequest(name=alias.name))
    await registry.stub.DeleteModelVersion(api.DeleteModelVersionRequest(name=second))
    await fails(registry.stub.GetModelVersion(api.GetModelVersionRequest(name=second)), StatusCode.NOT_FOUND)


async def test_the_deletion_of_an_older_state_is_aborted(registry: Registry) -> None:
    await registry.create_model("digits")
    version = await registry.create_version("digits")
    await claim(registry)

    request = api.DeleteModelVersionRequest(name=version.name, etag=version.etag)
    await fails(registry.stub.DeleteModelVersion(request), StatusCode.ABORTED)
    request.etag = (await get(registry, version.name)).etag
    await registry.stub.DeleteModelVersion(request)


@pytest.mark.parametrize(
    "name", ["models/digits/versions/0", "models/digits/versions/best", "models/digits/versions/01"]
)
async def test_a_version_is_a_whole_number(registry: Registry, name: str) -> None:
    call = registry.stub.GetModelVersion(api.GetModelVersionRequest(name=name))

    await fails(call, StatusCode.INVALID_ARGUMENT, with_text=["whole number"])


async def test_who_has_no_room_for_a_version_hands_it_back_and_isn_t_given_it_again(registry: Registry) -> None:
    await registry.create_model("digits")
    first, second = [(await registry.create_version("digits", content)).name for content in (b"large", b"small")]
    assert await claim(registry) == first
    report = api.ReportValidationRequest(name=first, node=NODE, handed_back="no room for 5 bytes")
    await registry.stub.ReportValidation(report)

    without = api.ClaimValidationRequest(node=NODE, excluded_versions=[first])
    assert (await registry.stub.ClaimValidation(without)).model_version.name == second
    waiting = await get(registry, first)
    assert (waiting.state, waiting.state_reason) == (STATE.STATE_PENDING, "no room for 5 bytes")
    assert await claim(registry, OTHER) == first
    malformed = api.ClaimValidationRequest(node=NODE, excluded_versions=["x"])
    await fails(registry.stub.ClaimValidation(malformed), StatusCode.INVALID_ARGUMENT, with_text=["'x'"])
