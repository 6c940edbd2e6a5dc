"""Runs of scenarios: what is told of them is what happened."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.monitor.domain.blocks import Batch
from services.monitor.evaluation.stream import FEATURES, SpanStream, Traffic
from tests.evaluation.__main__ import FIRST_SEED, jobs
from tests.evaluation.alterations import delayed, ended_s, rounded
from tests.evaluation.journal import Journal
from tests.evaluation.rivals import CALM_S, Second, always, second_of, thresholds, told
from tests.evaluation.run import Job, Outcome, carry_out, carry_out_together, together
from tests.evaluation.scenarios import BENIGN, FAULTS, LOADS, NULL, Draw, Strength
from tests.evaluation.thinner import Thinner
from tests.evaluation.witness import Witness

RIVALS = {"always": always, "rules": thresholds}


def batches(seconds: int = 3) -> list[Batch]:
    stream = SpanStream(Draw.of(3, "even").traffic())
    return [one for _, sent in stream.run(until_s=seconds) for one in sent if isinstance(one, Batch)]


def test_there_are_13_faults_and_11_that_are_none() -> None:
    assert (len(FAULTS), len(BENIGN)) == (13, 11)
    names = [one.name for one in (*FAULTS, *BENIGN, *NULL)]
    assert len(set(names)) == len(names)
    assert all(list(one.values) == sorted(set(one.values)) for one in FAULTS)
    floored = [one for one in FAULTS if one.floor is not None]
    assert {one.name for one in floored} == {"label shift", "less confidence", "error burst"}
    for one in floored:
        assert one.floor is not None
        floors = [one.floor(value) for value in one.values]
        assert floors == sorted(floors, reverse=True)


def test_every_seed_tries_everything() -> None:
    made = list(jobs(seeds=2, first_seed=FIRST_SEED, loads=list(LOADS), kinds=["faults", "benign", "null"]))
    assert len(made) == len(set(made)) == 2 * len(LOADS) * (3 * len(FAULTS) + len(BENIGN) + len(NULL))
    assert {one.seed for one in made[: len(made) // 2]} == {FIRST_SEED}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.name)
def test_nothing_is_wrong_before_a_fault_begins(fault) -> None:
    """As long as it lasts, the traffic with a fault of any strength is the same to the bit."""
    draw = Draw.of(5, "waves")
    seen = []
    for strength in Strength:
        traffic, alter = fault.make(draw, fault.value(strength))
        if fault.name in ("stuck replica", "dead replica", "wrong weights"):  # they differ in load
            assert traffic.rate(0) == fault.value(strength) * LOADS["waves"](0)
            return
        sent = [one for _, spans in SpanStream(traffic).run(until_s=5) for one in spans]
        seen.append([alter(one) for one in sent if isinstance(one, Batch)])
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]


def test_a_delay_before_the_queue_is_in_the_wait_and_in_the_total() -> None:
    alter = delayed(1.5, 20.0)
    for one in batches():
        more = 20_000 if ended_s(one) >= 1.5 else 0
        for before, after in ((one.wait_us, alter(one).wait_us), (one.total_us, alter(one).total_us)):
            assert (np.frombuffer(after, "<u4") - np.frombuffer(before, "<u4") == more).all()


def _carry_out_together(jobs_: Sequence[Job]) -> list[Outcome]:
    return list(carry_out_together(jobs_, RIVALS))


def test_runs_that_share_their_beginning_end_as_they_would_alone() -> None:
    jobs_ = [Job("faults", one.name, Strength.STRONG, "waves", 5) for one in FAULTS]
    groups = together(jobs_)
    assert sorted(map(len, groups)) == [1, 1, 3, 8], "errors, fewer replicas, a load of their own"
    some = [one for one in jobs_ if one.scenario in ("NaN", "slow network")]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:  # it forks: no other threads
        outcomes = fresh.submit(_carry_out_together, some).result()
    for outcome in outcomes:
        assert replace(outcome, cpu_s=0.0) == replace(carry_out(outcome.job, RIVALS), cpu_s=0.0)


def test_rounding_moves_logits_by_its_noise() -> None:
    def logits(one: Batch) -> np.ndarray:
        share = np.frombuffer(one.confidence, "<f4").astype(float)
        return np.log(share / (1 - share))

    alter = rounded(0.0, 0.1, seed=1)
    moved = np.concatenate([logits(alter(one)) - logits(one) for one in batches(10)])
    assert moved.std() == pytest.approx(0.1, rel=0.15)
    assert batches()[0] == rounded(100.0, 0.1, seed=1)(batches()[0])


def test_the_witness_knows_whose_requests_a_fault_touched() -> None:
    draw = Draw(1, "even", 1.5, 1)
    slow, failing = FAULTS[0].expected, next(one for one in FAULTS if one.name == "error burst").expected
    whose, which = Witness(draw, slow), Witness(draw, failing)
    for one in batches():
        whose.see(one)
        which.see(one)
        is_touched = ended_s(one) >= 1.5 and one.instance.startswith("node.1@")
        assert whose.is_touched(one.trace_id.hex()) is is_touched
        assert whose.is_touched(one.trace_ids[:16].hex()) is is_touched
        assert not which.is_touched(one.trace_id.hex())  # nothing failed
    everything = which.requests_until(10)
    assert 0 < whose.requests_until(10) < everything
    assert whose.requests_until(1.5) == 0
    assert which.requests_until(2.2) < everything < which.requests


def second(at_s: int, *, p99_ms: float = 10.0, error_share: float = 0.0) -> Second:
    return Second(at_s, 5.0, p99_ms, error_share, 0.0, 0.9, (0.1,) * 10, (0.0,) * 8)


def test_a_rule_raises_one_alarm_for_one_trouble_and_another_for_another() -> None:
    seconds = [
        second(at_s, p99_ms=30.0 if at_s >= 90 else 10.0, error_share=0.02 * (at_s == 100)) for at_s in range(150)
    ]
    assert thresholds(seconds) == [90, 100]
    again = [second(at_s, error_share=0.02 * (at_s in (70, 75, 75 + CALM_S))) for at_s in range(150)]
    assert thresholds(again) == [70, 75 + CALM_S]
    assert thresholds(seconds[:60]) == []


def test_alarms_before_the_fault_are_false_ones() -> None:
    assert told([50, 101, 130], fault_s=100.5) == told([90, 101], fault_s=100.5)
    assert told([50, 101], fault_s=100.5).delay_s == 0.5
    assert (told([50], fault_s=100.5).delay_s, told([50, 60], fault_s=None).false_alarms) == (None, 2)


def test_figures_of_a_second_are_those_of_its_requests() -> None:
    some = batches(2)
    figures = second_of(7, some)
    assert figures is not None
    assert figures.at_s == 7
    assert sum(figures.classes) == pytest.approx(1.0)
    assert figures.p50_ms <= figures.p99_ms
    assert figures.error_share == figures.nonfinite_share == 0.0
    assert second_of(7, []) is None


def test_a_run_tells_what_was_found_and_when() -> None:
    outcome = carry_out(Job("faults", "NaN", "strong", "even", 4), RIVALS)
    assert outcome.delay_s is not None
    assert 0 < outcome.delay_s < 6
    assert outcome.is_named
    assert outcome.traces == outcome.touched_traces > 0
    assert (outcome.pages, outcome.tickets) == (0, 0)
    assert outcome.judged_requests is not None
    assert outcome.delay_requests is not None
    assert outcome.judged_requests <= outcome.delay_requests <= outcome.requests
    assert outcome.cpu_s > 0
    assert outcome.rivals["rules"].delay_s is not None
    assert outcome.rivals["always"].delay_s <= 1.0


def test_failed_requests_are_shown() -> None:
    outcome = carry_out(Job("faults", "error burst", "strong", "even", 4), {})
    assert outcome.is_named
    assert outcome.traces == outcome.touched_traces > 0


def test_a_version_and_a_restart_in_the_middle_are_no_fault() -> None:
    for name in ("an identical version takes half of the load", "the monitor is restarted"):
        outcome = carry_out(Job("benign", name, "", "waves", 4), RIVALS)
        assert (outcome.pages, outcome.delay_s, outcome.incidents) == (0, None, 0)
        assert outcome.requests > 5_000
        assert outcome.rivals["always"].false_alarms == outcome.seconds


def test_the_journal_goes_on_where_it_ended_and_passes_over_what_is_of_other_code(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "outcomes.jsonl"
    done, todo = Job("faults", "NaN", "strong", "even", 4), Job("faults", "NaN", "strong", "even", 6)
    kept = Journal(path)
    outcome = carry_out(done, RIVALS)
    kept.write(outcome)
    path.write_text(path.read_text() + '{"made_of": "bro')  # it was ended while it wrote
    again = Journal(path)
    assert again.of([done, todo]) == [outcome]
    assert again.missing([done, todo], rivals=frozenset(RIVALS)) == [todo]
    assert again.missing([done], rivals=frozenset({"another"})) == [done]
    stale = json.loads(path.read_text().splitlines()[0]) | {"made_of": "something else"}
    path.write_text(json.dumps(stale) + "\n")
    assert Journal(path).of([done]) == []


def test_null_runs_have_what_is_always_the_same_and_others_are_as_they_would_be_without() -> None:
    def spans(traffic: Traffic) -> list[Batch]:
        return [one for _, sent in SpanStream(traffic).run(until_s=3) for one in sent if isinstance(one, Batch)]

    draw = Draw.of(3, "even")
    ((_, traffic),) = NULL[1].make(draw)
    for one, plain in zip(spans(traffic), spans(draw.traffic()), strict=True):
        sketch = np.frombuffer(one.sketch, "<f4").reshape(-1, FEATURES + 1)
        assert set(sketch[:, FEATURES]) == set(np.frombuffer(one.norm, "<f4")) == {1.0}
        assert sketch[:, :FEATURES].tobytes() == plain.sketch
        assert replace(one, sketch=plain.sketch, norm=b"") == plain


def test_where_batches_are_many_most_are_only_counted_and_what_failed_is_told() -> None:
    traffic = Traffic(rate=lambda _: 2_000, base_s=0.001, per_row_s=0.0002, seed=3)
    traffic.faults.errors = lambda _, __: 0.01

    def figures(spans: Iterable[object]) -> tuple[int, int, int]:
        """Requests that are told, those that are only counted, and those that failed."""
        seen = [one for one in spans if isinstance(one, Batch)]
        status = np.frombuffer(b"".join([one.status for one in seen]), np.uint8)
        assert all(len(one.sketch) == len(one.sampled) * FEATURES for one in seen)
        return len(status), sum(one.skipped.requests for one in seen), int(np.count_nonzero(status))

    thinner = Thinner(3)
    for second, (_, sent) in enumerate(SpanStream(traffic).run(until_s=5)):
        sent_all, none, failed = figures(sent)
        told, skipped, told_failed = figures(thinner.thin(sent))
        assert (told + skipped, none, told_failed) == (sent_all, 0, failed)
        assert (second == 0) == (skipped == 0)
