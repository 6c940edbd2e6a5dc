from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.monitor.domain import sketch
from services.monitor.domain.blocks import ABANDONED, NS, Rejection, Skipped
from services.monitor.domain.detectors import VersionDetectors
from services.monitor.domain.evidence import Budget
from services.monitor.domain.gathering import gather
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.phases import Phase
from services.monitor.domain.verdict.sample import sample_of
from tests.support.traffic import START_S, batch

NOW_NS = (START_S + 2) * NS


def test_batches_of_one_second_become_one_block_that_counts_every_request() -> None:
    ok = batch(wait_us=[100, 200], total_us=[5_000, 5_100], status=[0, 0])
    failed = batch(compute_ns=(1, 9_000_000, 1), wait_us=[50, 60], total_us=[9_100, 9_200], status=[0, 13])

    (block,) = gather([ok, failed], [], now_ns=NOW_NS)

    assert block.outcomes.tolist() == [3, 0, 1]
    assert (block.executions, block.rows, block.requests) == (2, 4, 4)
    assert block.counts.sum(axis=1).tolist() == [4, 4, 4, 4, 4]
    assert block.sums_ns[Phase.QUEUE] == 410_000
    assert block.sums_ns[Phase.COMPUTE_INFER] == 2 * 5_000_000 + 2 * 9_000_000
    assert block.ok_counts.sum(axis=1).tolist() == [3, 3]
    assert {rows: counts.sum(axis=1).tolist() for rows, counts in block.compute_counts.items()} == {1: [2, 2, 2]}
    assert block.busy_ns["worker-1"] == 5_050_000 + 9_000_002


def test_a_block_names_the_slowest_batch_and_a_failed_request() -> None:
    fast = batch(trace_id=b"f" * 16, wait_us=[1, 2], total_us=[3, 4], status=[0, 14])
    slow = batch(trace_id=b"s" * 16, compute_ns=(1, 10**9, 1), wait_us=[0], total_us=[10**6])

    (block,) = gather([fast, slow], [], now_ns=NOW_NS)

    assert block.slowest[Phase.COMPUTE_INFER].trace_id == block.slowest[Phase.TOTAL].trace_id == slow.trace_id
    assert block.slowest[Phase.QUEUE].trace_id == fast.trace_id
    assert block.failed == fast.trace_ids[16:32]


def test_batches_that_share_a_span_are_counted_like_batches_with_spans_of_their_own() -> None:
    alone = [
        batch(compute_ns=(10, 1_000_000, 5), wait_us=[100, 200], total_us=[1_100, 1_200], status=[0, 0]),
        batch(compute_ns=(20, 1_800_000, 5), wait_us=[50], total_us=[1_900], status=[0], rows=5),
        batch(compute_ns=(30, 900_000, 5), wait_us=[9, 8, 7], total_us=[910, 909, 908], status=[0, 0, 0]),
    ]
    shared = replace(
        alone[0],
        sizes=(2, 1, 3),
        rows=(2, 5, 3),
        compute_ns=((10, 20, 30), (1_000_000, 1_800_000, 900_000), (5, 5, 5)),
        wait_us=b"".join(one.wait_us for one in alone),
        total_us=b"".join(one.total_us for one in alone),
        status=b"".join(one.status for one in alone),
        trace_ids=b"".join(one.trace_ids for one in alone),
    )
    other = batch(trace_id=b"o" * 16, wait_us=[1], total_us=[2_000_000], status=[13])

    (expected,) = gather([*alone, other], [], now_ns=NOW_NS)
    (block,) = gather([shared, other], [], now_ns=NOW_NS)

    for name in ("outcomes", "counts", "sums_ns", "ok_counts"):
        assert np.array_equal(getattr(block, name), getattr(expected, name)), name
    assert (block.executions, block.rows, block.busy_ns) == (expected.executions, expected.rows, expected.busy_ns)
    assert block.compute_counts.keys() == expected.compute_counts.keys() == {1, 2}
    assert all(np.array_equal(block.compute_counts[rows], expected.compute_counts[rows]) for rows in (1, 2))
    assert (block.slowest, block.failed) == (expected.slowest, other.trace_ids)


def test_batches_that_are_only_counted_add_to_what_was_done_and_not_to_how_it_went() -> None:
    told = replace(
        batch(wait_us=[100, 200], total_us=[5_000, 6_000], status=[0, 0]), skipped=Skipped(10, 30, 40, 50_000)
    )
    slow = replace(batch(wait_us=[9], total_us=[70_000], status=[13]), is_extra=True)
    (block,) = gather([told, slow], [], now_ns=NOW_NS)
    assert block.outcomes.tolist() == [32, 0, 1]
    assert (block.executions, block.rows, block.executed, block.told) == (12, 43, 33, 2)
    assert block.busy_ns == {"worker-1": 2 * sum((20_000, 5_000_000, 30_000)) + 50_000}
    assert block.counts.sum(axis=1).tolist() == [2] * len(Phase)
    assert block.slowest[Phase.TOTAL].duration_ns == 70_000_000, "one that went wrong is shown all the same"
    assert block.failed is not None


