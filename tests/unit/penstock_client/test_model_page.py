"""What ``penstock model show`` says of where a version runs."""

from __future__ import annotations

import io

from rich.console import Console

from penstock.cli.model import _page
from penstock.registry.v1 import resources_pb2 as pb

VERSION = pb.ModelVersion(name="models/m/versions/2", state=pb.ModelVersion.STATE_READY)


def shown(deployment: pb.Deployment) -> str:
    screen = io.StringIO()
    Console(file=screen, width=120, highlight=False).print(_page(VERSION, [], pb.TrustPolicy(), deployment))
    return screen.getvalue()


def instance(node: str, version: str, state: pb.InstanceStatus.State, reason: str = "") -> pb.InstanceStatus:
    return pb.InstanceStatus(node=f"nodes/{node}", version=f"models/m/versions/{version}", state=state, reason=reason)


def test_a_version_says_where_it_runs_and_why_it_doesn_t() -> None:
    text = shown(
        pb.Deployment(
            instances=[
                instance("full", "2", pb.InstanceStatus.STATE_UNAVAILABLE, "no room for 5 bytes"),
                instance("roomy", "2", pb.InstanceStatus.STATE_READY),
                instance("other", "1", pb.InstanceStatus.STATE_READY),
            ],
            placements=[
                pb.Placement(version="models/m/versions/2", replica=2, reason="no node has a backend"),
                pb.Placement(version="models/m/versions/1", replica=0, reason="of another version"),
            ],
        )
    )
    assert "full: unavailable, no room for 5 bytes" in text
    assert "roomy: ready" in text
    assert "no node: no node has a backend" in text
    assert "other" not in text


def test_one_that_isn_t_deployed_says_nothing_of_it() -> None:
    assert "runs on" not in shown(pb.Deployment())
