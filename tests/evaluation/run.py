"""One run of one scenario: the monitor's analysis, and its rivals, on the same simulated spans."""

from __future__ import annotations

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any, Self

import numpy as np

from services.monitor.domain.blocks import Batch
from services.monitor.domain.detectors import LATENESS_S
from services.monitor.domain.incidents import Incident
from services.monitor.domain.phases import Severity, Signal
from services.monitor.domain.ring import KeptSpan
from services.monitor.evaluation.replay import Change, Replay
from services.monitor.evaluation.stream import Observation, SpanStream, Traffic
from tests.evaluation.alterations import Alteration, unaltered
from tests.evaluation.rivals import Second, Told, second_of, told
from tests.evaluation.scenarios import BENIGN, FAULTS, LEARNT_S, NULL, Draw, Expected, Fault, Quiet, Strength
from tests.evaluation.thinner import Thinner
from tests.evaluation.witness import Witness

_END_S = 1_000_000
SETTLES_S = 10
"""An incident may move to a deeper cause for so long: that is what it says by the time that somebody reads it."""

Rivals = Mapping[str, Callable[[Sequence[Second]], list[int]]]
"""When each of them raises alarms, by its name."""


@dataclass(frozen=True, slots=True)
class Job:
    """``strength`` is empty where nothing goes wrong."""

    kind: str
    scenario: str
    strength: str
    load: str
    seed: int
    learnt_s: int = LEARNT_S
    """When the fault begins."""

    @property
    def fault(self) -> Fault:
        return next(one for one in FAULTS if one.name == self.scenario)

    @property
    def quiet(self) -> Quiet:
        return next(one for one in (*BENIGN, *NULL) if one.name == self.scenario)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds and requests are simulated ones, but ``cpu_s``. Delays are None for what wasn't found.

    ``pages`` and ``tickets`` were raised while nothing was wrong; ``cpu_s``: what the analysis took.
    ``delay_requests``: requests where the fault is until it was told; ``judged_requests``: those of the seconds that
    were closed by then. ``traces`` of the incident: shown, and among them really touched.
    """

    job: Job
    requests: int
    seconds: int
    cpu_s: float
    pages: int
    tickets: int
    rivals: Mapping[str, Told]
    delay_s: float | None = None
    delay_requests: float | None = None
    judged_requests: float | None = None
    is_named: bool = False
    severity: str = ""
    incidents: int = 0
    traces: int = 0
    touched_traces: int = 0
    summary: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        rivals = {name: Told(**one) for name, one in data["rivals"].items()}
        return cls(**{**data, "job": Job(**data["job"]), "rivals": rivals})


def carry_out(job: Job, rivals: Rivals) -> Outcome:
    course = _course_of(job)
    watch = _Watch(course)
    watch.go_on(course.until_s)
    return _outcome(job, watch, rivals)


def together(jobs: Sequence[Job]) -> list[list[Job]]:
    """Those whose traffic is the same until their faults begin."""
    groups = defaultdict[Any, list[Job]](list)
    for job in jobs:
        groups[_course_of(job).before if job.strength else job].append(job)
    return list(groups.values())


def carry_out_together(jobs: Sequence[Job], rivals: Rivals) -> Iterator[Outcome]:
    """What they have in common is carried out once; then each goes on in a process of its own."""
    if len(jobs) == 1:
        yield carry_out(jobs[0], rivals)
        return
    watch = _Watch(_course_of(jobs[0]))
    watch.go_on(int(watch.course.draw.at_s))
    fork = multiprocessing.get_context("fork")
    for job in jobs:
        ours, theirs = fork.Pipe(duplex=False)
        child = fork.Process(target=_end, args=(watch, job, rivals, theirs))
        child.start()
        theirs.close()
        yield ours.recv()
        child.join()


def _end(watch: _Watch, job: Job, rivals: Rivals, answer: Connection) -> None:
    watch.change_to(course := _course_of(job))
    watch.go_on(course.until_s)
    answer.send(_outcome(job, watch, rivals))


def _course_of(job: Job) -> _Course:
    draw = Draw.of(job.seed, job.load, learnt_s=job.learnt_s)
    if not job.strength:
        quiet = job.quiet
        return _Course(draw, quiet.make(draw), quiet.until_s, restart_s=quiet.restart_s)
    fault = job.fault
    traffic, alter = fault.make(draw, fault.value(Strength(job.strength)))
    return _Course(draw, ((0, traffic),), int(draw.at_s) + 1 + fault.horizon_s, alter, fault.expected)


def _outcome(job: Job, watch: _Watch, rivals: Rivals) -> Outcome:
    course, witness, figures = watch.course, watch.witness, watch.figures
    fault_s = course.draw.at_s if job.strength else None
    false, true = _parted(watch.changes, fault_s)
    found: dict[str, Any] = {}
    if true and witness.expected is not None:
        found = _found(true, witness, witness.expected)
    pages = {one.incident.incident_id for one in false if one.incident.severity is Severity.PAGE}
    return Outcome(
        job=job,
        requests=witness.requests,
        seconds=course.until_s,
        cpu_s=watch.cpu_s,
        pages=len(pages),
        tickets=len({one.incident.incident_id for one in false} - pages),
        rivals={name: told(raised(figures), fault_s=fault_s) for name, raised in rivals.items()},
        **found,
    )


@dataclass(frozen=True, slots=True)
class _Course:
    """Traffic by the second at which it begins, and what is done to it."""

    draw: Draw
    parts: tuple[tuple[int, Traffic], ...]
    until_s: int
    alter: Alteration = unaltered
    expected: Expected | None = None
    restart_s: int | None = None

    @property
    def before(self) -> tuple[float, ...]:
        """What differs between courses of one draw before a fault begins."""
        ((_, traffic),) = self.parts
        usual_errors = traffic.faults.errors(7.0, 0)
        return self.draw.seed, self.draw.at_s, traffic.rate(7.0), usual_errors, traffic.replicas, traffic.max_batch(7.0)


class _Watch:
    """The monitor's analysis on a course, as far as it has come; ``figures`` are for its rivals."""

    def __init__(self, course: _Course) -> None:
        self.course = course
        self.witness = Witness(course.draw, course.expected)
        self.changes: list[Change] = []
        self.figures: list[Second] = []
        self.cpu_s = 0.0
        self._replay = Replay()
        self._thinner = Thinner(course.draw.seed)
        self._second = 0
        self._streams = [(begin_s, SpanStream(traffic)) for begin_s, traffic in course.parts]
        self._runs = [(begin_s, one.run(from_s=begin_s, until_s=_END_S)) for begin_s, one in self._streams]

    def change_to(self, course: _Course) -> None:
        """Go on as if it had been this one from the beginning, which was the same."""
        self.course, self.witness.expected = course, course.expected
        for (_, stream), (_, traffic) in zip(self._streams, course.parts, strict=True):
            stream.traffic = traffic

    def go_on(self, until_s: int) -> None:
        replay = self._replay
        while self._second < until_s:
            came = [next(run) for begin_s, run in self._runs if begin_s <= self._second]
            spans = [one for _, sent in came for one in sent]
            sent = [self.course.alter(one) if isinstance(one, Batch) else one for one in spans]
            for one in sent:
                self.witness.see(one)
            told = list(self._thinner.thin(sent))
            for failed in _failures(told):
                replay.analysis.ring.add(failed)
            began = time.process_time()
            self.changes += replay.take(came[0][0], told)
            self.cpu_s += time.process_time() - began
            known = second_of(self._second + 2, [one for one in sent if isinstance(one, Batch)])
            self.figures += [known] if known is not None else []
            if self._second == self.course.restart_s:
                replay.restart()
            self._second += 1


