"""What `make bench` measures: each scenario starts what it needs, and returns a section of the report."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks import loop
from benchmarks.bench import Bench
from benchmarks.measurement import Figures, Plan, Result, Subject, Trial, measure
from benchmarks.processes import resident_mb
from benchmarks.report import LOOP, PARTS, Section, Table, as_json, change, costs_table, number, ratio
from benchmarks.shadowing import shadowing
from benchmarks.systems import EchoSystem, RestSystem, Titled
from benchmarks.workloads import Cnn, Digits, Identity, Mebibyte, Workload
from penstock.serving import Serving

SLEEPING = Path(__file__).resolve().parent / "sleeping"
_SHORTER, _PAIRS, _PAIRS_OF_ONE = 4, 30, 80
"""Rounds of a pair of suites: so much shorter, so many pairs, and so many where there is one client."""

Pairs = Sequence[tuple[Figures, Figures]]


def grpc_identity(bench: Bench) -> Section:
    return _costs(bench, Identity(), "What a request costs: identity, FP32 [1, 16], gRPC", has_echo=True)


def grpc_mebibyte(bench: Bench) -> Section:
    return _costs(bench, Mebibyte(), "1 MiB each way, gRPC", has_echo=True)


def grpc_digits(bench: Bench) -> Section:
    return _costs(bench, Digits(), "Digits MLP, FP32 [1, 64], gRPC", has_echo=True, is_computing=True)


def grpc_cnn(bench: Bench) -> Section:
    return _costs(bench, Cnn(), "CNN of ResNet-18's shape, FP32 [1, 3, 64, 64], gRPC", is_computing=True)


def _costs(
    bench: Bench, workload: Workload, title: str, *, has_echo: bool = False, is_computing: bool = False
) -> Section:
    """One workload beside yardsticks: a bare echo, and for models that compute a bare loop; these also optimised."""
    loops: dict[int, list[float]] = {1: [], 16: []} if is_computing else {}

    def run_loops() -> None:
        for batch, rates in loops.items():
            bench.say(f"{workload.title}: {LOOP}, batches of {batch}")
            rates.append(loop.rate_of(workload.name, batch=batch, seconds=bench.plan.seconds))

    with ExitStack() as running:
        os.environ["BENCH_MODELS"] = running.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-"))
        if isinstance(workload, Digits):
            workload.save_weights(Path(os.environ["BENCH_MODELS"], "digits.npz"))
        suite = running.enter_context(bench.suite())
        bench.deploy(suite, workload)
        subjects = [Subject(suite, workload)]
        if is_computing:
            optimised = workload.named(f"{workload.name}-fast")
            bench.deploy(suite, optimised, is_optimized=True)
            subjects = [Subject(Titled(suite, "Penstock, --optimize=off"), workload), Subject(suite, optimised)]
        if has_echo:
            subjects.append(Subject(running.enter_context(EchoSystem()), workload.echoed()))
        results = bench.measure(subjects, after_round=run_loops)
        ready = f"`penstock up` was ready after {suite.startup_s:.1f} s (first start in a new folder)."
    middle = {batch: statistics.median(rates) for batch, rates in loops.items()}
    raw = {"results": as_json(results), "loops": loops, "startup_s": suite.startup_s}
    return Section(title, [costs_table(results, middle), ready], raw)


def rest(bench: Bench) -> Section:
    """REST, with numbers as JSON and as the binary tensor extension has them."""
    workloads = (Identity(), Cnn(), Mebibyte())
    content: list[str | Table] = []
    results = []
    with bench.suite() as suite:
        for workload in workloads:
            bench.deploy(suite, workload)
            subjects = [
                Subject(system, workload)
                for system in (RestSystem(suite, is_binary=False), RestSystem(suite, is_binary=True), suite)
            ]
            found = bench.measure(subjects)
            results += found
            content += [f"{workload.title}; the last row of each is gRPC:", costs_table(found, {})]
    return Section("REST", content, as_json(results))


def telemetry(bench: Bench) -> Section:
    """Two suites side by side, one with tracing as it comes and one without, in pairs of rounds."""
    results = _in_pairs(bench, Identity(), {"telemetry on": {}, "off": {"PENSTOCK_OTLP_ENDPOINT": ""}})
    text = (
        f"Identity over gRPC, {bench.plan.rounds} pairs of suites, {_PAIRS_OF_ONE} pairs of short rounds each for one "
        f"client, whose 99th percentile has ten requests a round to go by, and {_PAIRS} for several; a change "
        "is the median of the rounds' ratios, with its 95 % interval, drawn by pairs of suites. Off: "
        "`PENSTOCK_OTLP_ENDPOINT` is empty; the monitor runs in both suites."
    )
    return Section("What telemetry costs", [telemetry_table(results, bench.plan.rounds), text], as_json(results))


def telemetry_table(results: Sequence[Result], suites: int) -> Table:
    """How rounds of ``suites`` suites with and without differ, given in turns, by number of clients."""
    rows = []
    for with_it, without in zip(results[::2], results[1::2], strict=True):
        pairs = list(zip(with_it.rounds, without.rounds, strict=True))
        size = len(pairs) // suites
        medians = with_it.median, without.median
        rates, p99s = [number(one.rate) for one in medians], [f"{one.p99_ms:.2f}" for one in medians]
        rate, p99, cpu = _changes([pairs[at : at + size] for at in range(0, len(pairs), size)])
        rows.append([str(with_it.concurrency), *rates, rate, *p99s, p99, cpu])
    return Table(["clients", "req/s on", "off", "change", "p99 ms on", "off", "change", "CPU"], rows)


def _changes(by_suites: Sequence[Pairs]) -> list[str]:
    """Of the rate, the 99th percentile and the CPU time; pairs of rounds by the pair of suites that they are of."""
    figures: list[Callable[[Figures], float]] = [
        lambda one: one.rate,
        lambda one: one.p99_ms,
        lambda one: one.server_cpu_us,
    ]
    return [change([[figure(a) / figure(b) for a, b in pairs] for pairs in by_suites]) for figure in figures]


def _in_pairs(bench: Bench, workload: Workload, settings: Mapping[str, Mapping[str, str]]) -> list[Result]:
    """Measure suites with different settings, by title, in turns.

    Two suites of one kind differ by several percent for as long as they run, so all begin anew again and again. The
    machine changes from one second to the next, so each pair has many short rounds instead of two long ones.
    """
    rounds: dict[tuple[int, str], list[Figures]] = {}
    for block in range(bench.plan.rounds):
        with ExitStack() as running:
            suites = [
                running.enter_context(bench.suite(title=title, settings=settings[title]))
                for title in (settings if block % 2 == 0 else reversed(settings))
            ]
            for suite in suites:
                bench.deploy(suite, workload)
            subjects = [Subject(suite, workload) for suite in suites]
            for concurrency in bench.clients or workload.concurrencies:
                plan = Plan(_PAIRS if concurrency > 1 else _PAIRS_OF_ONE, bench.plan.seconds / _SHORTER)
                for one in measure(plan, subjects, client=bench.client, say=bench.say, concurrencies=[concurrency]):
                    rounds.setdefault((concurrency, one.system), []).extend(one.rounds)
    results = [
        Result(workload.title, concurrency, title, tuple(rounds[concurrency, title]))
        for concurrency in bench.clients or workload.concurrencies
        for title in settings
    ]
    bench.results.extend(results)
    return results


def scaling(bench: Bench) -> Section:
    """Model processes whose compute is a 10 ms sleep, one and four of them."""
    workload, plan, raw, rows = Identity(), bench.plan, [], []
    for max_batch in (1, 8):
        rates: list[float] = []
        paths = os.pathsep.join([str(SLEEPING), *filter(None, [os.environ.get("PYTHONPATH")])])
        with bench.suite(settings={"PYTHONPATH": paths}) as suite:
            bench.deploy(suite, workload, serving=Serving(max_batch_size=max_batch, replicas=1))
            for replicas in (1, 4):
                bench.say(f"{replicas} processes, batches of {max_batch}")
                suite.scale(workload, replicas)
                (result,) = measure(
                    plan, [Subject(suite, workload)], client=bench.client, say=bench.say, concurrencies=[64]
                )
                bench.results.append(result)
                raw.append(result.as_json())
                rates.append(result.median.rate)
        ideal = max_batch / 0.010
        rows.append(
            [str(max_batch), *(number(rate) for rate in rates), ratio(rates[1], rates[0]), f"{rates[0] / ideal:.0%}"]
        )
    headings = ["most rows in a batch", "rows/s, 1 process", "4 processes", "times", "of what 1 could do"]
    text = "64 clients; every run of the model sleeps 10 ms."
    return Section("One model process and four", [Table(headings, rows), text], raw)


def backlog(bench: Bench) -> Section:
    """10,000 requests under way beside 100."""
    workload, counts = Identity(), (100, 10_000)
    with bench.suite() as suite:
        bench.deploy(suite, workload, serving=Serving(max_queue_size=20_000))
        trials = [Trial(suite, workload, count, client=bench.client, connections=100) for count in counts]
        for trial in trials:
            bench.say(f"{trial.concurrency:,} under way: warms up")
            trial.warm_up(bench.plan)
        for index in range(bench.plan.rounds):
            for trial in trials:
                bench.say(f"{trial.concurrency:,} under way, round {index + 1} of {bench.plan.rounds}")
                trial.run()
        results = [trial.result() for trial in trials]
    bench.results.extend(results)
    few, many = (one.median for one in results)
    text = (
        "Over 100 connections. CPU per request with 10,000 under way is "
        f"{ratio(many.server_cpu_us, few.server_cpu_us)} that with 100."
    )
    return Section("10,000 requests under way, and 100", [costs_table(results, {}), text], as_json(results))


def many_models(bench: Bench) -> Section:
    """One model's requests while many others are deployed and idle, and before."""
    workload = Identity()
    with bench.suite() as suite:
        bench.deploy(suite, workload)
        alone = bench.measure([Subject(suite, workload)])
        before = resident_mb(suite.processes())
        begin = time.monotonic()
        names = [f"idle-{index:03}" for index in range(bench.idle_models)]
        for index, name in enumerate(names):
            bench.say(f"deploying idle model {index + 1} of {len(names)}")
            suite.deploy(workload, name=name, wait=False)
            if psutil.virtual_memory().available < 2e9:
                names = names[: index + 1]
                break
        bench.say("waiting until all serve")
        suite.wait_until_serving(names)
        took, memory = time.monotonic() - begin, resident_mb(suite.processes()) - before
        among = bench.measure([Subject(suite, workload)])
    rows = [
        [str(a.concurrency), *_pair(a.median, b.median, lambda one: one.rate), *_pair(a.median, b.median, _hot_cpu_us)]
        for a, b in zip(alone, among, strict=True)
    ]
    headings = [
        "clients",
        "req/s alone",
        f"among {len(names)}",
        "ratio",
        "CPU µs alone",
        f"among {len(names)}",
        "ratio",
    ]
    text = (
        f"Identity over gRPC; CPU of gateway, Redis and the asked model's process. The idle models were deployed "
        f"within {took:.0f} s and hold {memory / len(names):.0f} MB each."
    )
    return Section(
        f"{len(names)} idle models beside one that works", [Table(headings, rows), text], as_json([*alone, *among])
    )


