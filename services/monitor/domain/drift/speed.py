"""Durations of a version by phase, its errors, and its replicas beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from services.monitor.domain.bits import BitStream
from services.monitor.domain.detectors import SATURATED, VersionDetectors
from services.monitor.domain.drift.watched import (
    SECONDS,
    Learnt,
    Part,
    State,
    Watched,
    most_moved,
    state_of,
)
from services.monitor.domain.evidence import Floats
from services.monitor.domain.outcomes import ErrorKind
from services.monitor.domain.phases import COMPUTE_PHASES, FLOW_PHASES, Phase, Signal
from services.monitor.domain.reference import (
    ERROR_TRIALS,
    GREATEST_ERROR_LIMIT,
    LEARN_SLOTS,
    LEVELS,
    LatencyReference,
)
from services.monitor.domain.replica import Replica
from services.monitor.domain.replicas import LEARN_SLOTS as REPLICA_SLOTS
from services.monitor.domain.shape import LABELS
from services.monitor.domain.shape import LEARN_SLOTS as SHAPE_SLOTS
from services.monitor.domain.strata import LEVELS as REPLICA_LEVELS

NO_REQUESTS = "no requests in the last minute"
_NS = 1e9


def latency(detectors: VersionDetectors, *, since: int) -> Iterator[Watched]:
    """Of each phase."""
    for reference in (detectors.reference.compute, detectors.reference.flow):
        for phase in reference.phases:
            yield _phase(detectors, reference, phase, since=since)


def _phase(detectors: VersionDetectors, reference: LatencyReference, phase: Phase, *, since: int) -> Watched:
    stream = detectors.latency[phase]
    slots, learnt = stream.since(since), Learnt(reference.learnt_slots, LEARN_SLOTS)
    state = state_of(is_alarmed=stream.is_alarmed, learnt=learnt, count=len(slots))
    parts: tuple[Part, ...] = ()
    if slots:
        normal = np.mean([slot.normal for slot in slots], axis=0) / _NS
        now = np.median([slot.now for slot in slots], axis=0) / _NS
        parts = tuple(
            Part(f"p{level * 100:g}", float(before), float(after), float(adds))
            for level, before, after, adds in zip(LEVELS, normal, now, stream.contributions, strict=True)
        )
    shown = most_moved(parts, is_alarmed=stream.is_alarmed)
    return Watched(
        Signal.LATENCY,
        phase,
        state,
        learnt,
        reason=_why(detectors, phase, state, learnt, since=since, has_slots=bool(slots)),
        log_evalue=stream.log_evalue,
        needed=detectors.budget.threshold,
        unit=SECONDS,
        label=shown.label if shown else "",
        normal=shown.normal if shown else None,
        now=shown.now if shown else None,
        count=len(slots),
        parts=parts,
    )


def _why(
    detectors: VersionDetectors, phase: Phase, state: State, learnt: Learnt, *, since: int, has_slots: bool
) -> str:
    """Why durations of a phase can't be judged; "" where they are."""
    if state is State.LEARNING:
        return f"{learnt.seconds} of {learnt.needed} seconds of like load seen"
    if has_slots:
        return ""
    if detectors.judged_second < since:
        return NO_REQUESTS
    if phase in FLOW_PHASES and detectors.busy >= SATURATED:
        return f"instances are busy for {detectors.busy:.0%} of the time: waits depend on load alone"
    return "load of a kind that isn't known yet"


def errors(detectors: VersionDetectors, *, since: int) -> Watched:
    """The share of requests that fail by the server's fault, and by kind."""
    stream, reference = detectors.errors.stream, detectors.reference.errors
    learnt = Learnt(min(reference.slots, LEARN_SLOTS), LEARN_SLOTS)
    trials, shares = stream.since(since)
    labels = ("all", *(kind.name.lower() for kind in ErrorKind))
    parts = _bits(stream, labels, shares if trials else None)
    reason = ""
    if not reference.is_learnt:
        seen = f"{learnt.seconds} of {LEARN_SLOTS} seconds and {min(reference.trials, ERROR_TRIALS)} of {ERROR_TRIALS}"
        reason = f"{seen} batches seen; until then {GREATEST_ERROR_LIMIT:.0%} is the limit"
    state = state_of(is_alarmed=stream.is_alarmed, learnt=learnt, count=int(trials))
    if state is State.WATCHING and not reference.is_learnt:
        state = State.LEARNING
    return Watched(
        Signal.ERROR_RATE,
        None,
        state,
        learnt,
        reason=NO_REQUESTS if state is State.BLIND else reason,
        log_evalue=stream.log_evalue,
        needed=detectors.budget.threshold,
        label="share of requests",
        normal=parts[0].normal if reference.slots else None,
        now=parts[0].now,
        count=int(trials),
        parts=parts,
    )


