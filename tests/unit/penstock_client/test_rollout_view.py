"""How rollouts look on a screen."""

from __future__ import annotations

import io

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType

from penstock.cli import status, watch
from penstock.cli.rollout_view import line, table, view
from penstock.monitor.v1.verdict_service_pb2 import DECISION_CONTINUE
from penstock.registry.v1.rollout_service_pb2 import (
    GuardrailSummary,
    Rollout,
    RolloutEvent,
    RolloutPlan,
    RolloutStep,
    RolloutVerdict,
)

BEGUN_S = 1_795_000_000


def step(share: float) -> RolloutStep:
    return RolloutStep(
        candidate_share=share,
        min_request_count=200,
        min_duration=Duration(seconds=10),
        duration=Duration(seconds=3_600),
    )


def rollout(state: Rollout.State, **changes: object) -> Rollout:
    made = Rollout(
        name="deployments/digits/rollouts/3",
        candidate="models/digits/versions/2",
        baseline="models/digits/versions/1",
        plan=RolloutPlan(
            strategy=RolloutPlan.STRATEGY_CANARY, steps=map(step, (0.05, 0.25, 0.5)), sticky_key="user", alias="live"
        ),
        state=state,
        state_reason="latency [p99] is not proven yet",
        step=1,
        step_start_time=Timestamp(seconds=BEGUN_S + 40),
        comparison="comparisons/digits-3-1-0",
        verdict=RolloutVerdict(
            decision=DECISION_CONTINUE,
            reason="nothing is proven [yet]",
            candidate_request_count=100,
            baseline_request_count=1_900,
            guardrails=[
                GuardrailSummary(key="error_rate", summary="0 % against 0 %", is_safe=True),
                GuardrailSummary(key="latency.total.p99", summary="3 ms against 2 ms [of 9]", is_blocking=True),
                GuardrailSummary(key="confidence", summary="0.5 against 0.9", is_harmed=True, is_blocking=True),
                GuardrailSummary(key="latency.compute_infer.p90", summary="nothing is known"),
            ],
        ),
        events=[
            RolloutEvent(
                event_time=Timestamp(seconds=BEGUN_S + at),
                state=Rollout.STATE_RUNNING,
                step=at // 40,
                actor="registry",
                reason=f"event {at}",
            )
            for at in range(0, 50, 5)
        ],
        create_time=Timestamp(seconds=BEGUN_S),
        creator="anna@host",
        reason="better [digits]",
        etag="abc",
    )
    made.MergeFrom(Rollout(**changes))
    return made


RUNNING = rollout(Rollout.STATE_RUNNING)


def shown(seen: RenderableType, width: int = 140) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    screen.print(seen)
    assert isinstance(screen.file, io.StringIO)
    return [one.rstrip() for one in screen.file.getvalue().splitlines()]


def view_of(one: Rollout, width: int = 140) -> list[str]:
    return shown(view(one, now=BEGUN_S + 45.0), width)


def test_where_it_stands_comes_first_then_the_steps_the_evidence_and_what_happened() -> None:
    lines = view_of(RUNNING)
    assert lines[0] == "digits version 2 for 1, canary, same user, same version, alias live"
    assert lines[1] == "running  latency [p99] is not proven yet"
    assert lines[3] == "✓ load  ✓ 5 %  ▶ 25 %  · 50 %  · all"
    assert lines[4] == "████···· 100 requests of version 2, at least 200; 1900 of version 1"
    assert lines[5] == "████···· 5 s, at least 10, at most 3600"
    assert "verdict: continue  nothing is proven [yet]" in lines
    for guardrail in (
        "error_rate                 safe        0 % against 0 %",
        "latency.total.p99          unproven    3 ms against 2 ms [of 9]",
        "confidence                 worse       0.5 against 0.9",
        "latency.compute_infer.p90  not needed  nothing is known",
    ):
        assert guardrail in lines
    assert [one for one in lines if one.endswith("event 45")] == ["11:07:25 running step 2, registry: event 45"]
    assert not any(one.endswith("event 5") for one in lines)
    assert lines[-1] == (
        "deployments/digits/rollouts/3, begun 2026-11-18 11:06:40 UTC by anna@host: better [digits]; etag abc"
    )


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (Rollout.STATE_RUNNING, "✓ load  ✓ 5 %  ▶ 25 %  · 50 %  · all"),
        (Rollout.STATE_HELD, "✓ load  ✓ 5 %  ▶ 25 %  · 50 %  · all"),
        (Rollout.STATE_PROMOTED, "✓ load  ✓ 5 %  ✓ 25 %  ✓ 50 %  ✓ all"),
        (Rollout.STATE_ROLLED_BACK, "✓ load  ✓ 5 %  · 25 %  · 50 %  · all"),
    ],
)
def test_steps_are_marked_as_they_stand(state: Rollout.State, steps: str) -> None:
    assert view_of(rollout(state))[3] == steps


