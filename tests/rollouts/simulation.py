"""One rollout, second by second: shares as the registry sets them, verdicts as the monitor gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.monitor import verdict_messages
from services.monitor.domain.blocks import NS
from services.monitor.domain.verdict.comparison import Comparison
from services.registry.adapters.monitor import _question
from services.registry.domain.resources import Deployment, InstanceState, InstanceStatus
from services.registry.domain.rollout_plans import WantedPlan, WantedStep, complete
from services.registry.domain.rollout_steps import Facts, ProbeOutcome, ReplicaProbe, advance
from services.registry.domain.rollouts import Decision, Rollout, RolloutState, RolloutVerdict
from tests.support.verdict_traffic import START_S, Traffic, Trial

_CANDIDATE, _BASELINE = "models/digits/versions/2", "models/digits/versions/1"
_LATE_S = 4
"""A second is judged once it is over, and late spans have come."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout stood when it ended, or the time was up. ``requests``: all that the candidate had until then;
    ``at_s``: when each step began, and when it ended.
    """

    state: RolloutState
    reason: str
    seconds: int
    requests: int
    at_s: tuple[int, ...]

    @property
    def is_promoted(self) -> bool:
        return self.state is RolloutState.PROMOTED

    @property
    def is_rolled_back(self) -> bool:
        return self.state is RolloutState.ROLLED_BACK


@dataclass(slots=True)
class Simulation:
    """A canary of a model whose candidate is loaded and probed. ``steps``: its shares; the default's where empty."""

    trial: Trial
    steps: Sequence[float] = ()
    alpha: float = 0.01
    _rollout: Rollout = field(init=False)
    _comparison: Comparison | None = None

    def __post_init__(self) -> None:
        steps = tuple(WantedStep(candidate_share=share) for share in self.steps)
        self._rollout = Rollout(
            model="digits",
            number=1,
            candidate=_CANDIDATE,
            baseline=_BASELINE,
            plan=complete(WantedPlan(steps=steps, alpha=self.alpha)),
            create_time_ns=START_S * NS,
            versions_before=(_BASELINE,),
        )

    def run(self, length: int) -> Outcome:
        """Until it is promoted, rolled back or held, or so many seconds have passed."""
        traffic, requests = Traffic(self.trial), 0
        at_s = 0
        for at_s in range(length):
            self._advance(at_s)
            step = self._rollout.current_step
            if self._rollout.state is not RolloutState.RUNNING or step is None:
                break
            candidate, baseline = traffic.second(at_s, step.candidate_share)
            requests += candidate.requests
            if self._comparison is not None:
                for version, sample in ((self._rollout.candidate_id, candidate), (self._rollout.baseline_id, baseline)):
                    if sample.requests:
                        self._comparison.add(version, START_S + at_s, sample)
        events = self._rollout.events
        return Outcome(
            self._rollout.state,
            self._rollout.state_reason,
            at_s,
            requests,
            tuple(event.event_time_ns // NS - START_S for event in events),
        )

    def _advance(self, at_s: int) -> None:
        now_ns = (START_S + at_s) * NS
        self._rollout = advance(
            self._rollout,
            Facts(now_ns=now_ns, deployment=_deployment(), probes=_PROBES, verdict=self._verdict(now_ns)),
        )
        name = self._rollout.comparison
        if name and (self._comparison is None or self._comparison.question.comparison_id != name):
            asked = verdict_messages.question_of(_question(self._rollout), now_ns=now_ns)
            self._comparison = Comparison(asked)

    def _verdict(self, now_ns: int) -> RolloutVerdict | None:
        if self._comparison is None:
            return None
        self._comparison.advance(now_ns / NS)
        ruling, progress = self._comparison.ruling, self._comparison.progress
        return RolloutVerdict(
            decision=Decision[ruling.decision.name],
            reason=ruling.reason,
            is_final=ruling.is_final,
            candidate_requests=progress.candidate.requests,
            baseline_requests=progress.baseline.requests,
            verdict_time_ns=now_ns,
        )


_INSTANCE = "node.digits.2.0"
_PROBES = (ReplicaProbe(f"{_INSTANCE}@1", ProbeOutcome.PASS, "", START_S * NS),)


def _deployment() -> Deployment:
    ready = InstanceStatus(
        instance=_INSTANCE,
        version=_CANDIDATE,
        node="nodes/node",
        state=InstanceState.READY,
        update_time_ns=START_S * NS,
    )
    return Deployment(model="digits", versions=(_CANDIDATE, _BASELINE), instances=(ready,))
