"""``python -m tests.verdicts``: repeat trials with other seeds than the tests', and print one table."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from services.monitor.domain.blocks import NS
from services.monitor.domain.verdict.decision import Decision
from services.monitor.domain.verdict.guardrails import Guardrail, Kind
from services.monitor.domain.verdict.question import Question
from tests.support.verdict_traffic import QUESTION, START_S, Trial, Version, question, run

ALPHA = 0.01
ERRORS_ONLY = (Guardrail(Kind.ERROR_RATE, 0.01),)
CLASSES = (0.1,) * 10
HEAD = "| traffic | promoted | rolled back | held | requests, mean | p95 | floor | times it | seconds, median |"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A trial by its seed, for so many seconds; ``floor``: the least requests of the candidate that theory allows."""

    name: str
    trial: Callable[[int], Trial]
    seconds: int = 600
    asked: Question = QUESTION
    floor: float | None = None
    goes_on: bool = False


def floor(rate: float, before: float, *, alpha: float) -> float:
    """Wald's: nats that decide over those that one request of the candidate gives where the baseline is known."""
    divergence = rate * math.log(rate / before) + (1 - rate) * math.log((1 - rate) / (1 - before))
    return math.log(1 / alpha) / divergence


def alike() -> Iterator[Scenario]:
    """The candidate is the baseline: no rollback, however long one looks."""
    fifth = question(weight=0.2)
    yield Scenario("single requests, 10 %", lambda seed: Trial(seed=seed), goes_on=True)
    half = question(weight=0.5)
    yield Scenario("single requests, half", lambda seed: Trial(weight=0.5, seed=seed), asked=half, goes_on=True)
    yield Scenario(
        "waves, bursts and common slowness",
        lambda seed: Trial(rate=lambda t: 20 + 300 * (t % 20 < 5), load=lambda t: 1 + 3 * (t % 20 < 5), seed=seed),
        goes_on=True,
    )
    yield Scenario(
        "common outages",
        lambda seed: Trial(*(Version(error_rate=lambda t: 0.4 if t % 40 < 3 else 0.001) for _ in range(2)), seed=seed),
        goes_on=True,
    )
    yield Scenario(
        "batches of 16 that fail and are slow as a whole",
        lambda seed: Trial(
            *(Version(batch=16, fails_whole=True, error_rate=lambda _: 0.01, spread=0.3) for _ in range(2)),
            weight=0.2,
            seed=seed,
        ),
        asked=fifth,
        goes_on=True,
    )
    yield Scenario(
        "one noisy host that both share, with pauses",
        lambda seed: Trial(weight=0.5, shared_noise=0.3, pauses=(0.05, 0.15), seed=seed),
        asked=half,
        goes_on=True,
    )
    for noise in (0.03, 0.1, 0.3):
        yield Scenario(
            f"hosts with noise of their own, {noise:.0%}",
            lambda seed, noise=noise: Trial(
                Version(host_noise=noise, spread=0.1), Version(host_noise=noise, spread=0.1), seed=seed
            ),
            goes_on=True,
        )
    yield Scenario(
        "two requests a second",
        lambda seed: Trial(rate=lambda _: 2.0, weight=0.2, seed=seed),
        1_800,
        fifth,
        goes_on=True,
    )
    yield Scenario(
        "a classifier",
        lambda seed: Trial(*(Version(confidence=0.9, classes=CLASSES, nonfinite=0.0) for _ in range(2)), seed=seed),
        goes_on=True,
    )


