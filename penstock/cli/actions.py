"""``penstock actions``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from penstock.cli import options
from penstock.cli.following import following
from penstock.cli.output import Json, print_json, reporting, screen, time
from penstock.cli.tables import Rows
from penstock.cli.words import action_words, enum_words
from penstock.client import Client
from penstock.monitor.v1.action_service_pb2 import Action, Policy, Retraining
from penstock.monitor.v1.monitor_service_pb2 import Incident

_LOOK_S = 1.0
_OUTCOMES = {Action.OUTCOME_DONE: "green", Action.OUTCOME_REFUSED: "red", Action.OUTCOME_DRY_RUN: "dim"}
_STATES = {Retraining.STATE_SUCCEEDED: "green", Retraining.STATE_FAILED: "red"}

_Found = tuple[Sequence[Action], Sequence[Retraining]]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What the monitor did by itself because of incidents, and by which policies.")
    group.command("list", epilog="Example: penstock actions list --watch")(list_)
    group.command("show", epilog="Examples: penstock actions show 0199… · penstock actions show retrainings/01…")(show)
    group.command("policies", epilog="Example: penstock actions policies --check policies.toml")(policies)
    group.command("quarantine", epilog='Example: penstock actions quarantine digits local.digits.3.0 --reason "slow"')(
        quarantine
    )
    group.command("cancel", epilog="Example: penstock actions cancel retrainings/0199…")(cancel)
    app.add_typer(group, name="actions", no_args_is_help=True)


@reporting
def list_(
    model: Annotated[str, typer.Option("--model", help="Only this model's.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Show it again each second, until Ctrl-C.")] = False,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show what was done, and how retrainings stand; newest first, times are UTC."""
    with Client(monitor=monitor) as client:

        def look() -> _Found:
            return client.actions.list(model=model), client.actions.retrainings(model=model)

        if json and not watch:
            done, retrainings = look()
            print_json({"actions": done, "retrainings": retrainings})
            return
        following(look, _view, interval_s=_LOOK_S, is_json=json, is_once=not watch)


def _view(found: _Found) -> RenderableType:
    actions, retrainings = found
    parts: list[RenderableType] = [_table(actions) if actions else "Nothing was done."]
    if retrainings:
        parts += ["", _retrainings(retrainings)]
    return Group(*parts)


def _table(actions: Sequence[Action]) -> Rows:
    rows = Rows("ACTION", "TIME (UTC)", "OUTCOME", "MODEL", ">VERSION", "DID", "~WHY\nWHAT CAME OF IT")
    for one in actions:
        rows.add_row(
            one.name.rpartition("/")[2],
            one.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            _outcome(one),
            escape(one.model),
            escape(one.version),
            _kind(one.kind),
            escape(f"{one.reason}\n{one.detail}"),
        )
    return rows


def _retrainings(retrainings: Sequence[Retraining]) -> Rows:
    rows = Rows("RETRAINING", "TIME (UTC)", "STATE", "MODEL", "BY", "~HOW IT STANDS")
    for one in retrainings:
        rows.add_row(
            one.name.rpartition("/")[2],
            one.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            _state(one),
            escape(one.model),
            one.runner,
            escape(one.detail),
        )
    return rows


