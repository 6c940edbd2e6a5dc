"""Evidence exceeds its bound no more often than it says, however often one looks; and it grows as fast as it can."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from services.monitor.domain.verdict.betting import Difference, Limit, Race, grid_with

COPIES = 1_500
"""Each cell of a race is a repetition of its own."""
REPETITIONS = 400
Arms = Iterator[tuple[np.ndarray, float, np.ndarray, float]]


def singles(rate: float, *, seconds: int = 300, units: tuple[int, int] = (5, 95)) -> Arms:
    random = np.random.default_rng(1)
    for _ in range(seconds):
        yield (
            random.binomial(units[0], rate, COPIES).astype(float), units[0],
            random.binomial(units[1], rate, COPIES).astype(float), units[1],
        )  # fmt: skip


def outages(*, seconds: int = 300) -> Arms:
    """Both arms fail together, now and then, and the load moves."""
    random = np.random.default_rng(2)
    for second in range(seconds):
        rates = np.where(random.random(COPIES) < 0.1, random.random(COPIES), 0.005)
        units = 2 + second % 7, 20 + second % 50
        yield (
            random.binomial(units[0], rates).astype(float), units[0],
            random.binomial(units[1], rates).astype(float), units[1],
        )  # fmt: skip


def whole_batches(*, seconds: int = 300) -> Arms:
    """Batches fail as a whole; the candidate's are smaller. Requests are counted by the largest batch."""
    random = np.random.default_rng(3)
    for _ in range(seconds):
        sizes = [np.array([1, 2, 4]), np.array([16, 16, 3, 1])]
        sums = [(random.random((COPIES, len(one))) < 0.02) @ one / one.max() for one in sizes]
        yield sums[0], sizes[0].sum() / sizes[0].max(), sums[1], sizes[1].sum() / sizes[1].max()


def seconds_that_fail_as_one(*, seconds: int = 300) -> Arms:
    """Whatever happens in a second happens to all that an arm has in it: one unit."""
    random = np.random.default_rng(4)
    for _ in range(seconds):
        yield random.beta(0.1, 0.9, COPIES), 1.0, random.beta(0.1, 0.9, COPIES), 1.0


def better(*, seconds: int = 300) -> Arms:
    for first, n1, second, n2 in singles(0.05, seconds=seconds):
        yield first * 0.9, n1, second, n2


@pytest.mark.parametrize(
    "traffic",
    [
        *(lambda: singles(0.001), lambda: singles(0.3), lambda: singles(0.5, units=(50, 50))),
        *(outages, whole_batches, seconds_that_fail_as_one, better),
    ],
)
@pytest.mark.parametrize("is_proof", [False, True])
@pytest.mark.parametrize("horizon", [0, 600])
@pytest.mark.parametrize("most_at_once", [math.inf, 2.0])
def test_it_is_wrong_ever_no_more_often_than_it_says(
    traffic: Callable[[], Arms], horizon: int, most_at_once: float, is_proof: bool
) -> None:
    race = Race(COPIES, most_at_once=most_at_once, horizon=horizon, with_stakes=True, is_proof=is_proof)

    for first, n1, second, n2 in traffic():
        race.observe(first, n1, second, n2)

    for alpha in (0.2, 0.05, 0.01):
        wrong = float((race.best >= math.log(1 / alpha)).mean())
        assert wrong <= alpha + 3 * math.sqrt(alpha / COPIES), f"{wrong} of alpha {alpha}"


@pytest.mark.parametrize(("candidate", "baseline"), [(0.15, 0.05), (0.6, 0.5), (0.05, 0.15), (0.001, 0.101)])
def test_a_difference_that_is_allowed_is_no_evidence(candidate: float, baseline: float) -> None:
    """The worst case: the candidate's mean is above, or below, by exactly what is allowed."""
    random = np.random.default_rng(9)
    race = Race(COPIES, most_at_once=math.inf, allowed=candidate - baseline, is_proof=True)

    for second in range(300):
        units = 2 + second % 7, 20 + second % 50
        race.observe(
            random.binomial(units[0], candidate, COPIES).astype(float), units[0],
            random.binomial(units[1], baseline, COPIES).astype(float), units[1],
        )  # fmt: skip

    for alpha in (0.2, 0.05, 0.01):
        wrong = float((race.best >= math.log(1 / alpha)).mean())
        assert wrong <= alpha + 3 * math.sqrt(alpha / COPIES), f"{wrong} of alpha {alpha}"


@pytest.mark.parametrize("mean", [0.3, 0.5, 0.7])
def test_small_differences_of_common_things_are_proven_too(mean: float) -> None:
    """A class that comes half of the time, within 10 points: Wald's floor is about 280 requests of either."""
    random = np.random.default_rng(10)
    race = Race(200, most_at_once=math.inf, allowed=-0.1, is_proof=True)
    for _ in range(60):
        first, second = (random.binomial(20, mean, 200).astype(float) for _ in range(2))
        race.observe(first, 20, second, 20)
    assert float((race.best >= math.log(100)).mean()) > 0.9


