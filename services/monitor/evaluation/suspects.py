"""Ranks places by how much of a change in traces began there.

A place is judged by what it did itself: its own time, failures that no child explains, children that it left out. A
finding needs evidence (a log-likelihood ratio against the upper limit of the reference's rate); how far up it comes
follows from its share of the whole effect. Time between a caller and what it calls is laid to what is
called, unless most of the caller's places are slow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from services.monitor.domain.evidence import upper_limit
from services.monitor.evaluation.periods import Group, Period
from services.monitor.evaluation.spans import Place

LEAST_VISITS = 3
SLOW_SHARE = 0.05
"""A visit is slow if its own time is in the reference's slowest 5 %."""
RARE_SHARE = 0.01
LEAST_EVIDENCE = 4.0
"""Nats, besides ln(number of places)."""


@dataclass(slots=True)
class Finding:
    """What was found at one place. ``excess``: own time in ns, or visits, beyond the reference's."""

    place: Place
    kind: str
    evidence: float
    excess: float
    rate: float
    text: str
    examples: list[str]
    peer: Place | None = None
    """What is called, where the time between two places is what was found."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """One line of the ranking; ``score`` is in [0, 1]."""

    place: Place
    score: float
    reasons: tuple[str, ...]
    traces: tuple[str, ...] = field(default=())


def rank(reference: Period, judged: Period) -> list[Suspect]:
    """Suspects, the most likely first; empty if nothing differs beyond chance."""
    usual = reference.by_operation()
    needed = LEAST_EVIDENCE + math.log(1 + len(judged.groups))
    found: list[Finding] = []
    for place, group in judged.groups.items():
        base = usual.get((place.service, place.operation))
        if group.visits >= LEAST_VISITS and base is not None and base.visits >= LEAST_VISITS:
            found += [one for one in _judge(place, group, base) if one.evidence >= needed]
    usual_calls = reference.calls_by_operation()
    for (place, peer), group in judged.calls.items():
        base = usual_calls.get((place.service, place.operation, peer.service, peer.operation))
        slow = _latency(place, group, base, peer) if base is not None else None
        found += [slow] if slow is not None and slow.evidence >= needed else []
    found = _merge_replicas(_settle_calls(found, judged), judged)
    timed = (*usual.values(), *usual_calls.values())
    expected_ns = sum(group.total_ns() for group in timed)
    expected_ns *= judged.traces / max(1, reference.traces)
    return _ranking(found, expected_ns=expected_ns, traces=judged.traces)


def _judge(place: Place, group: Group, base: Group) -> list[Finding]:
    return [
        one for one in (_latency(place, group, base), _errors(place, group, base), _shape(place, group, base)) if one
    ]


def _latency(place: Place, group: Group, base: Group, peer: Place | None = None) -> Finding | None:
    now, before = group.times(), base.times()
    if min(now.size, before.size) < LEAST_VISITS:
        return None
    edge = float(np.quantile(before, 1 - SLOW_SHARE))
    slow = float((now > edge).mean())
    evidence = _evidence(slow, now.size, SLOW_SHARE, before.size)
    cap = max(float(np.quantile(now, 0.99)), edge)
    mean_now, mean_before = float(np.minimum(now, cap).mean()), float(np.minimum(before, cap).mean())
    if mean_now <= mean_before:
        return None
    text = f"own time {_duration(mean_before)} → {_duration(mean_now)} ({slow:.0%} slow, {SLOW_SHARE:.0%} expected)"
    traces = [trace for _, trace in group.slowest]
    return Finding(place, "latency", evidence, (mean_now - mean_before) * group.timed, slow, text, traces, peer)


def _errors(place: Place, group: Group, base: Group) -> Finding | None:
    rate, usual = group.error_origins / group.visits, base.error_origins / base.visits
    if rate <= usual:
        return None
    evidence = _evidence(rate, group.visits, usual, base.visits)
    called = base.peer or group.peer
    if called is not None and 2 * group.lost_calls > group.error_origins:
        place = Place(called.service, called.operation, "")
    text = f"failures that begin here {usual:.1%} → {rate:.1%}"
    return Finding(place, "errors", evidence, (rate - usual) * group.visits, rate, text, group.failed)


def _shape(place: Place, group: Group, base: Group) -> Finding | None:
    known = {shape for shape, count in base.shapes.items() if count > RARE_SHARE * base.visits}
    usual = 1 - sum(base.shapes[shape] for shape in known) / base.visits
    odd = 1 - sum(group.shapes[shape] for shape in known) / group.visits
    if odd <= usual:
        return None
    evidence = _evidence(odd, group.visits, usual, base.visits)
    strange = max(
        (shape for shape in group.shapes if shape not in known), key=lambda one: group.shapes[one], default=None
    )
    text = f"unusual calls {usual:.1%} → {odd:.1%}"
    if strange is not None:
        commonest = max(known, key=lambda one: base.shapes[one], default=frozenset())
        gone, new = sorted(commonest - strange), sorted(strange - commonest)
        text += f", without {gone[0][0]} {gone[0][1]}" if gone else ""
        text += f", with {new[0][0]} {new[0][1]}" if new else ""
        called = base.peer
        if called is not None and not strange:
            place = Place(called.service, called.operation, "")
    return Finding(place, "shape", evidence, (odd - usual) * group.visits, odd, text, [])


def _evidence(rate: float, visits: int, usual: float, base_visits: int) -> float:
    """Nats by which ``rate`` in ``visits`` is likelier than the highest rate that the reference allows."""
    limit = upper_limit(usual, base_visits, risk=0.05)
    if rate <= limit or limit >= 1.0:
        return 0.0
    rest = (1 - rate) * math.log((1 - rate) / (1 - limit)) if rate < 1.0 else 0.0
    return visits * (rate * math.log(rate / limit) + rest)


def _settle_calls(found: list[Finding], judged: Period) -> list[Finding]:
    """Give slow calls to what is called, unless most places of the caller are slow, and more than of the called."""
    slow = {(one.place, one.peer) for one in found if one.kind == "latency"}
    touched: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for place, peer in (*((place, None) for place, group in judged.groups.items() if group.timed), *judged.calls):
        for end in (place, peer) if peer is not None else (place,):
            count = touched[end.service, end.replica]
            count[0] += (place, peer) in slow
            count[1] += 1
    for one in found:
        if one.peer is not None:
            ends = (touched[end.service, end.replica] for end in (one.place, one.peer))
            here, there = (count[0] / max(1, count[1]) for count in ends)
            if there >= here or here < 0.5:
                one.text += f", called by {one.place.service} {one.place.replica}".rstrip()
                one.place = one.peer
    return found


def _merge_replicas(found: list[Finding], judged: Period) -> list[Finding]:
    """One finding for each place and kind; one for the service where all of its replicas are about as bad."""
    places: defaultdict[tuple[Place, str], list[Finding]] = defaultdict(list)
    for one in found:
        places[one.place, one.kind].append(one)
    merged = [_joined(several, place) for (place, _), several in places.items()]
    replicas: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for place, group in judged.groups.items():
        if group.visits >= LEAST_VISITS:
            replicas[place.service, place.operation].add(place.replica)
    services: defaultdict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for one in merged:
        services[one.place.service, one.place.operation, one.kind].append(one)
    kept = []
    for (service, operation, _), several in services.items():
        rates = [one.rate for one in several]
        is_all = {one.place.replica for one in several} >= replicas[service, operation]
        if len(several) > 1 and is_all and min(rates) >= 0.5 * max(rates):
            kept.append(_joined(several, Place(service, operation, "")))
        else:
            kept += several
    return kept


def _joined(several: list[Finding], place: Place) -> Finding:
    """The most telling one speaks for all."""
    first = max(several, key=lambda one: one.evidence)
    excess = sum(one.excess for one in several)
    examples = [trace for one in several for trace in one.examples]
    return Finding(place, first.kind, first.evidence, excess, first.rate, first.text, examples)


def _ranking(found: list[Finding], *, expected_ns: float, traces: int) -> list[Suspect]:
    totals: defaultdict[str, float] = defaultdict(float)
    for one in found:
        totals[one.kind] += one.excess
    scale = {"latency": expected_ns, "errors": float(traces), "shape": float(traces)}
    parts: defaultdict[Place, list[tuple[float, Finding]]] = defaultdict(list)
    for one in found:
        total = totals[one.kind]
        severity = total / (total + scale[one.kind]) if total > 0.0 else 0.0
        parts[one.place].append((math.sqrt(severity) * one.excess / max(total, 1e-300), one))
    replicas: defaultdict[tuple[str, str], list[tuple[float, Place]]] = defaultdict(list)
    for place, pieces in parts.items():
        own = 1 - math.prod(1 - min(part, 1.0) for part, _ in pieces)
        replicas[place.service, place.replica].append((own, place))
    suspects = []
    for owned in replicas.values():
        owned.sort(key=lambda one: (-one[0], one[1]))
        whole = 1 - math.prod(1 - own for own, _ in owned)
        for turn, (_, place) in enumerate(owned):
            pieces = sorted(parts[place], key=lambda one: -one[0])
            examples = dict.fromkeys(trace for _, one in pieces for trace in one.examples)
            suspects.append(
                Suspect(
                    place, whole * 0.5**turn, tuple(f"{one.kind}: {one.text}" for _, one in pieces), tuple(examples)[:5]
                )
            )
    return sorted(suspects, key=lambda one: (-one.score, one.place))


def _duration(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"
