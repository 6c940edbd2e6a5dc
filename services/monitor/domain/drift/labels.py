"""What labels say of a version's answers."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.domain.drift.watched import Learnt, Part, State, Watched, most_moved, state_of
from services.monitor.domain.phases import Signal
from services.monitor.domain.quality.lots import LOT_LABELS
from services.monitor.domain.quality.tally import AGE_LIMITS_S
from services.monitor.domain.quality.watch import LEARN_LOTS, AccuracyWatch, AgeWatch

_LOTS = 20
"""Lots of labels that now reaches back to."""
_UNITS = {86_400: "d", 3_600: "h", 60: "min"}


def accuracy(watch: AccuracyWatch | None) -> Iterator[Watched]:
    """The share of wrong answers, or of answers that are far off, by age of the labels; nothing without labels."""
    if watch is None or not watch.ages:
        return
    parts = tuple(part for age, one in sorted(watch.ages.items()) for part in _parts(age, one, is_class=watch.is_class))
    learnt = max(one.learnt for one in watch.ages.values())
    done = Learnt(min(learnt // LOT_LABELS, LEARN_LOTS), LEARN_LOTS)
    known = [one.stream for one in watch.ages.values() if one.stream is not None]
    count = sum(stream.since(stream.number - _LOTS + 1)[0] for stream in known)
    shown = most_moved(parts, is_alarmed=watch.is_alarmed)
    state = state_of(is_alarmed=watch.is_alarmed, learnt=done, count=count)
    reason = {
        State.LEARNING: f"{learnt} of {LOT_LABELS * LEARN_LOTS} labels of one age seen",
        State.BLIND: f"fewer than {LOT_LABELS} labels of one age came since it was learnt",
    }.get(state, "")
    yield Watched(
        Signal.ACCURACY,
        None,
        state,
        done,
        reason=reason,
        log_evalue=watch.log_evalue,
        needed=watch.budget.threshold,
        label=shown.label if shown else "",
        normal=shown.normal if shown else None,
        now=shown.now if shown else None,
        count=count,
        parts=parts,
    )


def _parts(age: int, one: AgeWatch, *, is_class: bool) -> Iterator[Part]:
    """Shares of one age."""
    stream, edges = one.stream, one.edges
    if stream is None or edges is None:
        return
    labels, shares = stream.since(stream.number - _LOTS + 1)
    for place, edge in enumerate(edges.tolist()):
        what = "wrong" if is_class else f"off by more than {edge:.3g}"
        evidence = stream.log_evalue if place == stream.strongest else 0.0
        yield Part(
            f"{what}, {_age_text(age)}", float(stream.rates[place]), float(shares[place]) if labels else None, evidence
        )


def _age_text(age: int) -> str:
    """How old labels are."""
    if age == 0:
        return f"within {_text(AGE_LIMITS_S[0])}"
    return f"after {_text(AGE_LIMITS_S[age - 1])}"


def _text(seconds: int) -> str:
    size = next(size for size in _UNITS if seconds >= size)
    return f"{seconds // size} {_UNITS[size]}"
