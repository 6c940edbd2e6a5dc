"""What a candidate in the shadow costs those who are answered: requests at a fixed rate, with copies and without."""

from __future__ import annotations

import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import product

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bench import Bench
from benchmarks.load import LoadFailedError, Timing
from benchmarks.measurement import Figures, Result, check_answers, observe
from benchmarks.report import Section, Table, as_json, change, number
from benchmarks.server_process import StartError
from benchmarks.systems import Counts, PenstockSystem, Titled
from benchmarks.workloads import Digits, Workload
from penstock.registry.v1.rollout_service_pb2 import Rollout

RATES = (200, 1_000)
"""Requests a second. Both leave most of two cores idle: what is found is what copying does, not a want of cores."""
PAIRS = 20
"""Pairs of rounds in a suite at each rate."""
_SETTLE_S = 0.5
_COPIES_S = 10.0
"""How soon copies follow the last answer, and a rollout is known to the gateway."""
_LEAST_COPIED = 0.95
"""Share of the requests whose copies are compared; gateways make none while too many are under way."""

Pair = tuple[Figures, Figures]
"""A round with copies, and one without."""


class Shadowed(Titled):
    """A suite with a model's two versions, which are the same; both stay loaded, whether or not one is in the shadow.

    Nothing but a rollout's beginning and end differs between the halves of a pair: no process is started for it, and
    the candidate's, which has nothing to do without copies, holds the same memory.
    """

    def __init__(self, suite: PenstockSystem, workload: Workload) -> None:
        """Deploys both."""
        super().__init__(suite, suite.title)
        self.suite = suite
        self.workload = workload
        suite.deploy(workload)
        suite.deploy(workload, is_beside=True)
        self._candidate, self._baseline = suite.client.deployment(workload.name).versions
        self._rollout = ""

    @property
    def is_on(self) -> bool:
        return bool(self._rollout)

    def turn(self, *, is_on: bool) -> None:
        """Begin a rollout with copies of all requests, or roll it back; returns when the gateway does so.

        Raises:
            StartError: the candidate does not come into the shadow.
        """
        if is_on and not self.is_on:
            self._rollout = self.suite.client.rollouts.start(
                self.workload.name, self._candidate, strategy="shadow", steps=[1.0], is_manual=True
            ).name
        elif self.is_on and not is_on:
            self.suite.client.rollouts.roll_back(self._rollout)
            self._rollout = ""
        self.suite.wait_until(lambda: self._is_copied() is is_on, within_s=_COPIES_S)

    def counts(self, workload: Workload) -> Counts | None:
        """Those of the version that answers: executions of copies count, too, but for the other one."""
        return self.suite.counts(workload, version=self._baseline.rpartition("/")[2])

    def _is_copied(self) -> bool:
        before = self.copies()
        self.api(self.workload).call(self.workload.rows(1)).ask()
        time.sleep(0.2)
        return self.copies() != before

    def copies(self) -> Counter[str]:
        """How many there were so far, by what became of them.

        Raises:
            LoadFailedError: the gateway does not tell.
        """
        try:
            with urllib.request.urlopen(f"http://{self.suite.metrics_address}/metrics", timeout=10) as page:
                text = page.read().decode()
        except OSError as error:
            raise LoadFailedError(f"{self.suite.title} does not tell its metrics: {error}") from None
        return Counter(
            {
                sample.labels["outcome"]: round(sample.value)
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == "penstock_gateway_shadow_total" and sample.labels["model"] == self.workload.name
            }
        )

    def check(self, before: Counter[str], *, answered: int) -> None:
        """Check that all that was answered since ``before`` was copied and compared, or nothing, as it should.

        Raises:
            LoadFailedError: it was not, or the answers to copies were other ones, or the rollout is over.
        """
        wanted = answered if self.is_on else 0
        with suppress(StartError):
            self.suite.wait_until(lambda: (self.copies() - before).total() >= wanted, within_s=_COPIES_S)
        came = self.copies() - before
        if self.is_on:
            rollout = self.suite.client.rollouts.get(self._rollout)
            if rollout.state not in (Rollout.STATE_RUNNING, Rollout.STATE_HELD):
                raise LoadFailedError(
                    f"the rollout of a version like the present one has ended: {rollout.state_reason}"
                )
        odd = set(came) - {"agreed", "skipped"}
        if came.total() != wanted or came["agreed"] < _LEAST_COPIED * wanted or odd:
            raise LoadFailedError(f"{dict(came)} copies of {answered} requests, expected {wanted} that agreed")


