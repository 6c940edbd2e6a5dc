"""The state machine of rollouts: every move, and what no sequence of facts can make it do."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import FailedPreconditionError
from services.registry.domain import rollout_moves, rollout_serving
from services.registry.domain.resources import Deployment, InstanceState, InstanceStatus, Placement
from services.registry.domain.rollout_plans import WantedPlan, WantedStep, complete
from services.registry.domain.rollout_steps import Facts, ProbeOutcome, ReplicaProbe, advance
from services.registry.domain.rollouts import (
    MAX_EVENTS,
    REGISTRY,
    Decision,
    Rollout,
    RolloutState,
    RolloutVerdict,
    Strategy,
)

S = 10**9
BEGIN = 1_000 * S
BASELINE, CANDIDATE, OTHER = (f"models/m/versions/{number}" for number in (3, 4, 2))
LOADING, RUNNING, HELD, PROMOTED, ROLLED_BACK, FAILED = RolloutState
AWAY = "the monitor does not answer"


def fresh(**plan: Any) -> Rollout:
    return Rollout(
        model="m",
        number=1,
        candidate=CANDIDATE,
        baseline=BASELINE,
        plan=complete(WantedPlan(**plan)),
        create_time_ns=BEGIN,
        versions_before=(OTHER, BASELINE),
        etag="1",
    )


def process(replica: int = 0, *, state: InstanceState = InstanceState.READY, **status: Any) -> InstanceStatus:
    return InstanceStatus(
        instance=f"n.m.4.{replica}",
        version=CANDIDATE,
        node="nodes/n",
        state=state,
        **{"update_time_ns": BEGIN + 3 * S, **status},
    )


def probe(outcome: ProbeOutcome = ProbeOutcome.PASS, *, replica: int = 0, **fields: Any) -> ReplicaProbe:
    return ReplicaProbe(
        **{"replica": f"n.m.4.{replica}@a.b", "outcome": outcome, "detail": "", "time_ns": BEGIN + 4 * S, **fields}
    )


def facts(*instances: InstanceStatus, now_s: float = 10, replicas: int = 1, **heard: Any) -> Facts:
    deployment = Deployment(
        model="m", versions=(CANDIDATE, OTHER, BASELINE), replicas=replicas, instances=instances or (process(),)
    )
    return Facts(**{"now_ns": BEGIN + int(now_s * S), "deployment": deployment, **heard})


def said(decision: Decision, *, is_final: bool = False) -> RolloutVerdict:
    return RolloutVerdict(decision=decision, reason=f"it says {decision.name}", is_final=is_final)


def loaded(**plan: Any) -> Rollout:
    """One whose candidate has come up."""
    return advance(fresh(**plan), facts(probes=(probe(),)))


@pytest.mark.parametrize(
    ("known", "state", "reason"),
    [
        (facts(process(state=InstanceState.LOADING), probes=()), LOADING, "0 of 1 replicas take requests"),
        (facts(probes=(probe(),), replicas=2), LOADING, "1 of 2 replicas take requests"),
        (facts(), LOADING, "isn't known: the monitor is asked"),
        (facts(silence=AWAY), LOADING, f"isn't known: {AWAY}"),
        (facts(probes=()), LOADING, "no golden probe of n.m.4.0"),
        (facts(probes=(probe(replica=1),)), LOADING, "no golden probe of n.m.4.0"),
        (facts(probes=(probe(time_ns=BEGIN),)), LOADING, "no golden probe of n.m.4.0"),
        (facts(probes=(probe(),)), RUNNING, "loaded and probed; step 1 of 3: 5 % of the requests go to version 4"),
        (facts(probes=(probe(ProbeOutcome.SKIP),)), RUNNING, "loaded and probed"),
        (facts(probes=(probe(ProbeOutcome.FAIL, detail="it differs"),)), FAILED, "golden probe: it differs"),
        (facts(probes=(probe(ProbeOutcome.ERROR),), replicas=2), FAILED, "golden probe: ERROR"),
        (facts(process(state=InstanceState.UNAVAILABLE, reason="no memory")), FAILED, "again and again: no memory"),
        (facts(process(state=InstanceState.FETCHING), now_s=600), FAILED, "did not come up within 600 s: 0 of 1"),
        (facts(now_s=600, silence=AWAY), FAILED, f"within 600 s: loaded; whether .* known: {AWAY}"),
        (facts(now_s=600, probes=()), FAILED, "no golden probe of n.m.4.0 .is PENSTOCK_INFERENCE__PROBE_PERIOD_S 0"),
        (facts(now_s=600, probes=(probe(),)), RUNNING, "loaded and probed"),
        (facts(deployment=None), ROLLED_BACK, "the deployment was deleted"),
    ],
)
def test_a_candidate_that_loads(known: Facts, state: RolloutState, reason: str) -> None:
    after = advance(fresh(), known)

    assert after.state is state
    assert re.search(reason, after.state_reason), after.state_reason
    assert (after.etag != "1") == (state is not LOADING)  # nobody's etag fails for what is only awaited


def test_why_no_node_takes_the_candidate_is_told() -> None:
    places = (Placement(CANDIDATE, 0, reason="no node has room beside others", is_asleep=True),)
    deployment = Deployment(model="m", versions=(CANDIDATE, BASELINE), placements=places)

    waiting = advance(fresh(), facts(deployment=deployment))

    assert waiting.state_reason == "0 of 1 replicas take requests; no node has room beside others"
    assert advance(waiting, facts(deployment=deployment)) is waiting


def test_the_probe_of_the_present_process_counts() -> None:
    stale, other = probe(ProbeOutcome.FAIL, time_ns=BEGIN), probe(ProbeOutcome.FAIL, replica=7)

    assert advance(fresh(), facts(probes=(stale, other, probe()))).state is RUNNING
    worse = probe(ProbeOutcome.FAIL, time_ns=BEGIN + 5 * S)
    assert advance(fresh(), facts(probes=(probe(), worse))).state is FAILED


@pytest.mark.parametrize(
    ("plan", "state", "reason"),
    [
        ({"strategy": Strategy.ALL_AT_ONCE}, PROMOTED, "loaded and probed"),
        ({"strategy": Strategy.BLUE_GREEN}, PROMOTED, "loaded and probed"),
        ({"strategy": Strategy.BLUE_GREEN, "is_manual": True}, HELD, "loaded and probed; waits for a person"),
        ({"strategy": Strategy.CANARY}, RUNNING, "loaded and probed; step 1 of 3: 5 % of the requests go to version 4"),
        (
            {"strategy": Strategy.SHADOW},
            RUNNING,
            "loaded and probed; step 1 of 1: version 4 gets copies of 100 % of the requests",
        ),
        (
            {"strategy": Strategy.AB_TEST, "sticky_key": "user"},
            RUNNING,
            "loaded and probed; step 1 of 1: 50 % of the requests go to version 4",
        ),
    ],
)
def test_what_follows_the_load(plan: dict[str, Any], state: RolloutState, reason: str) -> None:
    after = loaded(**plan)

    assert (after.state, after.state_reason, after.restarts) == (state, reason, {"n.m.4.0": 0})
    assert after.comparison == ("m-1-0-1" if state is RUNNING else "")
    assert (after.events[-1].state, after.events[-1].actor) == (state, REGISTRY)
    is_warm = plan["strategy"] is Strategy.BLUE_GREEN and state is PROMOTED
    assert after.retire_time_ns == (BEGIN + 610 * S if is_warm else 0)


@pytest.mark.parametrize(
    ("plan", "heard", "state", "step", "reason"),
    [
        ({}, {"verdict": said(Decision.CONTINUE)}, RUNNING, 0, "5 % of the requests go to version 4$"),
        ({}, {"verdict": said(Decision.PROMOTE)}, RUNNING, 1, "step 1 is proven safe; step 2 of 3: 25 %"),
        ({}, {"verdict": said(Decision.HOLD, is_final=True)}, HELD, 0, "held: it says HOLD"),
        ({}, {"verdict": said(Decision.ROLL_BACK, is_final=True)}, ROLLED_BACK, 0, "it says ROLL_BACK"),
        ({}, {}, RUNNING, 0, "version 4$"),
        ({}, {"silence": AWAY}, RUNNING, 0, f"version 4 .nothing is decided: {AWAY}.$"),
        ({}, {"refusal": "got margin 7"}, HELD, 0, "the monitor can't compare: got margin 7"),
        ({}, {"refusal": "x", "is_taken": True}, RUNNING, 0, "begun anew"),
        ({"is_manual": True}, {"verdict": said(Decision.PROMOTE)}, RUNNING, 0, "proven safe; waits for a person"),
        ({"is_manual": True}, {"verdict": said(Decision.ROLL_BACK)}, ROLLED_BACK, 0, "it says ROLL_BACK"),
        ({"strategy": Strategy.SHADOW}, {"verdict": said(Decision.PROMOTE)}, PROMOTED, 0, "step 1 is proven safe"),
    ],
)
def test_a_step_that_runs(
    plan: dict[str, Any], heard: dict[str, Any], state: RolloutState, step: int, reason: str
) -> None:
    before = loaded(**plan)

    after = advance(before, facts(now_s=20, **heard))

    assert (after.state, after.step) == (state, step)
    assert re.search(reason, after.state_reason), after.state_reason
    is_quiet = (state, step) == (RUNNING, 0) and not plan and "is_taken" not in heard
    assert (after.etag == before.etag) == is_quiet


def test_silence_that_ends_is_no_longer_told_of() -> None:
    silent = advance(loaded(), facts(silence=AWAY))

    assert advance(silent, facts(verdict=said(Decision.CONTINUE))).state_reason == loaded().state_reason
    assert advance(silent, facts()).state_reason == loaded().state_reason


@pytest.mark.parametrize("state", [RUNNING, HELD])
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"restarts": 3}, "its process crashed: n.m.4.0 ended by itself and was started again"),
        ({"restarts": 3, "state": InstanceState.LOADING}, "its process crashed: n.m.4.0 ended by itself"),
        ({"restarts": 2, "state": InstanceState.UNAVAILABLE, "reason": "SIGSEGV"}, "again and again: SIGSEGV"),
    ],
)
def test_a_crash_rolls_back(state: RolloutState, status: dict[str, Any], reason: str) -> None:
    before = advance(fresh(), facts(process(restarts=2), probes=(probe(),)))
    before = replace(before, state=state)
    assert advance(before, facts(process(restarts=2))).state is state

    after = advance(before, facts(process(**status), verdict=said(Decision.PROMOTE)))

    assert after.state is ROLLED_BACK
    assert reason in after.state_reason


def test_a_process_of_a_new_agent_is_no_crash_and_its_next_one_is() -> None:
    before = advance(fresh(), facts(process(restarts=2), probes=(probe(),)))

    succeeded = advance(before, facts(process(restarts=0)))

    assert (succeeded.state, succeeded.etag) == (RUNNING, before.etag)
    assert advance(succeeded, facts(process(restarts=1))).state is ROLLED_BACK


def test_the_last_proof_promotes_and_the_baseline_is_kept_for_a_while() -> None:
    rollout = loaded()
    for step in range(3):
        assert (rollout.step, rollout.comparison) == (step, f"m-1-{step}-1")
        rollout = advance(rollout, facts(now_s=20 + step, verdict=said(Decision.PROMOTE)))

    assert (rollout.state, rollout.retire_time_ns) == (PROMOTED, BEGIN + 622 * S)
    assert rollout.unstopped == ("m-1-0-1", "m-1-1-1", "m-1-2-1")
    assert advance(rollout, facts(now_s=621)) is rollout
    retired = advance(rollout, facts(now_s=622))
    assert (retired.state, retired.retire_time_ns, retired.is_warm) == (PROMOTED, 0, False)
    assert advance(retired, facts(now_s=9_999)) is retired


def test_harm_is_looked_for_while_a_person_is_waited_for() -> None:
    held = advance(loaded(), facts(verdict=said(Decision.HOLD, is_final=True)))
    assert (held.comparison, held.is_guard, held.unstopped) == ("m-1-0-2", True, ())

    for decision in (Decision.PROMOTE, Decision.CONTINUE, Decision.HOLD):
        assert advance(held, facts(verdict=said(decision, is_final=True))) == held
    assert advance(held, facts(refusal="no room")) == held
    assert advance(held, facts(verdict=said(Decision.ROLL_BACK))).state is ROLLED_BACK
    assert partial_by_hand("resume_by_hand")(held).unstopped == ("m-1-0-2",)  # the first one is over by itself
    assert partial_by_hand("roll_back_by_hand")(held).unstopped == ("m-1-0-2",)


def test_who_holds_a_step_has_its_comparison_go_on() -> None:
    held = rollout_moves.hold_by_hand(loaded(), now_ns=BEGIN, actor="ada", reason="lunch")

    assert (held.state, held.state_reason, held.comparison) == (HELD, "held by hand: lunch", "m-1-0-1")
    assert advance(held, facts(verdict=said(Decision.PROMOTE))).state is HELD
    proven = advance(held, facts(verdict=said(Decision.PROMOTE, is_final=True)))
    assert (proven.state, proven.comparison) == (HELD, "m-1-0-2")
    assert advance(held, facts(verdict=said(Decision.ROLL_BACK))).state is ROLLED_BACK
    resumed = rollout_moves.resume_by_hand(held, now_ns=BEGIN + 60 * S, actor="ada", reason="")
    assert (resumed.state, resumed.comparison, resumed.verdict) == (RUNNING, "m-1-0-2", None)
    assert (resumed.step_start_ns, resumed.unstopped) == (BEGIN + 60 * S, ("m-1-0-1",))


HAND = {"now_ns": BEGIN, "actor": "ada", "reason": "I know"}


def test_what_a_person_may_do_in_which_state() -> None:
    def promote(rollout: Rollout, *, is_whole: bool = False) -> Rollout:
        return rollout_moves.promote_by_hand(rollout, is_whole=is_whole, **HAND)  # type: ignore[arg-type]

    running = loaded()
    assert (promote(running).step, promote(running).state) == (1, RUNNING)
    assert promote(promote(running)).step == 2
    assert promote(running, is_whole=True).state is PROMOTED
    assert promote(promote(promote(running))).state_reason == "promoted by hand: I know"
    assert promote(loaded(strategy=Strategy.BLUE_GREEN, is_manual=True)).state is PROMOTED
    assert promote(running).events[-1].actor == "ada"

    over = rollout_moves.roll_back_by_hand(running, **HAND)  # type: ignore[arg-type]
    assert (over.state, over.unstopped, over.comparison) == (ROLLED_BACK, ("m-1-0-1",), "")
    promoted = promote(running, is_whole=True)
    back = rollout_moves.roll_back_by_hand(promoted, **HAND)  # type: ignore[arg-type]
    assert (back.state, back.is_warm) == (ROLLED_BACK, False)
    assert rollout_moves.roll_back_by_hand(fresh(), **HAND).state is ROLLED_BACK  # type: ignore[arg-type]

    cold = advance(promoted, facts(now_s=9_999))
    decisions = (promote, *(partial_by_hand(move) for move in ("hold_by_hand", "resume_by_hand", "roll_back_by_hand")))
    for decide in decisions:
        for state in (over, cold):
            with pytest.raises(FailedPreconditionError, match=r"rollouts/1 is (ROLLED_BACK|PROMOTED) \("):
                decide(state)
    for decide in decisions[:3]:
        with pytest.raises(FailedPreconditionError, match="LOADING"):
            decide(fresh())
    with pytest.raises(FailedPreconditionError, match="no steps"):
        partial_by_hand("resume_by_hand")(loaded(strategy=Strategy.BLUE_GREEN, is_manual=True))
    assert partial_by_hand("resume_by_hand")(running) is running


def partial_by_hand(move: str) -> Any:
    return lambda rollout: getattr(rollout_moves, move)(rollout, **HAND)


def test_events_are_bounded_and_ids_of_comparisons_fit() -> None:
    rollout = replace(loaded(), model="m" * 64)
    for _ in range(MAX_EVENTS):
        rollout = rollout_moves.hold_by_hand(rollout, now_ns=BEGIN, actor="", reason="")
        rollout = rollout_moves.resume_by_hand(rollout, now_ns=BEGIN, actor="", reason="")

    assert len(rollout.events) == MAX_EVENTS
    assert len(rollout.comparison) <= 64
    assert replace(rollout, model="m" * 63).comparison != rollout.comparison


@pytest.mark.parametrize(
    ("rollout", "versions", "share"),
    [
        (fresh(), (CANDIDATE, OTHER, BASELINE), 0),
        (loaded(), (CANDIDATE, OTHER, BASELINE), 0.05),
        (replace(loaded(), state=HELD, step=2), (CANDIDATE, OTHER, BASELINE), 0.5),
        (replace(fresh(), state=PROMOTED, retire_time_ns=1), (OTHER, BASELINE, CANDIDATE), None),
        (replace(fresh(), state=PROMOTED), (OTHER, CANDIDATE), None),
        (replace(fresh(), state=ROLLED_BACK), (OTHER, BASELINE), None),
        (replace(fresh(), state=FAILED), (OTHER, BASELINE), None),
        (
            replace(fresh(), state=FAILED, versions_before=(CANDIDATE, OTHER, BASELINE)),
            (CANDIDATE, OTHER, BASELINE),
            None,
        ),
    ],
)
def test_what_is_served_in_each_state(rollout: Rollout, versions: tuple[str, ...], share: float | None) -> None:
    present = Deployment(model="m", versions=(CANDIDATE, OTHER, BASELINE), replicas=3)

    served = rollout_serving.serve(rollout, present)

    assert (served.versions, served.replicas) == (versions, 3)
    assert (served.split.candidate_share if served.split else None) == share
    assert rollout_serving.serve(rollout, served) == served


def test_a_baseline_that_an_alias_names_stays() -> None:
    present = Deployment(model="m", versions=(OTHER, BASELINE, CANDIDATE))

    assert rollout_serving.serve(replace(fresh(), state=PROMOTED), present, named={BASELINE}).versions == (
        OTHER,
        BASELINE,
        CANDIDATE,
    )


INSTANCES = st.lists(
    st.builds(
        process,
        st.integers(0, 1),
        state=st.sampled_from([InstanceState.READY] * 3 + [InstanceState.LOADING, InstanceState.UNAVAILABLE]),
        restarts=st.integers(0, 1),
    ),
    max_size=2,
)
HEARD = st.fixed_dictionaries(
    {},
    optional={
        "verdict": st.builds(said, st.sampled_from(Decision), is_final=st.booleans()),
        "probes": st.lists(st.builds(probe, st.sampled_from(ProbeOutcome), replica=st.integers(0, 1))).map(tuple),
        "silence": st.just(AWAY),
        "refusal": st.sampled_from(["", "no"]),
        "is_taken": st.booleans(),
    },
)
HANDS = st.sampled_from(["hold_by_hand", "resume_by_hand", "roll_back_by_hand"])
PLANS = st.sampled_from(
    [
        {},
        {"is_manual": True},
        {"strategy": Strategy.SHADOW},
        {"steps": (WantedStep(shadow_share=1), WantedStep(candidate_share=0.1), WantedStep(candidate_share=0.1))},
        {"strategy": Strategy.AB_TEST, "sticky_key": "user"},
        {"strategy": Strategy.BLUE_GREEN},
        {"strategy": Strategy.BLUE_GREEN, "is_manual": True},
    ]
)


@given(PLANS, st.lists(st.tuples(INSTANCES, HEARD) | HANDS, max_size=30))
def test_no_sequence_of_facts_promotes_without_proof(plan: dict[str, Any], moves: list[Any]) -> None:
    """Nor do shares fall, or does anybody get traffic who failed, nor does anything come back from the dead."""
    rollout, share = fresh(**plan), 0.0
    for at, one in enumerate(moves):
        before = rollout
        if isinstance(one, str):
            try:
                rollout = partial_by_hand(one)(before)
            except FailedPreconditionError:
                rollout = before
            assert rollout.state is not PROMOTED or before.state is PROMOTED
            assert rollout.step == before.step
        else:
            instances, heard = one
            known = facts(*instances, now_s=at, **heard)
            rollout = advance(before, known)
            is_new = (rollout.state, rollout.step) != (before.state, before.step)
            if is_new and rollout.state in (PROMOTED, RUNNING):
                verdict = heard.get("verdict")
                is_proven = verdict is not None and verdict.decision is Decision.PROMOTE
                assert before.state is LOADING or (is_proven and before.state is RUNNING and not rollout.plan.is_manual)
                assert before.state is not LOADING or heard["probes"]
                assert before.state is not LOADING or rollout.state is RUNNING or not rollout.plan.steps
        split = rollout_serving.serve(rollout, facts().deployment).split  # type: ignore[arg-type]
        present = split.candidate_share if split else 0.0
        assert 0 <= present <= 1
        assert not split or 0 <= split.shadow_share <= 1
        assert present >= share or not rollout.is_active
        assert rollout.is_active or not before.is_active or split is None
        assert before.is_active or rollout.state in (before.state, ROLLED_BACK)
        assert (rollout.etag == before.etag) >= (
            rollout.events == before.events and rollout.comparison == before.comparison
        )
        share = present