def _hot_cpu_us(figures: Figures) -> float:
    return sum(figures.cpu_us[part] for part in ("gateway", "redis", "model"))


def _pair(a: Figures, b: Figures, figure: Callable[[Figures], float]) -> list[str]:
    return [number(figure(a)), number(figure(b)), ratio(figure(b), figure(a))]


def idle(bench: Bench) -> Section:
    """A suite without models: memory of all its processes, and how long its starts take."""
    rows, raw = [], []
    for index in range(bench.plan.rounds):
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
            starts = []
            for which in ("first", "second"):
                bench.say(f"{which} start, round {index + 1} of {bench.plan.rounds}")
                with bench.suite(home=Path(folder)) as suite:
                    starts.append(suite.startup_s)
                    time.sleep(2)  # what start-up left to be done
                    parts = suite.parts(Identity(), is_deployed=False)
                    memory = {part: resident_mb(processes) for part, processes in parts.items() if processes}
        raw.append({"starts_s": starts, "memory_mb": memory})
    parts_found = [part for part in PARTS if part in raw[0]["memory_mb"]]
    middle = {part: statistics.median(one["memory_mb"][part] for one in raw) for part in parts_found}
    total = statistics.median(sum(one["memory_mb"].values()) for one in raw)
    first, second = (statistics.median(one["starts_s"][which] for one in raw) for which in (0, 1))
    rows = [[f"{first:.1f}", f"{second:.1f}", number(total), *(number(middle[part]) for part in parts_found)]]
    headings = ["first start s", "second start s", "MB in all", *parts_found]
    return Section("An idle suite without models", [Table(headings, rows)], raw)


SCENARIOS: dict[str, Callable[[Bench], Section]] = {
    "identity": grpc_identity,
    "digits": grpc_digits,
    "cnn": grpc_cnn,
    "1mib": grpc_mebibyte,
    "rest": rest,
    "telemetry": telemetry,
    "shadowing": shadowing,
    "scaling": scaling,
    "backlog": backlog,
    "many": many_models,
    "idle": idle,
}