def _failures(spans: Sequence[Observation]) -> Iterator[KeptSpan]:
    """Failed requests have a span of their own always."""
    for batch in spans:
        if isinstance(batch, Batch) and any(batch.status):
            for number in np.flatnonzero(np.frombuffer(batch.status, np.uint8)):
                trace = batch.trace_ids[16 * number : 16 * (number + 1)]
                yield KeptSpan(
                    trace,
                    trace[:8],
                    batch.model,
                    batch.version,
                    "penstock-gateway",
                    batch.start_ns,
                    batch.end_ns,
                    True,
                    b"",
                )


def _parted(changes: Sequence[Change], fault_s: float | None) -> tuple[list[Change], list[Change]]:
    """Those of incidents that were opened without and with a reason."""
    by_incident = defaultdict[str, list[Change]](list)
    for one in changes:
        by_incident[one.incident.incident_id].append(one)
    false, true = list[Change](), list[Change]()
    for several in by_incident.values():
        has_reason = fault_s is not None and several[0].at_s > fault_s
        (true if has_reason else false).extend(several)
    return false, true


def _found(changes: Sequence[Change], witness: Witness, expected: Expected) -> dict[str, Any]:
    """Figures of the first incident of a fault, and how it stood a little later."""
    first = changes[0]
    states = [one.incident for one in changes if one.incident.incident_id == first.incident.incident_id and (
        one.at_s <= first.at_s + SETTLES_S and one.incident.is_open)]  # fmt: skip
    incident = states[-1]
    traces = () if expected.signals == {Signal.DEAD} else incident.traces  # who was lost with it sent no span
    return {
        "delay_s": first.at_s - witness.draw.at_s,
        "delay_requests": witness.requests_until(first.at_s),
        "judged_requests": witness.requests_until(first.at_s - LATENESS_S),
        "is_named": is_named(incident, expected, witness),
        "severity": incident.severity,
        "incidents": len({one.incident.incident_id for one in changes}),
        "traces": len(traces),
        "touched_traces": sum(map(witness.is_touched, traces)),
        "summary": incident.summary,
    }


def is_named(incident: Incident, expected: Expected, witness: Witness) -> bool:
    """Whether an incident says what is wrong, and where."""
    is_place = witness.is_culprit(incident.replica) if expected.is_replicas else not incident.replica
    return (
        incident.signal in expected.signals
        and incident.cause is expected.cause
        and incident.phase is expected.phase
        and is_place
    )
