"""Resources as messages, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.common.errors import InvalidArgumentError
from services.registry.adapters import codec
from services.registry.domain.changes import Change, Mark
from services.registry.domain.resources import (
    Alias,
    Artifact,
    BatchingConfig,
    Deployment,
    InstanceState,
    InstanceStatus,
    Model,
    ModelVersion,
    ProbeOutcome,
    QueueConfig,
    Slo,
    VersionState,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
INSTANTS = st.integers(1, 2**62)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def created(draw: st.DrawFn, kind: type[Any], **fields: st.SearchStrategy[Any]) -> Any:
    """Any resource as it may be after its creation."""
    now = draw(INSTANTS)
    return kind(
        **{name: draw(values) for name, values in fields.items()},
        etag=draw(IDS),
        create_time_ns=now,
        update_time_ns=now,
    )


MODELS = created(Model, id=IDS, description=TEXT, labels=LABELS)
VERSIONS = created(
    ModelVersion,
    model=IDS,
    number=st.integers(1, 999_999_999),
    files=st.lists(st.builds(Artifact, st.just("0" * 64), st.integers(0, 2**63 - 1), TEXT), max_size=3).map(tuple),
    format=st.sampled_from(["", "onnx"]),
    trusted=st.booleans(),
    metrics=st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=3),
    labels=LABELS,
)
INSTANCES = st.builds(
    InstanceStatus,
    instance=TEXT,
    version=TEXT,
    node=TEXT,
    state=st.sampled_from(InstanceState),
    reason=TEXT,
    progress=st.floats(0, 1),
    device=TEXT,
    pid=INT32,
    restarts=INT32,
    update_time_ns=INSTANTS,
)
DEPLOYMENTS = created(
    Deployment,
    model=IDS,
    versions=st.lists(TEXT, max_size=3).map(tuple),
    replicas=INT32,
    batching=st.builds(BatchingConfig, INT32, INT64),
    queue=st.builds(QueueConfig, INT32, INT64, INT32, INT32, INT32),
    slo=st.builds(Slo, st.floats(0, 1), st.floats(0, 3_600), st.floats(0, 1), INT32),
    instances=st.lists(INSTANCES, max_size=3).map(tuple),
)


@given(st.one_of(MODELS, VERSIONS, DEPLOYMENTS))
def test_a_created_resource_survives_the_change_log(resource: Any) -> None:
    assert codec.decode(type(resource), codec.encode(resource)) == resource


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (VersionState, pb.ModelVersion.State, "STATE_"),
        (ProbeOutcome, pb.Probe.Outcome, "OUTCOME_"),
        (InstanceState, pb.InstanceStatus.State, "STATE_"),
    ],
)
def test_enumerations_have_the_numbers_of_the_api(ours: Any, theirs: Any, prefix: str) -> None:
    named = {prefix + one.name: int(one) for one in ours}

    assert {name: number for name, number in theirs.items() if number or name in named} == named


def test_what_a_deleted_resource_leaves_is_its_name() -> None:
    alias = Alias(model="m", id="best", version=1, update_time_ns=5, etag="e")

    event = codec.event_to_pb(Change(7, "alias", codec.encode_deleted(alias), is_deleted=True))

    assert (event.revision, event.is_deleted) == (7, True)
    assert event.alias == pb.Alias(name="models/m/aliases/best")


def test_a_mark_carries_no_resource() -> None:
    event = codec.event_to_pb(Mark(7, is_snapshot_end=True))

    assert (event.revision, event.is_snapshot_end, event.WhichOneof("resource")) == (7, True, None)


@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (-1, 0), (10**10, 0), (0, -1), (0, 2**31 - 1)])
def test_an_instant_that_can_not_be_kept_is_refused(seconds: int, nanos: int) -> None:
    status = pb.InstanceStatus(instance="a", state=pb.InstanceStatus.State.STATE_READY)
    status.update_time.seconds, status.update_time.nanos = seconds, nanos

    with pytest.raises(InvalidArgumentError, match="instant"):
        codec.report_from_pb(api.ReportNodeRequest(node="nodes/a", instances=[status]))