def test_what_has_not_begun_has_no_steps_behind_it() -> None:
    loading = rollout(Rollout.STATE_LOADING)
    for field in ("step", "step_start_time", "verdict", "events"):
        loading.ClearField(field)
    assert view_of(loading)[3] == "▶ load  · 5 %  · 25 %  · 50 %  · all"
    loading.state = Rollout.STATE_FAILED
    assert view_of(loading)[3] == "· load  · 5 %  · 25 %  · 50 %  · all"


def test_copies_are_called_copies() -> None:
    shadow = rollout(Rollout.STATE_RUNNING)
    del shadow.plan.steps[:]
    shadow.plan.steps.add(shadow_share=1.0)
    shadow.step = 0
    lines = view_of(shadow)
    assert lines[3] == "✓ load  ▶ 100 % copied  · all"
    assert lines[4] == "████████ 100 requests of version 2, at least 0; 1900 of version 1"


def test_what_waits_for_a_person_without_steps_has_none_to_show() -> None:
    held = rollout(Rollout.STATE_HELD)
    del held.plan.steps[:]
    held.step = 0
    assert view_of(held)[3] == "✓ load  · all"
    assert ": held: " in shown(line(held))[0]


def test_a_promoted_one_says_how_long_one_can_go_back() -> None:
    promoted = rollout(Rollout.STATE_PROMOTED, retire_time=Timestamp(seconds=BEGUN_S + 600))
    assert view_of(promoted)[-1] == "version 1 is kept loaded until 2026-11-18 11:16:40 UTC"


@pytest.mark.parametrize("width", [50, 80, 100, 140])
def test_it_fits(width: int) -> None:
    assert max(map(len, view_of(RUNNING, width))) <= width


def test_each_rollout_has_a_line() -> None:
    back = rollout(Rollout.STATE_ROLLED_BACK, end_time=Timestamp(seconds=BEGUN_S + 77))
    heading, first, second = shown(table([RUNNING, back]), 160)
    assert heading.split()[:6] == ["ROLLOUT", "CANDIDATE", "BASELINE", "HOW", "STATE", "STEP"]
    assert first.split()[:8] == ["digits/3", "2", "1", "canary", "running", "2/3", "2026-11-18", "11:06:40"]
    assert first.endswith("latency [p99] is not proven yet")
    assert second.split()[4:10] == ["rolled", "back", "2/3", "2026-11-18", "11:06:40", "11:07:57"]


def test_one_line_says_where_it_stands() -> None:
    assert shown(line(RUNNING)) == [
        "digits/3 version 2 for 1, canary: running at step 2 of 3, 25 %: latency [p99] is not proven yet"
    ]
    assert "step" not in shown(line(rollout(Rollout.STATE_LOADING)))[0]


def test_status_and_watch_show_rollouts_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    status._show([], [], [RUNNING])
    assert "rollout digits/3 version 2 for 1" in capsys.readouterr().out
    look = {"figures": [], "pending_requests": {}, "incidents": [], "rollouts": [RUNNING]}
    assert shown(watch.view(look))[-1].startswith("rollout digits/3 version 2 for 1, canary: running")
