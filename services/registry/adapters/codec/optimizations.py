"""What searches for faster variants found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from penstock.registry.v1 import resources_pb2 as pb
from services.common.errors import InvalidArgumentError
from services.common.times import duration
from services.registry.adapters.codec.times import nanoseconds, timestamp
from services.registry.domain import ids
from services.registry.domain.resources import (
    Optimization,
    OptimizationLevel,
    OptimizationState,
    Variant,
    VariantMeasurement,
    VariantTrial,
)


def optimization_to_pb(found: Optimization) -> pb.Optimization:
    return pb.Optimization(
        hardware=found.hardware,
        level=int(found.level),  # type: ignore[arg-type]
        state=int(found.state),  # type: ignore[arg-type]
        state_reason=found.state_reason,
        variant=dict(found.variant),
        speedup=found.speedup,
        trials=map(_trial_to_pb, found.trials),
        trial_count=found.trial_count,
        node=found.node,
        search_duration=duration(found.search_duration_ns),
        update_time=timestamp(found.update_time_ns),
    )


def _trial_to_pb(trial: VariantTrial) -> pb.VariantTrial:
    return pb.VariantTrial(
        variant=dict(trial.variant),
        refusal=trial.refusal,
        measurements=[pb.VariantMeasurement(**asdict(one)) for one in trial.measurements],
        speedup=trial.speedup,
        relative_error=trial.relative_error,
        top_agreement=trial.top_agreement,
    )


def optimization_from_pb(message: pb.Optimization, *, node: str) -> Optimization:
    """Raises: InvalidArgumentError: the state or the level is none that a search can have."""
    if message.state not in OptimizationState._value2member_map_:
        expected = ", ".join(OptimizationState.__members__)
        raise InvalidArgumentError(f"got state {message.state} of an optimization, expected one of {expected}")
    return Optimization(
        hardware=message.hardware,
        level=level_from_pb(message.level),
        state=OptimizationState(message.state),
        state_reason=message.state_reason,
        variant=variant_from_pb(message.variant),
        speedup=message.speedup,
        trials=tuple(map(_trial_from_pb, message.trials)),
        trial_count=message.trial_count,
        node=ids.check_node(node),
        search_duration_ns=nanoseconds(message.search_duration),
    )


def _trial_from_pb(message: pb.VariantTrial) -> VariantTrial:
    return VariantTrial(
        variant=variant_from_pb(message.variant),
        refusal=message.refusal,
        measurements=tuple(
            VariantMeasurement(one.batch_rows, one.rows_per_second, one.original_rows_per_second, one.speedup)
            for one in message.measurements
        ),
        speedup=message.speedup,
        relative_error=message.relative_error,
        top_agreement=message.top_agreement,
    )


def variant_from_pb(options: Mapping[str, str]) -> Variant:
    return tuple(sorted(options.items()))


def level_from_pb(number: int) -> OptimizationLevel:
    """Raises: InvalidArgumentError: a newer client's level, or nonsense."""
    try:
        return OptimizationLevel(number)
    except ValueError:
        expected = ", ".join(OptimizationLevel.__members__)
        raise InvalidArgumentError(f"got optimization level {number}, expected one of {expected}") from None