def shape(detectors: VersionDetectors, *, since: int) -> Watched:
    """Shares of requests that went another way than from a lane to a model process and back."""
    stream, needed = detectors.shape.stream, detectors.budget.threshold
    learnt = Learnt(min(detectors.shape.learnt_slots, SHAPE_SLOTS), SHAPE_SLOTS)
    if stream is None:
        reason = f"{learnt.seconds} of {learnt.needed} seconds seen"
        return Watched(Signal.TRACE_SHAPE, None, State.LEARNING, learnt, reason=reason, needed=needed)
    trials, shares = stream.since(since)
    parts = _bits(stream, LABELS, shares if trials else None)
    state = state_of(is_alarmed=stream.is_alarmed, learnt=learnt, count=int(trials))
    shown = most_moved(parts, is_alarmed=stream.is_alarmed)
    return Watched(
        Signal.TRACE_SHAPE,
        None,
        state,
        learnt,
        reason=NO_REQUESTS if state is State.BLIND else "",
        log_evalue=stream.log_evalue,
        needed=needed,
        label=shown.label if shown else "",
        normal=shown.normal if shown else None,
        now=shown.now if shown else None,
        count=int(trials),
        parts=parts,
    )


def replicas(detectors: VersionDetectors, *, since: int) -> Iterator[Watched]:
    """Compute times of each replica beside its siblings'; nothing where there is one alone."""
    if len(detectors.replicas) > 1:
        for replica in detectors.replicas:
            yield _replica(detectors, replica, since=since)


def _replica(detectors: VersionDetectors, replica: Replica, *, since: int) -> Watched:
    stream, needed = replica.stream, detectors.budget.threshold
    if stream is None:
        learnt = Learnt(len(replica.learnt), REPLICA_SLOTS)
        reason = f"{learnt.seconds} of {learnt.needed} seconds beside its siblings seen"
        state = State.BLIND if replica.is_stopping else State.LEARNING
        return Watched(
            Signal.LATENCY,
            None,
            state,
            learnt,
            replica.instance,
            "it is stopping" if replica.is_stopping else reason,
            needed=needed,
        )
    trials, shares = stream.since(since)
    labels = [f"{phase.label} p{level * 100:g}" for phase in COMPUTE_PHASES for level in REPLICA_LEVELS]
    parts = _bits(stream, labels, shares if trials else None)
    learnt = Learnt(REPLICA_SLOTS, REPLICA_SLOTS)
    state = state_of(is_alarmed=stream.is_alarmed, learnt=learnt, count=int(trials))
    shown = most_moved(parts, is_alarmed=stream.is_alarmed)
    return Watched(
        Signal.LATENCY,
        COMPUTE_PHASES[parts.index(shown) // len(REPLICA_LEVELS)] if shown else None,
        state,
        learnt,
        replica.instance,
        "nothing to compare with its siblings' in the last minute" if state is State.BLIND else "",
        log_evalue=stream.log_evalue,
        needed=needed,
        label=f"batches slower than siblings' {shown.label.rpartition(' ')[2]}" if shown else "",
        normal=shown.normal if shown else None,
        now=shown.now if shown else None,
        count=int(trials),
        parts=parts,
    )


def _bits(stream: BitStream, labels: Sequence[str], shares: Floats | None) -> tuple[Part, ...]:
    rates, adds = stream.reference.rates, stream.contributions
    return tuple(
        Part(label, float(rates[bit]), None if shares is None else float(shares[bit]), float(adds[bit]))
        for bit, label in enumerate(labels)
    )


def rules(detectors: VersionDetectors) -> Iterator[Watched]:
    """What is told by rules, as long as they are broken."""
    always = Learnt(0, 0)
    if detectors.queue.is_alarmed:
        reason = f"more comes than is served: requests may wait for {detectors.queue.limit_s:g} s"
        yield Watched(Signal.QUEUEING, Phase.QUEUE, State.ALARMED, always, reason=reason)
    name = detectors.nonfinite_replica
    if name is not None:
        reason = "answers hold NaN or infinity"
        yield Watched(Signal.NONFINITE, None, State.ALARMED, always, replica=name, reason=reason)
    for replica in detectors.replicas:
        if replica.is_stuck:
            reason = "it has a batch in hand and doesn't finish it"
            yield Watched(Signal.STUCK, None, State.ALARMED, always, replica=replica.instance, reason=reason)
        if replica.is_dead:
            reason = "it is silent while its siblings go on"
            yield Watched(Signal.DEAD, None, State.ALARMED, always, replica=replica.instance, reason=reason)
