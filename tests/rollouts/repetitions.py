"""Rollouts that are repeated, and the table of how they ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tests.rollouts.scenarios import SCENARIOS, Scenario
from tests.rollouts.simulation import Outcome, Simulation

FEW = 200
"""Requests within which wrong weights are to be rolled back."""
_HEAD = (
    "rollout", "promoted", "rolled back", "held", "requests, mean", "median", "p95", f"within {FEW}", "floor",
    "seconds, median", "p95",
)  # fmt: skip


def is_wrong(scenario: Scenario, outcome: Outcome) -> bool:
    """An identical version that was rolled back, or a worse one that was promoted."""
    return outcome.is_rolled_back if scenario.is_alike else outcome.is_promoted


def once(job: tuple[int, int]) -> tuple[int, Outcome]:
    """Carry a rollout out, by its number among the scenarios and its seed."""
    number, seed = job
    scenario = SCENARIOS[number]
    return number, Simulation(scenario.trial(seed)).run(scenario.seconds)


def table(found: Sequence[tuple[Scenario, Sequence[Outcome]]]) -> Iterator[str]:
    """Lines of Markdown."""
    yield f"| {' | '.join(_HEAD)} |"
    yield "|---|" + "---:|" * (len(_HEAD) - 1)
    for scenario, outcomes in found:
        promoted, back = (sum(getattr(one, name) for one in outcomes) for name in ("is_promoted", "is_rolled_back"))
        requests = np.array([one.requests for one in outcomes])
        seconds = np.array([one.seconds for one in outcomes])
        least = "–" if scenario.floor is None else f"{scenario.floor:.0f}"
        cells = (
            scenario.name, promoted, back, len(outcomes) - promoted - back, f"{requests.mean():,.0f}",
            f"{np.median(requests):,.0f}", f"{np.percentile(requests, 95):,.0f}", f"{(requests <= FEW).mean():.0%}",
            least, f"{np.median(seconds):,.0f}", f"{np.percentile(seconds, 95):,.0f}",
        )  # fmt: skip
        yield f"| {' | '.join(map(str, cells))} |"