def test_the_average_is_an_expectation_of_one_at_most() -> None:
    race = Race(COPIES, most_at_once=math.inf, with_stakes=True)
    for first, n1, second, n2 in singles(0.1, seconds=5):
        race.observe(first, n1, second, n2)

    assert np.exp(race.log_evalues).mean() < 1.05


@pytest.mark.parametrize(("rate", "floor"), [(0.05, 47), (0.01, 490)], ids=["0.1 % to 5 %", "0.1 % to 1 %"])
def test_more_errors_are_found_within_twice_the_floor(rate: float, floor: int) -> None:
    """One candidate's request at a time, beside 19 of the baseline; alpha 1e-3, with money laid aside for later."""
    random = np.random.default_rng(5)
    race = Race(REPETITIONS, most_at_once=math.log(1000) / 2, horizon=3_600)
    found = np.full(REPETITIONS, np.inf)
    for request in range(1, 12 * floor):
        race.observe(
            (random.random(REPETITIONS) < rate).astype(float),
            1,
            random.binomial(19, 0.001, REPETITIONS).astype(float),
            19,
        )
        found[(race.best >= math.log(1000)) & np.isinf(found)] = request

    assert found.mean() <= 2 * floor


def test_what_breaks_after_an_hour_is_found_nearly_as_soon() -> None:
    random = np.random.default_rng(6)

    def delay(*, good: int, horizon: int) -> float:
        race = Race(200, most_at_once=3.5, horizon=horizon)
        for _ in range(good):
            race.observe(
                random.binomial(5, 0.001, 200).astype(float), 5, random.binomial(95, 0.001, 200).astype(float), 95
            )
        for second in range(1, 3_000):
            race.observe(
                random.binomial(5, 0.05, 200).astype(float), 5, random.binomial(95, 0.001, 200).astype(float), 95
            )
            if np.median(race.log_evalues) >= math.log(1000):
                return second
        return math.inf

    late, early = delay(good=3_000, horizon=3_600), delay(good=0, horizon=3_600)
    assert late <= 3 * early
    assert late < delay(good=3_000, horizon=0)


def test_one_second_alone_does_not_decide() -> None:
    race = Race(1, most_at_once=math.log(1000) / 2)
    race.observe(np.array([1000.0]), 1000, np.array([0.0]), 19_000)

    assert race.best[0] < math.log(1000)


def test_nothing_is_learnt_where_an_arm_has_nothing() -> None:
    race = Race(1, most_at_once=math.inf, horizon=10)
    race.observe(np.array([5.0]), 5, np.array([0.0]), 0)
    race.observe(np.array([0.0]), 0, np.array([5.0]), 5)

    assert race.log_evalues == pytest.approx(0.0)


def test_a_difference_is_bounded_from_both_sides_at_all_times() -> None:
    random, missed = np.random.default_rng(7), 0
    for _ in range(30):
        difference = Difference(grid_with(0.03), most_at_once=math.inf, horizon=400)
        for _ in range(250):
            difference.observe(float(random.binomial(10, 0.08)), 10, float(random.binomial(30, 0.05)), 30)
        low, high = difference.interval(0.05)
        missed += not low <= 0.03 <= high
    assert missed <= 8  # 30 x 0.1, and three standard deviations
    assert high - low < 0.2


def test_differences_that_are_asked_for_are_in_the_grid() -> None:
    difference = Difference(grid_with(0.0123), most_at_once=1.0, horizon=0)
    assert difference.grid[difference.at(0.0123)] == 0.0123


@pytest.mark.parametrize(
    ("share", "is_above", "is_below"), [(0.05, False, False), (0.2, True, False), (0.0, False, True)]
)
def test_a_known_limit_is_told_from_what_is_above_and_below(share: float, is_above: bool, is_below: bool) -> None:
    random, limit = np.random.default_rng(8), Limit(0.05, most_at_once=math.inf)
    for _ in range(100):
        limit.observe(float(random.binomial(10, share)), 10)

    assert [bool(evidence) for evidence in limit.best >= math.log(100)] == [is_above, is_below]


def test_evidence_survives_json() -> None:
    difference, again = (Difference(grid_with(), most_at_once=3.0, horizon=50) for _ in range(2))
    for _ in range(10):
        difference.observe(1.0, 10, 2.0, 90)
    again.load(json.loads(json.dumps(difference.dump())))
    for one in (difference, again):
        one.observe(2.0, 10, 1.0, 90)

    assert again.dump() == difference.dump()
    assert again.interval(0.1) == difference.interval(0.1)


@pytest.mark.parametrize("change", ["fewer", "more", "none"])
@pytest.mark.parametrize("made", [lambda: Race(3, most_at_once=5.0), lambda: Limit(0.01, most_at_once=5.0)])
def test_evidence_of_another_shape_is_refused(made: Callable[[], Race | Limit], change: str) -> None:
    data = json.loads(json.dumps(made().dump()))
    rows = data["log_m"]
    data["log_m"] = {"fewer": [row[:-1] for row in rows], "more": [*rows, rows[0]], "none": []}[change]

    with pytest.raises(ValueError, match="got figures of shape"):
        made().load(data)
