"""What becomes of a rollout by itself: a pure function of what is known. No data is never a pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from services.registry.domain import serving
from services.registry.domain.resources import Deployment, InstanceState, InstanceStatus
from services.registry.domain.rollout_moves import compare_again, end, enter_step, guard, move, note_restarts, retire
from services.registry.domain.rollouts import REGISTRY, Decision, Rollout, RolloutState, RolloutVerdict

_CLOCKS_DIFFER_NS = 2 * 10**9
"""A process probes itself a moment before its agent hears that it is ready, by another clock."""

_PROBES_OFF = " (is PENSTOCK_INFERENCE__PROBE_PERIOD_S 0 there, or no monitor told?)"


class ProbeOutcome(Enum):
    """What came of a golden probe."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class ReplicaProbe:
    """The last golden probe of a process, which is called as its instance is, ``@`` and more."""

    replica: str
    outcome: ProbeOutcome
    detail: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a rollout depends on. What the monitor didn't say is None or empty.

    ``verdict`` is of the rollout's present comparison. ``refusal`` is why that comparison can't be had, and
    ``is_taken`` that its name is another one's. ``silence`` says that the monitor doesn't answer, once that lasts.
    """

    now_ns: int
    deployment: Deployment | None
    probes: tuple[ReplicaProbe, ...] | None = None
    verdict: RolloutVerdict | None = None
    refusal: str = ""
    is_taken: bool = False
    silence: str = ""


def advance(rollout: Rollout, facts: Facts) -> Rollout:
    """The rollout as it is to be now. Its etag is another if anything happened that somebody may wait for."""
    if rollout.is_active:
        if facts.deployment is None:
            told = "the deployment was deleted"
            return end(rollout, RolloutState.ROLLED_BACK, now_ns=facts.now_ns, actor=REGISTRY, reason=told)
        candidate = _Candidate.of(rollout.candidate, facts.deployment)
        return (_load if rollout.state is RolloutState.LOADING else _judge)(rollout, candidate, facts)
    if rollout.is_warm and facts.now_ns >= rollout.retire_time_ns:
        return retire(rollout, now_ns=facts.now_ns, actor=REGISTRY, reason="the baseline's time to be kept is over")
    return rollout


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The processes of the candidate."""

    wanted: int
    instances: tuple[InstanceStatus, ...] = ()
    unplaced: tuple[str, ...] = ()
    """Why replicas have no node."""
    _ready: Mapping[int, InstanceStatus] = field(default_factory=dict)

    @classmethod
    def of(cls, version: str, deployment: Deployment) -> _Candidate:
        instances = tuple(one for one in deployment.instances if one.version == version)
        replicas = ((serving.replica_of(one), one) for one in instances if one.state is InstanceState.READY)
        places = (one for one in deployment.placements if one.version == version and not one.node)
        unplaced = tuple(one.reason or "no node has room for it" for one in places)
        ready = {found[1]: one for found, one in replicas if found is not None}
        return cls(max(1, deployment.replicas), instances, unplaced, ready)

    @property
    def ready(self) -> Iterable[InstanceStatus]:
        return self._ready.values()

    @property
    def broken(self) -> InstanceStatus | None:
        """A process that crashes again and again."""
        return next((one for one in self.instances if one.state is InstanceState.UNAVAILABLE), None)

    @property
    def restarts(self) -> dict[str, int]:
        return {one.instance: one.restarts for one in self.instances}

    @property
    def missing(self) -> str:
        """What is still awaited of it; empty where nothing is."""
        if len(self._ready) >= self.wanted:
            return ""
        told = f"{len(self._ready)} of {self.wanted} replicas take requests"
        loading = sorted(
            f"{one.instance} is {one.state.name}" for one in self.instances if one.state is not InstanceState.READY
        )
        return "; ".join([told, *loading, *sorted(set(self.unplaced))])


def _load(rollout: Rollout, candidate: _Candidate, facts: Facts) -> Rollout:
    """Wait until every replica takes requests and has passed its probe."""
    now_ns = facts.now_ns

    def fail(reason: str) -> Rollout:
        return end(rollout, RolloutState.FAILED, now_ns=now_ns, actor=REGISTRY, reason=reason)

    if (broken := candidate.broken) is not None:
        return fail(f"{broken.instance} crashes again and again: {broken.reason or 'its process ends by itself'}")
    probes = {one.instance: _probe_of(one, facts.probes or ()) for one in candidate.ready}
    for instance, probe in probes.items():
        if probe is not None and probe.outcome in (ProbeOutcome.FAIL, ProbeOutcome.ERROR):
            return fail(f"{instance} fails its golden probe: {probe.detail or probe.outcome.name}")
    awaited = candidate.missing or _unprobed(probes, facts)
    if not awaited:
        return _begin(note_restarts(rollout, candidate.restarts), now_ns)
    if now_ns >= rollout.create_time_ns + rollout.plan.load_duration_ns:
        hint = "" if candidate.missing or facts.probes is None else _PROBES_OFF
        return fail(f"it did not come up within {rollout.plan.load_duration_ns / 1e9:g} s: {awaited}{hint}")
    return _say(rollout, awaited)


