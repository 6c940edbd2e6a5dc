"""What a scenario is given: how to start what it measures, and how long to measure it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load import H2load
from benchmarks.measurement import Plan, Result, Subject, measure
from benchmarks.systems import PenstockSystem
from benchmarks.workloads import Workload


@dataclass(frozen=True, slots=True)
class Bench:
    """What every scenario gets. ``say`` shows a step; ``results`` gathers all that was measured."""

    plan: Plan
    client: H2load
    say: Callable[[str], None]
    idle_models: int = 200
    front: str = "native"
    clients: Sequence[int] = ()
    """How many ask at a time in comparisons by pairs; the workload's own numbers where there are none."""
    results: list[Result] = field(default_factory=list)

    def suite(self, *, settings: Mapping[str, str] | None = None, **options: Any) -> PenstockSystem:
        self.say("starting Penstock")
        return PenstockSystem(settings={"PENSTOCK_GATEWAY__FRONT": self.front, **(settings or {})}, **options)

    def deploy(self, suite: PenstockSystem, workload: Workload, **options: Any) -> None:
        self.say(f"deploying {workload.name}")
        suite.deploy(workload, **options)

    def measure(self, subjects: Sequence[Subject], **options: Any) -> list[Result]:
        results = measure(self.plan, subjects, client=self.client, say=self.say, **options)
        self.results.extend(results)
        return results
