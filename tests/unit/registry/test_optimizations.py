"""Which word on a faster way is taken, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.common.errors import FailedPreconditionError, InvalidArgumentError
from services.registry.domain.optimizations import MAX_HARDWARE_KINDS, record
from services.registry.domain.resources import (
    Artifact,
    ModelVersion,
    Optimization,
    OptimizationLevel,
    OptimizationState,
    VariantMeasurement,
    VariantTrial,
    VersionState,
)

READY = ModelVersion(model="m", number=1, files=(Artifact("0" * 64, 1),), state=VersionState.READY)
TRIAL = VariantTrial((("graph", "frozen"),), "", (VariantMeasurement(16, 20.0, 10.0, 2.0),), 2.0, 1e-7, 1.0)
FOUND = Optimization(
    hardware="some processor",
    level=OptimizationLevel.FAST,
    state=OptimizationState.COMPLETE,
    variant=(("graph", "frozen"),),
    speedup=2.0,
    trials=(TRIAL,),
    trial_count=1,
)


def test_a_later_word_on_the_same_hardware_replaces_the_earlier() -> None:
    searching = replace(FOUND, state=OptimizationState.SEARCHING, trials=())
    other = replace(FOUND, hardware="another")
    version = READY
    for now_ns, one in enumerate([searching, other, FOUND]):
        version = record(version, one, now_ns=now_ns)
    assert version.optimizations == (replace(other, update_time_ns=1), replace(FOUND, update_time_ns=2))


def test_the_oldest_hardware_is_forgotten_first() -> None:
    version = READY
    for number in range(MAX_HARDWARE_KINDS + 2):
        version = record(version, replace(FOUND, hardware=str(number)), now_ns=number)
    assert [one.hardware for one in version.optimizations] == [str(n) for n in range(2, MAX_HARDWARE_KINDS + 2)]


@pytest.mark.parametrize("state", [state for state in VersionState if state is not VersionState.READY])
def test_only_a_version_that_can_be_loaded_can_be_searched(state: VersionState) -> None:
    with pytest.raises(FailedPreconditionError, match="expected READY"):
        record(replace(READY, state=state), FOUND, now_ns=1)


@pytest.mark.parametrize(
    "change",
    [
        {"hardware": ""},
        {"hardware": "x" * 256},
        {"hardware": "a\0b"},
        {"trial_count": 0},
        {"trial_count": 65},
        {"variant": (("", "x"),)},
        {"variant": (("x", "y" * 256),)},
        {"variant": tuple((str(number), "x") for number in range(17))},
        {"speedup": float("nan")},
        {"trials": (replace(TRIAL, relative_error=-1.0),)},
        {"trials": (replace(TRIAL, measurements=TRIAL.measurements * 17),)},
        {"trials": (replace(TRIAL, measurements=(VariantMeasurement(1, float("inf"), 1.0, 1.0),)),)},
    ],
    ids=str,
)
def test_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="expected"):
        record(READY, replace(FOUND, **change), now_ns=1)


def test_long_reasons_are_cut() -> None:
    kept = record(READY, replace(FOUND, trials=(replace(TRIAL, refusal="x" * 10_000),)), now_ns=1)
    assert len(kept.optimizations[0].trials[0].refusal) == 4096
