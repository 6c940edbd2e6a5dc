"""The stages by name."""

from __future__ import annotations

from tests.chaos.stage import Stage
from tests.chaos.stages.fleet import FleetStage
from tests.chaos.stages.suite import SuiteStage
from tests.chaos.stages.topologies import ClusterStage, SentinelStage

STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (SuiteStage, FleetStage, SentinelStage, ClusterStage)}