@reporting
def show(
    name: Annotated[str, typer.Argument(metavar="ACTION", help="An action, or retrainings/… of a retraining.")],
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show all that is known of an action, or of a retraining."""
    kind, _, last = name.rpartition("/")
    with Client(monitor=monitor) as client:
        is_retraining = kind == "retrainings"
        found: Action | Retraining = (
            client.actions.retraining(name) if is_retraining else client.actions.get(f"actions/{last}")
        )
    if json:
        print_json(found)
    else:
        screen.print(_retraining_page(found) if isinstance(found, Retraining) else _action_page(found))


def _action_page(action: Action) -> RenderableType:
    facts = [
        ("policy", action.policy),
        ("because of", f"{action.incident}: {action.reason}"),
        ("model", f"{action.model}, version {action.version}"),
        ("decided", time(action.create_time)),
        ("ended", time(action.end_time) if action.HasField("end_time") else ""),
    ]
    return Group(f"{_outcome(action)}  {escape(action_words(action))}", "", _facts(facts))


def _retraining_page(retraining: Retraining) -> RenderableType:
    facts = [
        ("model", retraining.model),
        ("policy", f"{retraining.policy}, by {retraining.runner}"),
        ("because of", retraining.incident),
        ("asked for", retraining.request_json),
        ("version", retraining.model_version),
        ("rollout", retraining.rollout),
        ("begun", time(retraining.create_time)),
        ("last heard", time(retraining.heartbeat_time) if retraining.HasField("heartbeat_time") else ""),
        ("ended", time(retraining.end_time) if retraining.HasField("end_time") else ""),
        ("printed", retraining.output_tail.rstrip()),
    ]
    return Group(f"{_state(retraining)}  {escape(retraining.detail)}", "", _facts(facts))


def _facts(facts: list[tuple[str, str]]) -> Table:
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, text in facts:
        if text:
            made.add_row(name, escape(text))
    return made


@reporting
def policies(
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="What would be in force with this file."),
    ] = None,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show what the monitor may do by itself, or whether it would take a file of policies.

    Of each action, the first policy that matches an incident is followed.
    """
    with Client(monitor=monitor) as client:
        found = client.actions.check_policies(check.read_text()) if check else client.actions.policies()
    if json:
        print_json(list(found))
    else:
        screen.print(_policies(found))


def _policies(found: Sequence[Policy]) -> Rows:
    rows = Rows("POLICY", "DOES", "MODE", "MODELS", "~OF INCIDENTS", ">AGE", ">COOL-DOWN", ">MOST", "~BY")
    for one in found:
        signals = " ".join(enum_words(Incident.Signal.Name(signal), "SIGNAL_") for signal in one.signals)
        causes = " ".join(enum_words(Incident.Cause.Name(cause), "CAUSE_") for cause in one.causes)
        severities = " ".join(enum_words(Incident.Severity.Name(level), "SEVERITY_") for level in one.severities)
        rows.add_row(
            one.name,
            _kind(one.action),
            enum_words(Policy.Mode.Name(one.mode), "MODE_"),
            escape(" ".join(one.models)),
            "; ".join(filter(None, (signals, f"of a {causes}" if causes else "", severities))) or "any",
            f"{one.min_age_duration.ToTimedelta().total_seconds():g} s",
            f"{one.cool_down_duration.ToTimedelta().total_seconds():g} s",
            str(one.max_actions),
            escape(one.retraining),
        )
    return rows


@reporting
def quarantine(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model.")],
    replica: Annotated[str, typer.Argument(metavar="REPLICA", help="The replica, as `penstock status` names it.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for those who ask later.")],
    last: Annotated[
        bool, typer.Option("--last", help="Also the last one of its version, once another one takes requests.")
    ] = False,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Take a replica's process out by hand, and have another one take its place, with its files looked at anew."""
    with Client(registry=registry) as client:
        instance = replica.partition("@")[0]
        deployment = client.quarantine(model, instance, reason=reason, is_last_allowed=last)
    if json:
        print_json(deployment)
    else:
        screen.print(f"{escape(instance)} is replaced")


@reporting
def cancel(
    name: Annotated[str, typer.Argument(metavar="RETRAINING", help="A retraining that goes on.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for those who ask later.")] = "",
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """End a retraining. A rollout that it began goes on."""
    with Client(monitor=monitor) as client:
        found = client.actions.cancel_retraining(f"retrainings/{name.rpartition('/')[2]}", reason=reason)
    if json:
        print_json(found)
    else:
        screen.print(f"{_state(found)}  {escape(found.detail)}")


def _kind(kind: Action.Kind) -> str:
    return enum_words(Action.Kind.Name(kind), "KIND_")


def _outcome(action: Action) -> str:
    word = enum_words(Action.Outcome.Name(action.outcome), "OUTCOME_")
    return f"[{_OUTCOMES.get(action.outcome, 'yellow')}]{word}[/]"


def _state(retraining: Retraining) -> str:
    word = enum_words(Retraining.State.Name(retraining.state), "STATE_")
    return f"[{_STATES.get(retraining.state, 'yellow')}]{word}[/]"