def test_requests_that_a_rollout_drew_are_counted_once_whatever_became_of_them() -> None:
    ran = replace(
        batch(wait_us=[9] * 3, total_us=[99] * 3, status=[0, 0, ABANDONED]), drawn=3, skipped=Skipped(5, 8, 9, 6, 4)
    )
    expired = Rejection("digits", "1", b"r" * 16, START_S * NS, Outcome.SERVER_ERROR, 1, is_drawn=True)
    named = Rejection("digits", "1", b"n" * 16, START_S * NS, Outcome.SERVER_ERROR, 1)

    executed, rejected = gather([ran], [expired, named], now_ns=NOW_NS)

    assert (executed.drawn, rejected.drawn) == (2 + 4, 1)
    executed.add(rejected)
    assert (executed.drawn, executed.copy().drawn, sample_of(executed).drawn) == (7, 7, 7)


def test_a_second_of_which_only_what_went_wrong_is_told_says_nothing_of_durations() -> None:
    (block,) = gather([replace(batch(), is_extra=True)], [], now_ns=NOW_NS)
    assert (block.requests, block.told, block.compute_counts) == (1, 0, {})
    detectors = VersionDetectors(Budget(1.0, 1))
    detectors.add(block)
    assert list(detectors.judge(START_S + 10.0)) == []


def test_a_batch_in_which_nothing_succeeded_says_nothing_about_compute_times() -> None:
    (block,) = gather([batch(status=[13])], [], now_ns=NOW_NS)

    assert block.compute_counts == {}


def test_a_request_that_the_gateway_gave_up_while_it_ran_is_counted_once() -> None:
    ran = batch(wait_us=[100, 200], total_us=[5_000, 5_100], status=[0, ABANDONED])
    expired = Rejection("digits", "1", b"r" * 16, START_S * NS, Outcome.SERVER_ERROR, 1)

    executed, rejected = gather([ran], [expired], now_ns=NOW_NS)
    executed.add(rejected)

    assert executed.outcomes.tolist() == [1, 0, 1]
    assert executed.counts.sum(axis=1).tolist() == [2, 2, 2, 2, 2]


def test_a_batch_that_came_too_late_for_everybody_is_still_judged_by_its_compute_times() -> None:
    (block,) = gather([batch(status=[ABANDONED])], [], now_ns=NOW_NS)

    assert (block.requests, block.executions, list(block.compute_counts)) == (0, 1, [0])


def test_seconds_versions_and_models_stay_apart() -> None:
    batches = [batch(), batch(end_ns=(START_S + 1) * NS), batch(version="2"), batch(model="other")]

    blocks = gather(batches, [], now_ns=NOW_NS)

    assert len(blocks) == 4
    assert {(block.model, block.version, block.second - START_S) for block in blocks} == {
        ("digits", "1", 0), ("digits", "1", 1), ("digits", "2", 0), ("other", "1", 0),
    }  # fmt: skip


def test_a_span_from_a_wrong_clock_counts_when_it_comes() -> None:
    wrong = [batch(end_ns=0), batch(end_ns=NOW_NS + 3_600 * NS), batch(end_ns=2**63)]

    (block,) = gather(wrong, [], now_ns=NOW_NS)

    assert (block.second, block.requests) == (START_S + 2, 3)


def test_a_rejection_counts_by_its_weight() -> None:
    rejection = Rejection("digits", "1", b"r" * 16, START_S * NS, Outcome.SERVER_ERROR, 250)

    (block,) = gather([], [rejection], now_ns=NOW_NS)

    assert (block.outcomes.tolist(), block.executions, block.failed) == ([0, 0, 250], 0, b"r" * 16)


def test_blocks_of_the_same_second_add_up() -> None:
    parts = [batch(compute_ns=(1, ns, 1), status=[0] * size, wait_us=[1] * size, total_us=[9] * size)
             for ns, size in ((1_000, 1), (2_000, 2), (3_000, 4))]  # fmt: skip
    (whole,) = gather(parts, [], now_ns=NOW_NS)

    (summed,) = gather(parts[:1], [], now_ns=NOW_NS)
    summed.add(gather(parts[1:], [], now_ns=NOW_NS)[0])

    assert (summed.counts == whole.counts).all()
    assert (summed.outcomes == whole.outcomes).all()
    assert summed.busy_ns == whole.busy_ns
    assert summed.slowest == whole.slowest
    assert summed.compute_counts.keys() == whole.compute_counts.keys()
    assert np.sum([counts.sum() for counts in summed.compute_counts.values()]) == 9
    assert sketch.quantile(summed.counts[Phase.QUEUE], 0.5) == sketch.quantile(whole.counts[Phase.QUEUE], 0.5)


def test_a_clock_that_is_ahead_makes_no_block_that_begins_after_its_end() -> None:
    ahead = replace(batch(end_ns=NOW_NS + 3 * NS), start_ns=NOW_NS + 2 * NS)

    (block,) = gather([ahead], [], now_ns=NOW_NS)

    assert block.since == block.second == NOW_NS // NS
