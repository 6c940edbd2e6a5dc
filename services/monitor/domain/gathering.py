"""Folds what came in into blocks: by version, arm, replica and second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain import sketch
from services.monitor.domain.answers import answers_of
from services.monitor.domain.blocks import ABANDONED, NS, Batch, Block, Exemplar, Rejection, plausible_ns
from services.monitor.domain.outcomes import CODES, OUTCOME_OF_CODE, Outcome
from services.monitor.domain.phases import COMPUTE_PHASES, FLOW_PHASES, Signal
from services.monitor.domain.sketch import Counts

_SCALARS = {
    Signal.CONFIDENCE: ("confidence", "<f4"),
    Signal.ENTROPY: ("entropy", "<f4"),
    Signal.NORM: ("norm", "<f4"),
    Signal.LENGTH: ("length", "<u4"),
}
_Key = tuple[str, str, int, str, str]
"""Model, version, second, instance, arm."""


def gather(batches: Iterable[Batch], rejections: Iterable[Rejection], *, now_ns: int) -> list[Block]:
    """Fold what came in into blocks, one for each replica, arm and second, and one for what reached no replica."""
    groups: dict[_Key, list[Batch]] = defaultdict(list)
    for batch in batches:
        second = plausible_ns(batch.end_ns, now_ns) // NS
        groups[batch.model, batch.version, second, batch.instance, batch.arm].append(batch)
    blocks = [_executed(key, group) for key, group in groups.items()]
    rejected: dict[_Key, Block] = {}
    for rejection in rejections:
        second = plausible_ns(rejection.end_ns, now_ns) // NS
        key = rejection.model, rejection.version, second, "", rejection.arm
        block = rejected.get(key) or rejected.setdefault(key, _blank(key))
        block.outcomes[rejection.outcome] += rejection.weight
        block.drawn += rejection.weight * rejection.is_drawn
        if rejection.outcome is Outcome.CLIENT_ERROR:
            block.ended_by_callers += rejection.weight
        if rejection.outcome is Outcome.SERVER_ERROR:
            block.codes[rejection.code] += rejection.weight
            block.failed = rejection.trace_id
            block.refused += rejection.weight
    return [*blocks, *rejected.values()]


def merged(blocks: Iterable[Block]) -> list[Block]:
    """The blocks of versions, by second: those of their replicas and arms together."""
    versions: dict[tuple[str, str, int], Block] = {}
    for block in blocks:
        key = block.model, block.version, block.second
        known = versions.get(key)
        if known is None:
            versions[key] = block.copy()
        else:
            known.add(block)
    return list(versions.values())


def _blank(key: _Key) -> Block:
    model, version, second, instance, arm = key
    return Block(model, version, second, np.zeros(len(Outcome), np.int64), instance=instance, arm=arm)


def _executed(key: _Key, batches: list[Batch]) -> Block:
    sizes = np.array([size for batch in batches for size in batch.sizes], np.int64)
    rows = [size for batch in batches for size in batch.rows]
    # Where batches are many, those of which all is told by chance show how the others went.
    is_told = np.repeat([not batch.is_extra for batch in batches], [len(batch.status) for batch in batches])
    is_batch_told = np.repeat([not batch.is_extra for batch in batches], [len(batch.sizes) for batch in batches])
    # Of each executed batch: the span that speaks for it, and its first request.
    spans = np.repeat(np.arange(len(batches)), [len(batch.sizes) for batch in batches])
    starts = np.cumsum(sizes) - sizes
    status = np.frombuffer(b"".join([batch.status for batch in batches]), np.uint8)
    outcome, is_abandoned = OUTCOME_OF_CODE[status], status == ABANDONED
    flow_ns = np.stack([_nanoseconds([b.wait_us for b in batches]), _nanoseconds([b.total_us for b in batches])])
    compute_ns = np.array([[ns for batch in batches for ns in batch.compute_ns[row]] for row in range(3)], np.int64)
    flow_bins, compute_bins = sketch.bins_of(flow_ns), sketch.bins_of(compute_ns)
    is_ok = (outcome == Outcome.OK) | is_abandoned

    block = _blank(key)
    block.outcomes = np.bincount(outcome[~is_abandoned], minlength=len(Outcome)).astype(np.int64)
    block.codes = np.bincount(np.minimum(status, len(CODES) - 1)[~is_abandoned], minlength=len(CODES))
    block.executions, block.rows, block.largest = len(sizes), sum(rows), int(sizes.max())
    block.executed = len(status)
    # Whether one of those that the gateway settled was drawn, its own span says.
    block.drawn = sum([min(batch.drawn, len(batch.status) - batch.status.count(ABANDONED)) for batch in batches])
    block.since = min(block.second, min([batch.start_ns or batch.end_ns for batch in batches]) // NS)
    for row, phase in enumerate(FLOW_PHASES):
        block.counts[phase] = sketch.count(flow_bins[row][is_told])
        block.sums_ns[phase] = flow_ns[row][is_told].sum(dtype=np.float64)
        block.ok_counts[row] = sketch.count(flow_bins[row][is_ok & is_told])
        for shown, at in ((block.slowest, int(flow_ns[row].argmax())), (block.ordinary, _median(flow_ns[row]))):
            owner = batches[spans[np.searchsorted(starts, at, side="right") - 1]]
            shown[phase] = Exemplar(owner.trace_id, int(flow_ns[row, at]), _trace_of(batches, at))
    for row, phase in enumerate(COMPUTE_PHASES):
        block.counts[phase] = sketch.count(compute_bins[row][is_batch_told], sizes[is_batch_told])
        block.sums_ns[phase] = float((compute_ns[row] * sizes.astype(np.float64))[is_batch_told].sum())
        for shown, at in ((block.slowest, int(compute_ns[row].argmax())), (block.ordinary, _median(compute_ns[row]))):
            shown[phase] = Exemplar(batches[spans[at]].trace_id, int(compute_ns[row, at]))
    has_ok = np.add.reduceat(is_ok.astype(np.int64), starts) > 0
    block.compute_counts = _by_rows(rows, compute_bins, has_ok & is_batch_told)
    for batch in batches:
        block.busy_ns[batch.instance] += sum(map(sum, batch.compute_ns))
        _add_skipped(block, batch)
    block.failed = _failed(batches, outcome)
    block.redelivered = sum([len(batch.status) for batch in batches if batch.delivery_count > 1])
    _add_answers(block, batches)
    return block


def _add_skipped(block: Block, batch: Batch) -> None:
    skipped = batch.skipped
    block.outcomes[Outcome.OK] += skipped.requests
    block.codes[0] += skipped.requests
    block.executed += skipped.requests
    block.drawn += skipped.drawn
    block.executions += skipped.batches
    block.rows += skipped.rows
    block.busy_ns[batch.instance] += skipped.compute_ns


def _nanoseconds(parts: list[bytes]) -> NDArray[np.int64]:
    return np.frombuffer(b"".join(parts), "<u4").astype(np.int64) * 1_000


def _median(values: NDArray[np.int64]) -> int:
    """Where the median is."""
    middle = len(values) // 2
    return int(np.argpartition(values, middle)[middle])


def _by_rows(rows: list[int], bins: NDArray[np.intp], is_ok: NDArray[np.bool_]) -> dict[int, Counts]:
    strata = np.array([size.bit_length() - 1 for size in rows], np.int64)
    return {
        int(stratum): np.stack([sketch.count(row[(strata == stratum) & is_ok]) for row in bins])
        for stratum in np.unique(strata[is_ok])
    }


def _failed(batches: list[Batch], outcome: NDArray[np.uint8]) -> bytes | None:
    """The trace of the first request that failed by the server's fault: such requests' own spans are always kept."""
    at = int((outcome == Outcome.SERVER_ERROR).argmax())
    return _trace_of(batches, at) if outcome[at] == Outcome.SERVER_ERROR else None


def _trace_of(batches: list[Batch], request: int) -> bytes:
    for batch in batches:
        if request < len(batch.status):
            return batch.trace_ids[16 * request : 16 * (request + 1)]
        request -= len(batch.status)
    return b""


def _add_answers(block: Block, batches: list[Batch]) -> None:
    columns: dict[Signal, NDArray[np.generic]] = {}
    for signal, (name, dtype) in _SCALARS.items():
        parts = [part for batch in batches if (part := getattr(batch, name))]
        if parts:
            columns[signal] = np.frombuffer(b"".join(parts), dtype)
            _show(block, signal, [batch for batch in batches if getattr(batch, name)], columns[signal])
    classes = np.frombuffer(b"".join([batch.classes for batch in batches]), "<i4")
    nonfinite = 0
    for batch in batches:
        if batch.nonfinite:
            counts = np.frombuffer(batch.nonfinite, "<u4")
            nonfinite += int(np.count_nonzero(counts))
            at = int(counts.argmax())
            block.shown[Signal.NONFINITE] = Exemplar(batch.trace_id, 0, batch.trace_ids[16 * at : 16 * (at + 1)])
        if batch.sampled:
            sampled, block.inputs_kind = len(batch.sampled) // 4, batch.inputs_kind
            block.sketches.append(np.frombuffer(batch.sketch, "<f4").reshape(sampled, -1))
            block.sketched_classes.append(_sampled_classes(batch))
    if columns or len(classes) or nonfinite:
        block.answers = answers_of(columns, classes, nonfinite)


def _sampled_classes(batch: Batch) -> NDArray[np.int32]:
    sampled, classes = np.frombuffer(batch.sampled, "<u4"), np.frombuffer(batch.classes, "<i4")
    found = np.full(len(sampled), -1, np.int32)
    is_there = sampled < len(classes)
    found[is_there] = classes[sampled[is_there]]
    return found


def _show(block: Block, signal: Signal, batches: list[Batch], values: NDArray[np.generic]) -> None:
    """Remember the request whose answer stands out: the least confident, the largest in all else."""
    request = int(values.argmin() if signal is Signal.CONFIDENCE else values.argmax())
    for batch in batches:
        if request < len(batch.status):
            block.shown[signal] = Exemplar(batch.trace_id, 0, batch.trace_ids[16 * request : 16 * (request + 1)])
            return
        request -= len(batch.status)