def shadowing(bench: Bench) -> Section:
    """One suite after another, in which a rollout begins and ends between rounds of requests at a fixed rate."""
    workload = Digits()
    rounds: dict[int, list[Pair]] = {rate: [] for rate in RATES}
    for _ in range(bench.plan.rounds):
        with bench.suite() as suite:
            bench.say(f"deploying {workload.name} twice")
            shadowed = Shadowed(suite, workload)
            reply_size = check_answers(suite.title, suite.api(workload), workload)
            for rate, number_of_pair in product(RATES, range(PAIRS)):
                bench.say(f"{workload.title}, {rate}/s, pair {number_of_pair + 1} of {PAIRS}")
                is_first = number_of_pair % 2 == 0  # so that two halves of a kind follow each other
                halves = {
                    is_on: _half(bench, shadowed, rate, reply_size=reply_size, is_on=is_on)
                    for is_on in (is_first, not is_first)
                }
                rounds[rate].append((halves[True], halves[False]))
            check_answers(suite.title, suite.api(workload), workload)
    results = [
        Result(f"{workload.title}, {rate}/s", rate // 10, title, figures)
        for rate, pairs in rounds.items()
        for title, figures in zip(("with copies", "without"), zip(*pairs, strict=True), strict=True)
    ]
    bench.results.extend(results)
    text = (
        f"{workload.title} over gRPC, {' or '.join(map(number, RATES))} requests a second whether or not those before "
        "are answered: under a load that waits for answers, copies would take from the rate what at a fixed one they "
        "take from idle cores. On: a shadow rollout copies all of them to a version that is the same, and all copies "
        "are compared. Off: there is no rollout; the processes of both versions stay loaded. "
        f"{bench.plan.rounds} suites, {PAIRS} pairs of rounds in each; a change is the median of the rounds' ratios, "
        "with its 95 % interval, drawn by pairs. CPU is that of the whole suite for a request, with its copy."
    )
    return Section("What a shadow costs", [shadowing_table(rounds), text], as_json(results))


def _half(bench: Bench, shadowed: Shadowed, rate: int, *, reply_size: int, is_on: bool) -> Figures:
    """Half a pair: what requests meet, with copies or without."""
    workload = shadowed.workload
    call = shadowed.api(workload).call(workload.rows(1))

    def send(seconds: float) -> Timing:
        tenths = max(2, round(seconds * 10))
        return bench.client.run_steadily(call, rate=rate, requests=tenths * rate // 10)

    shadowed.turn(is_on=is_on)
    send(bench.plan.warm_up_s)
    time.sleep(_SETTLE_S)
    before = shadowed.copies()
    figures = observe(shadowed, workload, lambda: send(bench.plan.seconds), reply_size=reply_size)
    shadowed.check(before, answered=figures.requests)
    return figures


def shadowing_table(rounds: Mapping[int, Sequence[Pair]]) -> Table:
    """How rounds with copies differ from those without, by the rate that was asked for."""
    headings = ["asked", "req/s on", "off", "p50 ms on", "off", "change", "p99 ms on", "off", "change", "CPU"]
    rows = []
    for rate, pairs in rounds.items():
        on, off = (Result("", 1, "", half).median for half in zip(*pairs, strict=True))
        p50, p99 = (_change(pairs, figure) for figure in (lambda one: one.p50_ms, lambda one: one.p99_ms))
        rows.append(
            [
                *(number(rate), number(on.rate), number(off.rate)),
                *(f"{on.p50_ms:.2f}", f"{off.p50_ms:.2f}", p50),
                *(f"{on.p99_ms:.2f}", f"{off.p99_ms:.2f}", p99),
                _change(pairs, lambda one: one.server_cpu_us),
            ]
        )
    return Table(headings, rows)


def _change(pairs: Sequence[Pair], figure: Callable[[Figures], float]) -> str:
    return change([[figure(on) / figure(off)] for on, off in pairs])
