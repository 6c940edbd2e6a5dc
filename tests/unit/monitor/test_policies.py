"""When the monitor may act, and what a file of policies may say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.common.errors import InvalidArgumentError
from services.monitor.domain.actions import Action, ActionBook, Outcome
from services.monitor.domain.blocks import NS
from services.monitor.domain.phases import Cause, Severity, Signal
from services.monitor.domain.policies import ActionKind, Mode, Policy, matching
from services.monitor.domain.policy_files import defaults, parse
from services.monitor.domain.recipes import Command, Guard, KubernetesJob, Plan, Webhook
from tests.unit.monitor.test_alerts import INCIDENT

NOW = INCIDENT.open_ns + 5 * NS
HOUR = 3_600 * NS
BROKEN = replace(INCIDENT, signal=Signal.NONFINITE, phase=None)
JOB = '{"kind": "Job", "spec": {"template": {"spec": {"containers": [{"name": "train"}]}}}}'


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file", path)


def read(text: str) -> Policy:
    """The one policy of a file."""
    (policy,) = parse(f"defaults = false\n{text}", read_file=lambda _: JOB)
    return policy


def action(policy: Policy, *, at_ns: int, outcome: Outcome = Outcome.DONE, incident_id: str = "other") -> Action:
    return Action(
        action_id="0" * 20, kind=policy.action, outcome=outcome, policy=policy.name, incident_id=incident_id,
        model=INCIDENT.model, version=INCIDENT.version, target="x", reason="", detail="", create_ns=at_ns,
    )  # fmt: skip


def named(incident_fields: dict[str, object]) -> dict[str, Mode]:
    """The built-in policies that an incident calls for."""
    return {one.name: one.mode for one in matching(defaults(), replace(INCIDENT, **incident_fields))}  # type: ignore[arg-type]


def test_what_is_built_in_rolls_back_what_is_wrong_and_only_says_so_of_what_is_slow() -> None:
    wrong = named({"signal": Signal.NONFINITE, "cause": Cause.VERSION})
    assert wrong == {"hold-rollout": Mode.ON, "roll-back-promoted": Mode.ON}
    slow = named({"signal": Signal.LATENCY, "cause": Cause.VERSION})
    assert slow == {"hold-rollout": Mode.ON, "roll-back-slow": Mode.DRY_RUN}
    assert named({"severity": Severity.TICKET, "cause": Cause.VERSION}) == {}
    assert named({"signal": Signal.INPUTS, "cause": Cause.INPUTS}) == {}
    assert named({"cause": Cause.ARRIVALS}) == {}


@pytest.mark.parametrize(
    ("signal", "policy", "mode"),
    [
        (Signal.PROBE, "quarantine-wrong", Mode.ON),
        (Signal.DEAD, "quarantine-dead", Mode.ON),
        (Signal.LATENCY, "quarantine-limping", Mode.ON),
        (Signal.NONFINITE, "quarantine-others", Mode.DRY_RUN),
    ],
)
def test_what_is_built_in_replaces_single_replicas(signal: Signal, policy: str, mode: Mode) -> None:
    assert named({"signal": signal, "cause": Cause.REPLICA, "replica": "a"}) == {policy: mode}


def test_of_each_action_the_first_policy_that_matches_is_followed_also_one_that_is_off() -> None:
    policies = (
        Policy("off", ActionKind.HOLD, Mode.OFF, models=("dig*",)),
        Policy("never", ActionKind.HOLD, Mode.ON),
        Policy("other", ActionKind.ROLL_BACK, Mode.ON, models=("other",)),
        Policy("this", ActionKind.ROLL_BACK, Mode.ON, signals=(Signal.NONFINITE,)),
    )

    assert [one.name for one in matching(policies, BROKEN)] == ["this"]
    assert not list(matching(policies, replace(BROKEN, close_ns=NOW)))
    assert not list(matching(policies, replace(BROKEN, model="services/cart")))


def test_an_action_waits_for_the_incidents_age_and_for_the_models_cool_down() -> None:
    policy = Policy("p", ActionKind.QUARANTINE, Mode.ON, min_age_s=10, cool_down_s=60, max_actions=2)
    book = ActionBook()
    assert not book.is_due(policy, BROKEN, now_ns=BROKEN.open_ns + 9 * NS)
    assert book.is_due(policy, BROKEN, now_ns=BROKEN.open_ns + 10 * NS)

    book.note(action(policy, at_ns=NOW, outcome=Outcome.PENDING))
    assert not book.is_due(policy, BROKEN, now_ns=NOW + 59 * NS)
    assert book.is_due(replace(policy, action=ActionKind.HOLD), BROKEN, now_ns=NOW + 59 * NS)
    assert book.is_due(policy, replace(BROKEN, model="other"), now_ns=NOW + 59 * NS)
    assert book.is_due(policy, BROKEN, now_ns=NOW + 60 * NS)


def test_one_incident_has_so_many_actions_at_most() -> None:
    policy = Policy("p", ActionKind.QUARANTINE, Mode.ON, cool_down_s=60, max_actions=2)
    book = ActionBook(action(policy, at_ns=NOW + at * NS, incident_id=BROKEN.incident_id) for at in (0, 60))

    assert not book.is_due(policy, BROKEN, now_ns=NOW + HOUR)
    assert book.is_due(policy, replace(BROKEN, incident_id="next"), now_ns=NOW + HOUR)
    book.keep_only({"next"})  # the other one is over, and its model cools down all the same
    assert not book.is_due(policy, replace(BROKEN, incident_id="next"), now_ns=NOW + 119 * NS)


def test_a_dry_run_holds_nothing_up_and_is_said_once_of_each_target() -> None:
    policy = Policy("p", ActionKind.ROLL_BACK, Mode.ON)
    dry = replace(policy, mode=Mode.DRY_RUN)
    book = ActionBook([action(dry, at_ns=NOW, outcome=Outcome.DRY_RUN, incident_id=BROKEN.incident_id)])

    assert book.is_due(policy, BROKEN, now_ns=NOW + NS)
    assert not book.is_due(dry, BROKEN, now_ns=NOW + NS)
    assert book.was_target(dry, BROKEN, "x")
    assert not book.was_target(dry, BROKEN, "y")


def test_what_was_refused_may_be_tried_again_and_what_was_done_is_not() -> None:
    policy = Policy("p", ActionKind.QUARANTINE, Mode.ON)
    pending = action(policy, at_ns=NOW, outcome=Outcome.PENDING, incident_id=BROKEN.incident_id)
    book = ActionBook([pending])
    assert book.was_target(policy, BROKEN, "x")

    book.end(replace(pending, outcome=Outcome.DONE))
    assert book.was_target(policy, BROKEN, "x")
    book.end(replace(pending, outcome=Outcome.REFUSED))
    assert not book.was_target(policy, BROKEN, "x")
    assert not ActionBook([replace(pending, outcome=Outcome.REFUSED)]).was_target(policy, BROKEN, "x")


def test_a_file_says_when_and_how_a_model_is_retrained() -> None:
    policy = read(
        """
        [[policy]]
        name = "digits"
        action = "retrain"
        models = ["digits"]
        signals = ["inputs"]
        cool_down = "2h"
        [policy.retraining]
        command = ["python", "train.py"]
        environment = { EPOCHS = "3" }
        deadline = "30m"
        [policy.retraining.rollout]
        strategy = "canary"
        steps = [{ share = 0.5, min_requests = 100 }]
        guardrails = [{ signal = "latency", phase = "total", level = 0.5, margin = 0.25, margin_duration = "20ms" }]
        keep_warm = "1m"
        """
    )

    assert (policy.signals, policy.cool_down_s, policy.mode) == ((Signal.INPUTS,), 7_200, Mode.ON)
    assert policy.recipe is not None
    assert policy.recipe.runner == Command(("python", "train.py"), {"EPOCHS": "3"})
    assert isinstance(policy.recipe.plan, Plan)
    assert (policy.recipe.plan.strategy, policy.recipe.plan.keep_warm_s) == ("CANARY", 60)
    assert policy.recipe.plan.guardrails == (Guard("LATENCY", "TOTAL", 0.5, 0.25, 0.02),)
    assert policy.recipe.plan.steps[0].min_request_count == 100


RETRAIN = '[[policy]]\nname = "r"\naction = "retrain"\nsignals = ["inputs"]\n[policy.retraining]\n'


def test_a_webhook_and_a_job_are_ways_to_retrain() -> None:
    hook = read(f'{RETRAIN}webhook = "https://train.example/hook?x=1"\nsecret_file = "/secret"\nroll_out = false')
    assert hook.recipe is not None
    assert (hook.recipe.runner, hook.recipe.plan) == (Webhook("https://train.example/hook?x=1", "/secret"), None)
    job = read(f'{RETRAIN}kubernetes = {{ template_file = "job.json", namespace = "ml" }}')
    assert job.recipe is not None
    assert isinstance(job.recipe.runner, KubernetesJob)
    assert (job.recipe.runner.namespace, job.recipe.runner.api) == ("ml", "https://kubernetes.default.svc")


def test_a_policy_takes_the_place_of_a_built_in_one_of_its_name() -> None:
    text = '[[policy]]\nname = "hold-rollout"\naction = "hold"\nmode = "off"'

    found = parse(text, read_file=no_file)

    assert [one.name for one in found].count("hold-rollout") == 1
    assert found[0].mode is Mode.OFF
    assert len(found) == len(defaults())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("policy = 3", "policies: policy: got 3, expected tables"),
        ("policies = []", "got policies, expected some of defaults, policy"),
        ("[[policy]]", "policy 1: name is missing"),
        ('[[policy]]\nname = "a"', "policy a: action is missing, expected one of hold, roll_back"),
        ('[[policy]]\nname = "a"\naction = "reboot"', "got 'reboot', expected one of hold"),
        ('[[policy]]\nname = "a"\naction = "hold"\nmodel = "x"', "policy a: got model, expected some of action"),
        ('[[policy]]\nname = "a"\naction = "hold"\nmin_age = "10"', "min_age: got '10', expected a duration such as"),
        ('[[policy]]\nname = "a"\naction = "hold"\nmin_age = 10', "min_age: got 10, expected a duration such as"),
        ('[[policy]]\nname = "a"\naction = "hold"\nsignals = ["drift"]', "got 'drift', expected one of error_rate"),
        ('[[policy]]\nname = "a"\naction = "hold"\nmax_actions = 0', "max_actions: got 0, expected 1 to 100"),
        ('[[policy]]\nname = "a"\naction = "retrain"\nsignals = ["inputs"]', "got no table retraining"),
        (RETRAIN, "got none, expected one of command, webhook and kubernetes"),
        (f'{RETRAIN}command = ["x"]\nwebhook = "http://x"', "got command and webhook, expected one"),
        (f'{RETRAIN}command = ["x"]\nenvironment = {{ PENSTOCK_HOME = "x" }}', "doesn't begin with PENSTOCK_"),
        (f'{RETRAIN}command = ["x"]\npass_environment = ["PENSTOCK_HOME"]', "none beginning with PENSTOCK_"),
        (f'{RETRAIN}webhook = "ftp://x"', "webhook: got 'a URL', expected http"),
        (f'{RETRAIN}kubernetes = {{ template_file = "gone.json" }}', "expected a file that can be read"),
        (f'{RETRAIN}command = ["x"]\n[policy.retraining.rollout]\nstrategy = "hope"', "got 'hope', expected one of"),
        ('[[policy]]\nname = "a"\naction = "hold"\n[[policy]]\nname = "a"\naction = "hold"', "two policies named a"),
        ("= 1", "the policies are no TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        parse(text, read_file=no_file)
    assert said in raised.value.message
