"""Which word of an agent on a faster way to run a version is taken, and what is kept of it."""

from __future__ import annotations

import math
from dataclasses import replace

from services.common.errors import FailedPreconditionError, InvalidArgumentError
from services.registry.domain.limits import shorten
from services.registry.domain.resources import ModelVersion, Optimization, Variant, VariantTrial, VersionState

MAX_HARDWARE = 255
MAX_HARDWARE_KINDS = 32
MAX_TRIALS = 64
MAX_MEASUREMENTS = 16
MAX_OPTIONS = 16
MAX_OPTION = 255


def record(version: ModelVersion, found: Optimization, *, now_ns: int) -> ModelVersion:
    """The version with what was found, in place of what was known for the same hardware; the oldest entry may go.

    Raises:
        FailedPreconditionError: the version can't be loaded, or not yet.
        InvalidArgumentError: what was found makes no sense.
    """
    if version.state is not VersionState.READY:
        raise FailedPreconditionError(f"{version.name} is {version.state.name}, expected READY")
    _check(found)
    found = replace(
        found,
        state_reason=shorten(found.state_reason),
        trials=tuple(replace(trial, refusal=shorten(trial.refusal)) for trial in found.trials),
        update_time_ns=now_ns,
    )
    others = [one for one in version.optimizations if one.hardware != found.hardware]
    kept = sorted(others, key=lambda one: one.update_time_ns)[1 - MAX_HARDWARE_KINDS :]
    return replace(version, optimizations=(*kept, found))


def _check(found: Optimization) -> None:
    if not 0 < len(found.hardware) <= MAX_HARDWARE or "\0" in found.hardware:
        raise InvalidArgumentError(f"got hardware {found.hardware[:80]!r}, expected 1 to {MAX_HARDWARE} characters")
    if not len(found.trials) <= found.trial_count <= MAX_TRIALS:
        raise InvalidArgumentError(
            f"got {len(found.trials)} trials of {found.trial_count}, expected at most as many, and {MAX_TRIALS} in all"
        )
    for trial in found.trials:
        _check_trial(trial)
    check_variant(found.variant)
    _check_figures(found.speedup)


def _check_trial(trial: VariantTrial) -> None:
    check_variant(trial.variant)
    if len(trial.measurements) > MAX_MEASUREMENTS:
        raise InvalidArgumentError(f"got {len(trial.measurements)} measurements, expected at most {MAX_MEASUREMENTS}")
    _check_figures(trial.speedup, trial.relative_error, trial.top_agreement)
    for one in trial.measurements:
        _check_figures(one.batch_rows, one.rows_per_second, one.original_rows_per_second, one.speedup)


def _check_figures(*figures: float) -> None:
    for figure in figures:
        if not (math.isfinite(figure) and figure >= 0):
            raise InvalidArgumentError(f"got the figure {figure}, expected a finite number, 0 or more")


def check_variant(variant: Variant) -> None:
    """Refuse more options than any backend has.

    Raises:
        InvalidArgumentError: with what was got and what was expected.
    """
    if len(variant) > MAX_OPTIONS:
        raise InvalidArgumentError(f"got {len(variant)} options, expected at most {MAX_OPTIONS}")
    for name, value in variant:
        if not 0 < len(name) <= MAX_OPTION or len(value) > MAX_OPTION or "\0" in name + value:
            raise InvalidArgumentError(
                f"got option {name[:80]!r}={value[:80]!r}, expected at most {MAX_OPTION} characters each"
            )
