"""Verdicts on simulated traffic, looked at after every second: right, in time, and never a pass without data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from services.monitor.domain.blocks import NS, Rejection
from services.monitor.domain.gathering import gather
from services.monitor.domain.outcomes import Outcome as RequestOutcome
from services.monitor.domain.phases import Phase
from services.monitor.domain.verdict.comparison import LONELY_S, MAX_PENDING_S, Comparison
from services.monitor.domain.verdict.decision import SILENCE_S, Decision
from services.monitor.domain.verdict.guardrails import SHADOW_DEFAULTS, Guardrail, Kind, Proof
from services.monitor.domain.verdict.question import Mode, Question
from services.monitor.domain.verdict.sample import ANY_ROWS, Pairs, Sample, Tally, sample_of
from tests.support.traffic import batch
from tests.support.verdict_traffic import QUESTION, START_S, Outcome, Trial, Version, feed, question, run

CLASSES = (0.1,) * 10
COLLAPSED = (0.91,) + (0.01,) * 9

ALIKE: dict[str, Callable[[int], Trial]] = {
    "single requests": lambda seed: Trial(seed=seed),
    "half the traffic": lambda seed: Trial(weight=0.5, seed=seed),
    "waves and bursts": lambda seed: Trial(
        rate=lambda t: 20 + 300 * (t % 20 < 5), load=lambda t: 1 + 3 * (t % 20 < 5), seed=seed
    ),
    "common outages": lambda seed: Trial(
        *(Version(error_rate=lambda t: 0.4 if t % 40 < 3 else 0.001) for _ in range(2)), seed=seed
    ),
    "batches that fail and are slow as a whole": lambda seed: Trial(
        Version(batch=4, fails_whole=True, error_rate=lambda _: 0.01, spread=0.1),
        Version(batch=16, fails_whole=True, error_rate=lambda _: 0.01, spread=0.1),
        seed=seed,
    ),
    "hosts with noise of their own": lambda seed: Trial(
        Version(host_noise=0.03, spread=0.1), Version(host_noise=0.03, spread=0.1), seed=seed
    ),
    "two requests a second": lambda seed: Trial(rate=lambda _: 2.0, weight=0.3, seed=seed),
}
HALF_AN_HOUR = question(deadline_ns=(START_S + 1_800) * NS)


@pytest.mark.parametrize("trial", ALIKE.values(), ids=ALIKE.keys())
def test_an_identical_version_is_not_rolled_back(trial: Callable[[int], Trial]) -> None:
    for seed in range(2):
        one = trial(seed)
        outcome = run(one, 200, asked=question(weight=one.weight), goes_on=True)
        assert set(outcome.decisions) <= {Decision.PROMOTE}, outcome.comparison.ruling.reason


def test_an_identical_version_is_promoted() -> None:
    for seed in range(2):
        outcome = run(Trial(seed=seed), 600)
        assert outcome.decision is Decision.PROMOTE, outcome.comparison.ruling.reason
        assert outcome.requests >= 500
        assert "not worse" in outcome.comparison.ruling.reason


WORSE = {
    "twice as slow": (Version(slowdown=lambda _: 2.0), "of total"),
    "half as slow again": (Version(slowdown=lambda _: 1.5), "of total"),
    "5 % of errors": (Version(error_rate=lambda _: 0.05), "errors"),
    "2 % of errors": (Version(error_rate=lambda _: 0.02), "errors"),
    "a tail": (Version(tail=(0.1, 20.0)), "p99 of total"),
    "a crash": (Version(error_rate=lambda _: 1.0), "errors"),
}


@pytest.mark.parametrize(("candidate", "named"), WORSE.values(), ids=WORSE.keys())
def test_a_worse_version_is_rolled_back_and_never_promoted(candidate: Version, named: str) -> None:
    for seed in range(3):
        outcome = run(Trial(candidate, seed=seed), 600)
        assert outcome.decision is Decision.ROLL_BACK
        assert outcome.comparison.is_over
        assert f"version 2 is worse: {named}" in outcome.comparison.ruling.reason or named != "errors"
        assert "allowed" in outcome.comparison.ruling.reason


def test_single_failing_requests_roll_back_within_about_twice_the_floor() -> None:
    """0.1 % to 5 %: the floor is 47 requests of the candidate for one test at 1e-3, as here."""
    asked = question(weight=0.05, alpha=0.001, guardrails=(Guardrail(Kind.ERROR_RATE, 0.01),))
    needed = [
        run(
            Trial(Version(error_rate=lambda _: 0.05), weight=0.05, rate=lambda _: 60.0, seed=seed), 900, asked=asked
        ).requests
        for seed in range(40)
    ]
    assert float(np.mean(needed)) <= 2.2 * 47


@pytest.mark.parametrize("slowdown", [1.3])
def test_a_version_worse_than_its_margin_is_not_promoted(slowdown: float) -> None:
    for seed in range(3):
        outcome = run(Trial(Version(slowdown=lambda _: slowdown), seed=seed), 600)
        assert Decision.PROMOTE not in outcome.decisions


def test_what_is_slower_within_the_margin_may_be_promoted() -> None:
    lenient = tuple(replace(one, margin=0.5) if one.kind is Kind.LATENCY else one for one in QUESTION.guardrails)
    outcome = run(Trial(Version(slowdown=lambda _: 1.1)), 900, asked=question(guardrails=lenient))
    assert outcome.decision is Decision.PROMOTE


def test_wrong_weights_of_a_classifier_are_found_within_two_hundred_requests() -> None:
    good = Version(confidence=0.95, classes=CLASSES)
    for bad in (Version(confidence=0.95, classes=COLLAPSED), Version(confidence=0.5, classes=CLASSES)):
        for seed in range(5):
            outcome = run(Trial(bad, good, rate=lambda _: 100.0, seed=seed), 300)
            assert outcome.decision is Decision.ROLL_BACK
            assert outcome.requests <= 200


def test_a_good_classifier_is_promoted_by_its_outputs_too() -> None:
    good = Version(confidence=0.95, classes=CLASSES, nonfinite=0.0)
    outcome = run(Trial(good, replace(good), rate=lambda _: 400.0), 600)
    assert outcome.decision is Decision.PROMOTE
    assert all(one.is_safe for one in outcome.comparison.standings if one.guardrail.proof is not Proof.NEVER)


def test_answers_that_are_not_finite_roll_back() -> None:
    outcome = run(Trial(Version(nonfinite=0.05), Version(nonfinite=0.0)), 300)
    assert outcome.decision is Decision.ROLL_BACK
    assert "not finite" in outcome.comparison.ruling.reason


def test_labels_decide_where_they_are_asked_for() -> None:
    guardrails = (Guardrail(Kind.ACCURACY, 0.02),)
    worse = run(Trial(Version(wrong=0.15), Version(wrong=0.05)), 600, asked=question(guardrails=guardrails))
    alike = run(Trial(Version(wrong=0.05), Version(wrong=0.05)), 900, asked=question(guardrails=guardrails))
    assert (worse.decision, alike.decision) == (Decision.ROLL_BACK, Decision.PROMOTE)


def test_outputs_that_only_the_baseline_has_block_a_promotion() -> None:
    outcome = run(Trial(Version(), Version(confidence=0.9)), 400)
    assert outcome.decision is Decision.CONTINUE
    assert "mean confidence: nothing comparable from the candidate yet" in outcome.comparison.ruling.reason


# The split


@pytest.mark.parametrize("seen", [0.2, 0.05])
def test_a_broken_split_invalidates_everything(seen: float) -> None:
    outcome = run(Trial(Version(error_rate=lambda _: 0.5), weight=seen), 300, asked=question(guardrails=_tolerant()))
    assert outcome.decision is Decision.HOLD
    assert outcome.comparison.is_over
    assert "the split is broken" in outcome.comparison.ruling.reason
    assert "expected 10.0%" in outcome.comparison.ruling.reason


def _tolerant() -> tuple[Guardrail, ...]:
    return (Guardrail(Kind.ERROR_RATE, 0.5, tolerance=0.5),)


def test_without_a_weight_the_split_is_not_checked() -> None:
    outcome = run(Trial(weight=0.3), 120, asked=question(weight=0.0), goes_on=True)
    assert not outcome.comparison.split.is_broken
    assert Decision.HOLD not in outcome.decisions


def test_only_drawn_requests_are_held_against_the_split_of_a_rollout() -> None:
    """Callers who name a version send three in ten to the candidate, beside the tenth that is drawn."""
    for drawn, is_broken in ((0.1, False), (0.05, True)):
        random = np.random.default_rng(1)
        comparison = Comparison(question(is_drawn=True, guardrails=_tolerant()))
        for at_s, candidate, baseline in Trial(weight=0.3).seconds(200):
            candidate.drawn = int(random.binomial(100, drawn))
            baseline.drawn = 100 - candidate.drawn
            feed(comparison, at_s, candidate, baseline)
            comparison.advance(START_S + at_s + 4)
        assert comparison.split.is_broken == is_broken


def test_a_question_of_the_release_before_is_still_read() -> None:
    stored = {name: value for name, value in QUESTION.dump().items() if name != "is_drawn"}
    assert Question.load(stored) == QUESTION


def test_a_mirrored_share_is_checked_in_shadow() -> None:
    asked = question(mode=Mode.SHADOW, weight=0.5, guardrails=_tolerant())
    assert run(Trial(weight=1 / 3), 200, asked=asked, goes_on=True).decision is not Decision.HOLD
    assert run(Trial(weight=0.5), 200, asked=asked).decision is Decision.HOLD


# No data


def test_no_data_is_never_a_pass() -> None:
    for weight in (0.0, 1.0):
        outcome = run(Trial(weight=weight), 200, goes_on=True)
        assert outcome.decisions == ()
        version = "2" if weight == 0.0 else "1"
        assert f"no requests of version {version} yet" in outcome.comparison.ruling.reason


def test_at_the_deadline_it_is_held() -> None:
    asked = question(deadline_ns=(START_S + 60) * NS)
    outcome = run(Trial(weight=0.0), 100, asked=asked)
    assert outcome.decision is Decision.HOLD
    assert "the time is up" in outcome.comparison.ruling.reason
    assert outcome.comparison.is_over


def test_a_version_that_falls_silent_is_named() -> None:
    comparison = Comparison(question(weight=0.0))
    for at_s, candidate, baseline in Trial().seconds(20 + SILENCE_S):
        feed(comparison, at_s, candidate if at_s < 10 else Sample(), baseline)
        comparison.advance(START_S + at_s + 4)
    assert comparison.ruling.decision is Decision.CONTINUE
    assert f"no requests of version 2 for {SILENCE_S + 20 + 3 - 9} s" in comparison.ruling.reason


def test_seconds_of_one_version_alone_are_given_up() -> None:
    comparison = Comparison(question(weight=0.0))
    for at_s, candidate, baseline in Trial().seconds(2 * LONELY_S + 20):
        feed(comparison, at_s, candidate if at_s < 5 else Sample(), baseline)
        comparison.advance(START_S + at_s + 4)
    assert comparison.progress.lonely_seconds >= 2 * LONELY_S
    assert comparison.progress.observations <= 6


def test_seconds_without_requests_of_a_version_are_joined_with_the_next() -> None:
    comparison = Comparison(question(weight=0.0))
    for at_s, candidate, baseline in Trial(rate=lambda _: 1.0, weight=0.2).seconds(200):
        feed(comparison, at_s, candidate, baseline)
        comparison.advance(START_S + at_s + 4)
    errors = comparison.standings[0]
    assert 20 <= comparison.progress.observations <= 50
    assert errors.candidate_count + errors.baseline_count > 150


# After a promotion, stops, restarts, clocks


def test_harm_after_a_promotion_rolls_back() -> None:
    candidate = Version(error_rate=lambda t: 0.001 if t < 400 else 0.2)
    outcome = run(Trial(candidate, rate=lambda _: 400.0), 600, goes_on=True)
    assert outcome.decisions == (Decision.PROMOTE, Decision.ROLL_BACK)


def test_what_is_stopped_is_held_and_over() -> None:
    comparison = run(Trial(), 20).comparison
    comparison.stop("stopped: called off")
    before = comparison.progress.candidate.requests
    feed(comparison, 30, Sample(requests=5), Sample(requests=5))
    assert not comparison.advance(START_S + 100)
    assert (comparison.ruling.decision, comparison.ruling.reason) == (Decision.HOLD, "stopped: called off")
    assert comparison.progress.candidate.requests == before


def test_a_restart_goes_on_and_counts_nothing_twice() -> None:
    comparison, seconds = Comparison(QUESTION), list(Trial().seconds(120))
    for at_s, candidate, baseline in seconds[:60]:
        feed(comparison, at_s, candidate, baseline)
        comparison.advance(START_S + at_s + 4)
    asked = Question.load(json.loads(json.dumps(comparison.question.dump())))
    again = Comparison.load(asked, json.loads(json.dumps(comparison.dump())), now_s=START_S + 70)

    assert asked == QUESTION
    assert again.evidence() == comparison.evidence()
    for at_s, candidate, baseline in seconds[:70]:
        feed(again, at_s, candidate, baseline)  # what comes again, and what came while it was away
    again.advance(START_S + 74)
    assert again.evidence() == comparison.evidence()
    assert again.progress.candidate.requests == comparison.progress.candidate.requests
    assert (again.progress.restarts, again.progress.unseen_seconds) == (1, 10)
    assert "the monitor was restarted, and 10 s were not seen" in again.ruling.reason

    for at_s, candidate, baseline in seconds[70:]:
        feed(again, at_s, candidate, baseline)
        again.advance(START_S + at_s + 4)
    assert again.progress.seconds == 110


def test_evidence_is_the_same_after_a_restart_at_every_second() -> None:
    """The state is all there is: a comparison that is stored and read every second comes to the same end."""
    versions = (
        Version(error_rate=lambda _: 0.01, confidence=0.9, classes=CLASSES, nonfinite=0.0),
        Version(confidence=0.9, classes=CLASSES, nonfinite=0.0),
    )
    one = other = Comparison(QUESTION)
    for at_s, candidate, baseline in Trial(*versions).seconds(40):
        for comparison in {id(one): one, id(other): other}.values():
            feed(comparison, at_s, candidate, baseline)
            comparison.advance(START_S + at_s + 4)
        if at_s % 5 == 4:
            other = Comparison.load(QUESTION, json.loads(json.dumps(other.dump())), now_s=START_S + at_s + 1)
    assert other.evidence() == one.evidence()


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    comparison = Comparison(QUESTION)
    for at_s, candidate, baseline in Trial().seconds(100):
        shown_s = at_s if at_s < 50 else at_s - 3_600
        comparison.advance(START_S + shown_s + 1)
        feed(comparison, shown_s, candidate, baseline)
    comparison.advance(START_S + 99 - 3_600 + 4)
    assert comparison.progress.late_samples == 0
    assert comparison.progress.seconds == 100


def test_what_comes_late_or_too_much_is_counted() -> None:
    comparison = Comparison(QUESTION)
    feed(comparison, 1, Sample(requests=1), Sample(requests=1))
    comparison.advance(START_S + 10)
    feed(comparison, 1, Sample(requests=1), Sample(requests=1))
    assert comparison.progress.late_samples == 2
    for at_s in range(20, 20 + 2 * MAX_PENDING_S):
        feed(comparison, at_s, Sample(requests=1), Sample(requests=1))
    assert comparison.progress.late_samples == 2 + 2 * MAX_PENDING_S


def test_what_was_before_the_start_does_not_count() -> None:
    comparison = Comparison(QUESTION)
    feed(comparison, -1, Sample(requests=9), Sample(requests=9))
    comparison.advance(START_S + 10)
    assert comparison.progress.candidate.requests == 0


# Pairs


def _shadow(*, candidate_failed: float = 0.001, differing: float = 0.0, seconds: int = 300) -> Outcome:
    random = np.random.default_rng(1)
    comparison = Comparison(question(mode=Mode.SHADOW, weight=1.0, guardrails=SHADOW_DEFAULTS))
    for at_s, candidate, baseline in Trial(weight=0.5).seconds(seconds):
        feed(comparison, at_s, candidate, replace(baseline, requests=candidate.requests))
        failed, differ = (int(random.binomial(100, share)) for share in (candidate_failed, differing))
        comparison.add_pairs(START_S + at_s, Pairs(100, failed, int(random.binomial(100, 0.001)), differ))
        comparison.advance(START_S + at_s + 4)
    return Outcome((), 0, 0, comparison)


def test_pairs_of_answers_decide_in_shadow() -> None:
    assert _shadow().decision is Decision.PROMOTE
    worse, other = _shadow(candidate_failed=0.05), _shadow(differing=0.2)
    assert (worse.decision, other.decision) == (Decision.ROLL_BACK, Decision.ROLL_BACK)
    assert "both versions had the same input" in worse.comparison.ruling.reason
    assert "unlike the baseline's" in other.comparison.ruling.reason


# Samples and questions


def test_a_block_becomes_a_sample() -> None:
    sent = [batch(status=[0, 0, 13, 3], wait_us=[100] * 4, total_us=[5_150] * 4), batch(status=[0])]
    refused = [Rejection("digits", "1", b"t" * 16, sent[0].end_ns, RequestOutcome.SERVER_ERROR, 7)]
    both = Sample()
    for block in gather(sent, refused, now_ns=sent[0].end_ns):
        both.add(sample_of(block))
    both.close()

    assert both.requests == 12
    assert both.outcomes == Tally(11, 8)
    assert both.largest == 7
    assert both.durations[Phase.TOTAL][ANY_ROWS].sum() == 3  # of those that succeeded
    assert {rows: int(counts.sum()) for rows, counts in both.durations[Phase.COMPUTE_INFER].items()} == {0: 1, 2: 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"candidate": "1"}, "expected two versions"),
        ({"weight": 1.0}, "got weight 1"),
        ({"weight": -0.1}, "got weight -0.1"),
        ({"weight": math.nan}, "got weight nan"),
        ({"mode": Mode.SHADOW, "weight": 1.5}, "got weight 1.5"),
        ({"deadline_ns": START_S * NS}, "got a deadline 0 s after the start"),
        ({"alpha": 0.5}, "got alpha 0.5"),
        ({"min_requests": 0}, "got at least 0 requests"),
        ({"guardrails": ()}, "got 0 guardrails"),
        ({"guardrails": (Guardrail(Kind.ERROR_RATE, 0.0),)}, "got a margin of 0 for error_rate"),
        ({"guardrails": (Guardrail(Kind.ERROR_RATE, math.nan),)}, "got a margin of nan for error_rate"),
        ({"guardrails": (Guardrail(Kind.ERROR_RATE, 0.01, tolerance=2.0),)}, "got a tolerance of 2"),
        ({"guardrails": (Guardrail(Kind.LATENCY, 0.1),)}, "expected a phase"),
        (
            {"guardrails": (Guardrail(Kind.LATENCY, 0.05, phase=Phase.TOTAL, level=0.99),)},
            "got a margin of 0.05 and 0 s for latency.total.p99",
        ),
        ({"guardrails": (Guardrail(Kind.ERROR_RATE, 0.01),) * 2}, "got guardrail error_rate twice"),
        ({"guardrails": (Guardrail(Kind.ACCURACY, 0.01),)}, "nobody can tell labels yet"),
        ({"guardrails": (Guardrail(Kind.ERROR_RATE, 0.01, proof=Proof.NEVER),)}, "always has to be proven"),
    ],
)
def test_what_can_not_be_asked_is_said(changes: dict[str, object], said: str) -> None:
    assert QUESTION.flaw() == ""
    assert said in question(**changes).flaw()