def _unprobed(probes: Mapping[str, ReplicaProbe | None], facts: Facts) -> str:
    """Which probes are awaited."""
    if facts.probes is None:
        return f"loaded; whether it passes its golden probe isn't known: {facts.silence or 'the monitor is asked'}"
    missing = sorted(instance for instance, probe in probes.items() if probe is None)
    return f"loaded; the monitor has heard of no golden probe of {', '.join(missing)}" if missing else ""


def _probe_of(instance: InstanceStatus, probes: Iterable[ReplicaProbe]) -> ReplicaProbe | None:
    """The last probe of the instance's present process."""
    since_ns = instance.update_time_ns - _CLOCKS_DIFFER_NS
    own = (one for one in probes if one.replica.rpartition("@")[0] == instance.instance and one.time_ns >= since_ns)
    return max(own, key=lambda one: one.time_ns, default=None)


def _begin(rollout: Rollout, now_ns: int) -> Rollout:
    """Give a candidate that is loaded its first requests."""
    if rollout.plan.steps:
        return enter_step(rollout, 0, now_ns=now_ns, actor=REGISTRY, why="loaded and probed")
    if rollout.plan.is_manual:
        told = "loaded and probed; waits for a person"
        return move(rollout, now_ns=now_ns, actor=REGISTRY, reason=told, state=RolloutState.HELD, step_start_ns=now_ns)
    return end(rollout, RolloutState.PROMOTED, now_ns=now_ns, actor=REGISTRY, reason="loaded and probed")


def _judge(rollout: Rollout, candidate: _Candidate, facts: Facts) -> Rollout:
    """What the candidate's processes, then the monitor, say of the present step."""
    now_ns = facts.now_ns
    if crash := _crash(rollout, candidate):
        told = f"its process crashed: {crash}"
        return end(rollout, RolloutState.ROLLED_BACK, now_ns=now_ns, actor=REGISTRY, reason=told)
    rollout = note_restarts(rollout, candidate.restarts)
    if not rollout.is_compared:
        return rollout
    if facts.is_taken:
        told = f"{_told(rollout, '')} (begun anew: the monitor has another comparison of that name)"
        return compare_again(rollout, now_ns=now_ns, actor=REGISTRY, reason=told)
    if facts.refusal:
        return _hold_refused(rollout, facts)
    if facts.verdict is None:
        return _say(rollout, _told(rollout, facts.silence))
    return _follow(_say(rollout, _told(rollout, "")), facts.verdict, now_ns)


def _hold_refused(rollout: Rollout, facts: Facts) -> Rollout:
    if rollout.is_guard:
        return rollout
    told = f"the monitor can't compare: {facts.refusal}"
    changes = {"state": RolloutState.HELD, "is_compared": False}
    return move(rollout, now_ns=facts.now_ns, actor=REGISTRY, reason=told, **changes)


def _follow(rollout: Rollout, verdict: RolloutVerdict, now_ns: int) -> Rollout:
    """Do as the verdict says; who waits for a person is only ever rolled back."""
    if verdict.decision is Decision.ROLL_BACK:
        rollout = replace(rollout, verdict=verdict)
        return end(rollout, RolloutState.ROLLED_BACK, now_ns=now_ns, actor=REGISTRY, reason=verdict.reason)
    if rollout.is_guard:
        return rollout
    before, rollout = rollout.verdict, replace(rollout, verdict=verdict)
    if rollout.state is RolloutState.RUNNING:
        if verdict.decision is Decision.HOLD:
            told = f"held: {verdict.reason}"
            rollout = move(rollout, now_ns=now_ns, actor=REGISTRY, reason=told, state=RolloutState.HELD)
        elif verdict.decision is Decision.PROMOTE and not rollout.plan.is_manual:
            return _go_on(rollout, now_ns)
        elif verdict.decision is Decision.PROMOTE and (before is None or before.decision is not Decision.PROMOTE):
            rollout = move(rollout, now_ns=now_ns, actor=REGISTRY, reason="proven safe; waits for a person")
    return guard(rollout) if verdict.is_final else rollout


def _go_on(rollout: Rollout, now_ns: int) -> Rollout:
    following, why = rollout.step + 1, f"step {rollout.step + 1} is proven safe"
    if following < len(rollout.plan.steps):
        return enter_step(rollout, following, now_ns=now_ns, actor=REGISTRY, why=why)
    return end(rollout, RolloutState.PROMOTED, now_ns=now_ns, actor=REGISTRY, reason=why)


def _crash(rollout: Rollout, candidate: _Candidate) -> str:
    if (broken := candidate.broken) is not None:
        return f"{broken.instance}, again and again: {broken.reason or 'it ends by itself'}"
    for one in candidate.instances:
        if one.restarts > rollout.restarts.get(one.instance, 0):
            return f"{one.instance} ended by itself and was started again"
    return ""


_SILENT = " (nothing is decided: "


def _told(rollout: Rollout, silence: str) -> str:
    """The state's reason, with the monitor's silence if that lasts."""
    plain = rollout.state_reason.partition(_SILENT)[0]
    return f"{plain}{_SILENT}{silence})" if silence else plain


def _say(rollout: Rollout, reason: str) -> Rollout:
    """Say what is awaited, which nobody's etag is to fail for."""
    return rollout if reason == rollout.state_reason else replace(rollout, state_reason=reason)
