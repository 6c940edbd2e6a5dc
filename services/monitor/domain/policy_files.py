"""Files of policies (TOML): ``[[policy]]`` tables before the built-in ones. What is wrong is said, never guessed."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import urlsplit

from services.common.errors import InvalidArgumentError
from services.monitor.domain.default_policies import DEFAULTS
from services.monitor.domain.fields import Fields
from services.monitor.domain.phases import Cause, Severity, Signal
from services.monitor.domain.policies import ActionKind, Mode, Policy
from services.monitor.domain.recipes import Command, Guard, KubernetesJob, Plan, Recipe, Step, Webhook

MAX_POLICIES = 256
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")
_VARIABLE = re.compile(r"(?!PENSTOCK_)[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/-]{0,62}")
_RETRAIN_AGAIN_S = 86_400.0
_DAY_S = 86_400.0
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

ReadFile = Callable[[str], str]
"""The text of a file by its path; OSError where there is none."""


class Strategy(StrEnum):
    """Ways to try a new version, as ``RolloutPlan.Strategy`` has them."""

    ALL_AT_ONCE = "all_at_once"
    BLUE_GREEN = "blue_green"
    CANARY = "canary"
    SHADOW = "shadow"


class GuardSignal(StrEnum):
    """What is compared, as ``Guardrail.Signal`` has it."""

    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    CONFIDENCE = "confidence"
    CLASS_MIX = "class_mix"
    NONFINITE = "nonfinite"
    ACCURACY = "accuracy"
    PAIRED_ERRORS = "paired_errors"
    DISAGREEMENT = "disagreement"


class GuardPhase(StrEnum):
    """The phase of a latency, as ``Phase`` has it."""

    QUEUE = "queue"
    COMPUTE_INPUT = "compute_input"
    COMPUTE_INFER = "compute_infer"
    COMPUTE_OUTPUT = "compute_output"
    TOTAL = "total"


def parse(text: str, *, read_file: ReadFile) -> tuple[Policy, ...]:
    """The policies of a file, then the built-in ones whose names it doesn't use, unless it says ``defaults = false``.

    ``read_file`` reads templates that it names.

    Raises:
        InvalidArgumentError: with what is wrong and where.
    """
    try:
        fields = Fields(tomllib.loads(text), "policies")
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgumentError(f"the policies are no TOML: {error}") from None
    has_defaults = fields.take("defaults", bool, True)
    tables = fields.take("policy", list, [], expected="tables [[policy]]")
    fields.end()
    if len(tables) > MAX_POLICIES:
        raise InvalidArgumentError(f"got {len(tables)} policies, expected at most {MAX_POLICIES}")
    found = [_policy(table, number, read_file) for number, table in enumerate(tables, 1)]
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidArgumentError(f"got two policies named {', '.join(twice)}, expected each name once")
    rest = [one for one in defaults() if one.name not in names] if has_defaults else []
    return (*found, *rest)


def defaults() -> tuple[Policy, ...]:
    """Those that are built in."""
    tables = tomllib.loads(DEFAULTS)["policy"]
    return tuple(_policy(table, number, _no_file) for number, table in enumerate(tables, 1))


def _no_file(path: str) -> str:
    raise FileNotFoundError(path)


def _policy(table: object, number: int, read_file: ReadFile) -> Policy:
    fields = Fields(table, f"policy {number}")
    name = fields.needed("name")
    if not _NAME.fullmatch(name):
        raise fields.wrong("name", name, "1 to 63 letters, digits, dots, underscores and dashes")
    fields.where = f"policy {name}"
    action = fields.word("action", ActionKind)
    is_retraining = action is ActionKind.RETRAIN
    policy = Policy(
        name=name,
        action=action,
        mode=fields.word("mode", Mode, Mode.ON),
        models=fields.texts("models", ("*",)),
        signals=fields.words("signals", Signal),
        causes=fields.words("causes", Cause),
        severities=fields.words("severities", Severity),
        min_age_s=fields.duration_s("min_age", 0.0, high=_DAY_S),
        cool_down_s=fields.duration_s("cool_down", _RETRAIN_AGAIN_S if is_retraining else 600.0, high=366 * _DAY_S),
        max_actions=fields.whole("max_actions", 1, low=1, high=100),
        recipe=fields.table("retraining", lambda inner: _recipe(inner, read_file)),
    )
    fields.end()
    if (policy.recipe is None) == is_retraining:
        got = "no table retraining" if is_retraining else "a table retraining"
        raise InvalidArgumentError(f"policy {name}: got {got} with action {action}")
    if is_retraining and not policy.signals:
        raise InvalidArgumentError(f'policy {name}: signals is missing: which ones are to retrain, "inputs" for one?')
    return policy


def _recipe(fields: Fields, read_file: ReadFile) -> Recipe:
    runners = [name for name in ("command", "webhook", "kubernetes") if name in fields]
    if len(runners) != 1:
        got = " and ".join(runners) or "none"
        raise InvalidArgumentError(f"{fields.where}: got {got}, expected one of command, webhook and kubernetes")
    has_rollout = fields.take("roll_out", bool, True)
    plan = fields.table("rollout", _plan)
    if plan is not None and not has_rollout:
        raise InvalidArgumentError(f"{fields.where}: got a table rollout with roll_out = false")
    return Recipe(
        runner=_runner(fields, runners[0], read_file),
        folder=fields.text("folder"),
        deadline_s=fields.duration_s("deadline", 3_600.0, low=1.0),
        silence_s=fields.duration_s("silence", 0.0),
        window_s=fields.duration_s("window", 3_600.0),
        is_trusted=fields.take("trust", bool, False),
        labels=fields.mapping("labels", _LABEL, "a text of at most 63 characters"),
        plan=(plan or Plan()) if has_rollout else None,
    )


def _runner(fields: Fields, kind: str, read_file: ReadFile) -> Command | Webhook | KubernetesJob:
    if kind == "command":
        arguments = fields.texts("command")
        if not arguments:
            raise fields.wrong("command", [], "a program and its arguments")
        environment = fields.mapping("environment", _VARIABLE, "a text, under a name that doesn't begin with PENSTOCK_")
        passed_on = fields.texts("pass_environment")
        if wrong := [one for one in passed_on if not _VARIABLE.fullmatch(one)]:
            raise fields.wrong("pass_environment", wrong, "names of variables, none beginning with PENSTOCK_")
        return Command(arguments, environment, passed_on)
    if kind == "webhook":
        url = _url(fields, "webhook", fields.needed("webhook"))
        return Webhook(url, fields.text("secret_file"), fields.text("authorization_file"))
    job = fields.table("kubernetes", lambda inner: _job(inner, read_file))
    if job is None:
        raise InvalidArgumentError(f"{fields.where}: kubernetes is missing")
    return job


def _job(fields: Fields, read_file: ReadFile) -> KubernetesJob:
    path = fields.needed("template_file")
    try:
        template = json.loads(read_file(path))
    except OSError as error:
        raise fields.wrong("template_file", path, f"a file that can be read ({error.strerror})") from None
    except ValueError as error:
        raise fields.wrong("template_file", path, f"a Job as JSON ({error})") from None
    try:
        containers = template["spec"]["template"]["spec"]["containers"]
        is_job = template["kind"] == "Job" and isinstance(containers, list) and all(map(dict, containers))
    except (KeyError, TypeError, ValueError):
        is_job = False
    if not is_job:
        raise fields.wrong("template_file", path, "a Job with spec.template.spec.containers")
    return KubernetesJob(
        template=template,
        namespace=fields.text("namespace", "default"),
        api=_url(fields, "api", fields.text("api", "https://kubernetes.default.svc")),
        token_file=fields.text("token_file", f"{_ACCOUNT}/token"),
        ca_file=fields.text("ca_file", f"{_ACCOUNT}/ca.crt"),
    )


def _url(fields: Fields, name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or "@" in text or "#" in text or not (text.isascii() and text.isprintable()) or " " in text:
        raise fields.wrong(name, "a URL", "http[s]://host[:port][/path] without a user")
    return text


def _plan(fields: Fields) -> Plan:
    steps = fields.take("steps", list, [], expected="a list of tables")
    guards = fields.take("guardrails", list, [], expected="a list of tables")
    keep_warm_s = fields.duration_s("keep_warm", -1.0, high=7 * _DAY_S)
    return Plan(
        strategy=fields.word("strategy", Strategy, Strategy.CANARY).name,
        steps=tuple(_step(one, f"{fields.where}, step {number}") for number, one in enumerate(steps, 1)),
        sticky_key=fields.text("sticky_key"),
        alias=fields.text("alias"),
        is_manual=fields.take("manual", bool, False),
        alpha=fields.number("alpha", 0.0, low=0.0, high=0.5),
        keep_warm_s=None if keep_warm_s < 0 else keep_warm_s,
        load_s=fields.duration_s("load", 0.0),
        guardrails=tuple(_guard(one, f"{fields.where}, guardrail {at}") for at, one in enumerate(guards, 1)),
    )


def _guard(table: object, where: str) -> Guard:
    fields = Fields(table, where)
    guard = Guard(
        signal=fields.word("signal", GuardSignal).name,
        phase=fields.word("phase", GuardPhase).name if "phase" in fields else "",
        level=fields.number("level", 0.0, low=0.0, high=1.0),
        margin=fields.number("margin", 0.0, low=0.0, high=10.0),
        margin_s=fields.duration_s("margin_duration", 0.0, high=3_600.0),
    )
    fields.end()
    return guard


def _step(table: object, where: str) -> Step:
    fields = Fields(table, where)
    step = Step(
        candidate_share=fields.number("share", 0.0, low=0.0, high=0.999),
        shadow_share=fields.number("shadow", 0.0, low=0.0, high=1.0),
        min_request_count=fields.whole("min_requests", 0, low=0, high=10**9),
        min_duration_s=fields.duration_s("min_duration", 0.0),
        duration_s=fields.duration_s("duration", 0.0),
    )
    fields.end()
    return step
