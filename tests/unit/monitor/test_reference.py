from __future__ import annotations

import json

import numpy as np
import pytest

from services.monitor.domain import sketch
from services.monitor.domain.evidence import upper_limit
from services.monitor.domain.phases import COMPUTE_PHASES, FLOW_PHASES, Phase
from services.monitor.domain.reference import (
    GREATEST_ERROR_LIMIT,
    LEARN_SLOTS,
    LEAST_ERROR_LIMIT,
    LEVELS,
    MAX_CONTEXTS,
    MOST_ERROR_TRIALS,
    Context,
    ErrorReference,
    LatencyReference,
    Normal,
    Reference,
)


def counted(*durations_ns: float) -> np.ndarray:
    return sketch.count(sketch.bins_of(np.array(durations_ns)))


def histogram(*durations_ns: float) -> np.ndarray:
    return np.stack([counted(*durations_ns)] * len(FLOW_PHASES))


def normals(phases: tuple[Phase, ...], *durations_ns: float) -> list[Normal]:
    return [Normal.of(phase, counted(*durations_ns)) for phase in phases]


def learnt(*contexts: Context) -> LatencyReference:
    reference = LatencyReference(FLOW_PHASES)
    for context in contexts:
        for _ in range(LEARN_SLOTS):
            reference.learn(context, histogram(1e6, 2e6, 3e6))
    return reference


def test_a_context_is_known_once_it_was_seen_long_enough() -> None:
    reference = LatencyReference(FLOW_PHASES)
    for _ in range(LEARN_SLOTS - 1):
        reference.learn(Context(0, 5), histogram(1e6))
    assert reference.normal(Context(0, 5)) is None

    reference.learn(Context(0, 5), histogram(1e6))

    normal = reference.normal(Context(0, 5))
    assert normal is not None
    assert normal[Phase.QUEUE].quantiles_ns == pytest.approx([1e6] * len(LEVELS), rel=0.05)


def test_a_context_is_judged_by_the_nearest_heavier_one_only() -> None:
    reference = learnt(Context(2, 5), Context(4, 8))

    assert reference.normal(Context(0, 5)) is reference.known[Context(2, 5)]
    assert reference.normal(Context(3, 5)) is reference.known[Context(4, 8)]
    assert reference.normal(Context(0, 7)) is reference.known[Context(4, 8)]
    assert reference.normal(Context(5, 5)) is None
    assert reference.normal(Context(0, 9)) is None


def test_a_nearer_context_is_used_as_soon_as_it_is_known() -> None:
    reference = learnt(Context(4, 8))
    assert reference.normal(Context(1, 1)) is reference.known[Context(4, 8)]

    reference.know(Context(1, 1), normals(FLOW_PHASES, 1e6))

    assert reference.normal(Context(1, 1)) is reference.known[Context(1, 1)]


def test_contexts_are_bounded() -> None:
    reference = LatencyReference(FLOW_PHASES)
    for number in range(2 * MAX_CONTEXTS):
        reference.learn(Context(number, 0), histogram(1e6))
        reference.normal(Context(number, 0))

    assert len(reference._learning) == MAX_CONTEXTS
    assert len(reference._nearest) <= MAX_CONTEXTS


@pytest.mark.parametrize(
    ("phase", "reference_ns", "tolerated_ns", "longer_ns"),
    [
        (Phase.COMPUTE_INFER, 100e3, 1.09e6, 1.3e6),
        (Phase.COMPUTE_INFER, 50e6, 64e6, 75e6),
        (Phase.QUEUE, 100e3, 20e6, 24e6),
        (Phase.TOTAL, 100e6, 199e6, 240e6),
    ],
)
def test_small_shifts_do_not_count(phase: Phase, reference_ns: float, tolerated_ns: float, longer_ns: float) -> None:
    edge = Normal.of(phase, counted(reference_ns)).edges[0]

    assert sketch.bin_of(tolerated_ns) <= edge < sketch.bin_of(longer_ns)


def test_the_quick_are_expected_to_stay_quick() -> None:
    waits = counted(*np.random.default_rng(1).exponential(5e6, 1_000))
    normal = Normal.of(Phase.QUEUE, waits)
    delayed = counted(*np.random.default_rng(2).exponential(5e6, 1_000) + 5e6)
    assert (sketch.shares_above(waits, normal.edges) < normal.limits).all()
    is_over = sketch.shares_above(delayed, normal.edges) > normal.limits
    assert [level for level, over in zip(LEVELS, is_over, strict=True) if over] == [0.1]


def test_the_error_limit_starts_high_and_comes_down_with_what_is_seen() -> None:
    errors = ErrorReference()
    assert errors.limit == GREATEST_ERROR_LIMIT
    for _ in range(LEARN_SLOTS):
        errors.learn(0.0, 20)
    assert errors.limit == pytest.approx(upper_limit(0.0, 20 * LEARN_SLOTS))
    while not errors.is_learnt:
        errors.learn(0.0, 1_000)
    assert errors.limit == LEAST_ERROR_LIMIT


def test_what_is_learnt_stays() -> None:
    errors = ErrorReference(slots=LEARN_SLOTS, trials=MOST_ERROR_TRIALS, errors=200.0)

    errors.learn(1.0, 1_000_000)

    assert errors.rate == pytest.approx(0.01)


def test_a_version_that_always_fails_is_never_normal() -> None:
    errors = ErrorReference()
    for _ in range(100):
        errors.learn(1.0, 100)

    assert errors.limit == GREATEST_ERROR_LIMIT


def test_a_reference_survives_being_stored() -> None:
    reference = Reference(errors=ErrorReference(40, 4_000, 2.5))
    reference.compute.know(Context(3, 7), normals(COMPUTE_PHASES, 1e6, 2e6, 3e6))
    reference.flow.know(Context(0, 2), normals(FLOW_PHASES, 1e5, 2e5, 3e5))

    again = Reference.load(json.loads(json.dumps(reference.dump())))

    assert again.dump() == reference.dump()
    normal = again.compute.normal(Context(3, 7))
    assert normal is not None
    assert normal.keys() == {Phase.COMPUTE_INPUT, Phase.COMPUTE_INFER, Phase.COMPUTE_OUTPUT}
