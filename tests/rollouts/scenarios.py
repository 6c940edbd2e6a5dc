"""What is rolled out, on what traffic: a trial by its seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from services.monitor.domain.verdict.guardrails import SPLIT_DEFAULTS
from tests.support.verdict_traffic import Trial, Version

ALPHA, STEPS = 0.01, 3
"""As plans have them by default."""
_CLASSES = (0.1,) * 10
_GOOD = {"confidence": 0.95, "classes": _CLASSES, "nonfinite": 0.0}


@dataclass(frozen=True, slots=True)
class Scenario:
    """``seconds``: after so many nobody waits any more. ``floor``: the least requests of the candidate, on average,
    that a test which knows the baseline's rate needs.
    """

    name: str
    trial: Callable[[int], Trial]
    is_alike: bool
    seconds: int = 3_600
    floor: float | None = None


def floor(rate: float, before: float) -> float:
    """Wald's: nats that roll a step of a rollout back, over those that a request of the candidate gives."""
    divergence = rate * math.log(rate / before) + (1 - rate) * math.log((1 - rate) / (1 - before))
    return math.log(len(SPLIT_DEFAULTS) * STEPS / ALPHA) / divergence


def _both(**behaviour: object) -> tuple[Version, Version]:
    return Version(**behaviour), Version(**behaviour)  # type: ignore[arg-type]


ALIKE = (
    Scenario("identical", lambda seed: Trial(seed=seed), True),
    Scenario("identical, a classifier", lambda seed: Trial(*_both(**_GOOD), seed=seed), True),
    Scenario(
        "identical, on one host that is noisy (30 %) and pauses (0.15 s, each 20 s)",
        lambda seed: Trial(shared_noise=0.3, pauses=(0.05, 0.15), seed=seed),
        True,
    ),
    Scenario(
        "identical, each host with noise of its own, 10 % for seconds",
        lambda seed: Trial(*_both(host_noise=0.1), seed=seed),
        True,
    ),
    Scenario(
        "identical, each host with noise of its own, 30 % for seconds",
        lambda seed: Trial(*_both(host_noise=0.3, spread=0.1), seed=seed),
        True,
    ),
    Scenario(
        "identical, batches of 16 that are slow as a whole",
        lambda seed: Trial(*_both(batch=16, spread=0.3), seed=seed),
        True,
    ),
    Scenario("identical, 20 requests a second", lambda seed: Trial(rate=lambda _: 20.0, seed=seed), True),
)
WORSE = (
    Scenario(
        "wrong weights: mostly one class",
        lambda seed: Trial(
            Version(confidence=0.95, classes=(0.91,) + (0.01,) * 9),
            Version(confidence=0.95, classes=_CLASSES),
            seed=seed,
        ),
        False,
    ),
    Scenario(
        "wrong weights: confidence 0.95 to 0.5",
        lambda seed: Trial(
            Version(confidence=0.5, classes=_CLASSES), Version(confidence=0.95, classes=_CLASSES), seed=seed
        ),
        False,
    ),
    *(
        Scenario(
            f"errors 0.1 % to {rate:.3g}".replace("0.01", "1 %").replace("0.05", "5 %"),
            lambda seed, rate=rate: Trial(Version(error_rate=lambda _: rate), seed=seed),
            False,
            floor=floor(rate, 0.001),
        )
        for rate in (0.05, 0.01)
    ),
    Scenario(
        "errors 0.1 % to 1.1 %",
        lambda seed: Trial(Version(error_rate=lambda _: 0.011), seed=seed),
        False,
        floor=floor(0.011, 0.001),
    ),
    Scenario("every request fails", lambda seed: Trial(Version(error_rate=lambda _: 1.0), seed=seed), False),
    Scenario("twice as slow", lambda seed: Trial(Version(slowdown=lambda _: 2.0), seed=seed), False),
)
SCENARIOS = (*ALIKE, *WORSE)