def worse() -> Iterator[Scenario]:
    """The candidate is worse by more than its margin: a rollback, never a promotion."""
    one = question(weight=0.05, alpha=0.001, guardrails=ERRORS_ONLY, deadline_ns=(START_S + 7_200) * NS)
    for rate in (0.05, 0.01):
        yield Scenario(
            f"errors 0.1 % to {rate:.0%}, one guardrail at 1e-3, weight 5 %",
            lambda seed, rate=rate: Trial(
                Version(error_rate=lambda _: rate), weight=0.05, rate=lambda _: 60.0, seed=seed
            ),
            3_600,
            one,
            floor(rate, 0.001, alpha=0.001),
        )
    for rate in (0.05, 0.02):
        yield Scenario(
            f"errors 0.1 % to {rate:.0%}, all guardrails at 0.01, weight 10 %",
            lambda seed, rate=rate: Trial(Version(error_rate=lambda _: rate), seed=seed),
            floor=floor(rate, 0.001, alpha=ALPHA / len(QUESTION.guardrails)),
        )
    yield Scenario("every request fails", lambda seed: Trial(Version(error_rate=lambda _: 1.0), seed=seed))
    for slowdown in (1.25, 1.5, 2.0):
        yield Scenario(
            f"{slowdown:g} times as slow (lognormal, 0.5)",
            lambda seed, slowdown=slowdown: Trial(Version(slowdown=lambda _: slowdown), seed=seed),
        )
    yield Scenario("a tenth takes 20 times as long", lambda seed: Trial(Version(tail=(0.1, 20.0)), seed=seed))
    yield Scenario(
        "wrong weights: one class",
        lambda seed: Trial(
            Version(confidence=0.95, classes=(0.91,) + (0.01,) * 9),
            Version(confidence=0.95, classes=CLASSES),
            seed=seed,
        ),
    )
    yield Scenario(
        "wrong weights: confidence 0.95 to 0.5",
        lambda seed: Trial(
            Version(confidence=0.5, classes=CLASSES), Version(confidence=0.95, classes=CLASSES), seed=seed
        ),
    )
    yield Scenario(
        "good for 5 minutes, then 5 % of errors",
        lambda seed: Trial(Version(error_rate=lambda t: 0.001 if t < 300 else 0.05), seed=seed),
        goes_on=True,
    )


def at_the_margin() -> Iterator[Scenario]:
    """The candidate is worse by exactly the margin, and rolled back only beyond it: a promotion is a mistake."""
    lenient = Guardrail(Kind.ERROR_RATE, 0.01, tolerance=0.2)
    yield Scenario(
        "errors 0.1 % to 1.1 %, margin 1 point",
        lambda seed: Trial(Version(error_rate=lambda _: 0.011), seed=seed),
        asked=question(guardrails=(lenient,), alpha=0.1),
        goes_on=True,
    )
    latency = tuple(one for one in QUESTION.guardrails if one.kind is Kind.LATENCY)
    for noise in (0.0, 0.1):
        yield Scenario(
            f"1.25 times as slow, margin 5 ms of 20, hosts' noise {noise:.0%}",
            lambda seed, noise=noise: Trial(
                Version(slowdown=lambda _: 1.25, host_noise=noise, spread=0.3),
                Version(host_noise=noise, spread=0.3),
                seed=seed,
            ),
            asked=question(guardrails=latency, alpha=0.1),
            goes_on=True,
        )


PARTS = {"alike": alike, "worse": worse, "margin": at_the_margin}


def row(scenario: Scenario, repetitions: int, seed: int) -> str:
    outcomes = [
        run(scenario.trial(seed + number), scenario.seconds, asked=scenario.asked, goes_on=scenario.goes_on)
        for number in range(repetitions)
    ]
    made = [outcome.decisions for outcome in outcomes]
    counts = [
        sum(decision in decisions for decisions in made)
        for decision in (Decision.PROMOTE, Decision.ROLL_BACK, Decision.HOLD)
    ]
    decided = [outcome for outcome in outcomes if outcome.decisions]
    requests = np.array([outcome.requests for outcome in decided] or [0])
    seconds = np.array([outcome.seconds for outcome in decided] or [0])
    times = f"{requests.mean() / scenario.floor:.2f}" if scenario.floor else "–"
    least = f"{scenario.floor:.0f}" if scenario.floor else "–"
    made_text = " | ".join(map(str, counts))
    return (
        f"| {scenario.name} | {made_text} | {requests.mean():.0f} | {np.percentile(requests, 95):.0f}"
        f" | {least} | {times} | {np.median(seconds):.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=10_000)
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--part", choices=PARTS, help="only these")
    options = parser.parse_args()
    for title, scenarios in PARTS.items():
        if options.part not in (None, title):
            continue
        say(f"\n{title}, of {options.repetitions}:\n\n{HEAD}\n|{'---|' * 9}")
        for scenario in scenarios():
            if options.only in scenario.name:
                say(row(scenario, options.repetitions, options.seed))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
