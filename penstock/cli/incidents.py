"""``penstock incidents``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from penstock.cli import options
from penstock.cli.output import Json, duration, print_json, reporting, screen, state, time
from penstock.cli.tables import Rows
from penstock.cli.words import SHARES, action_words, enum_words, signal_words
from penstock.client import Client
from penstock.monitor.v1.action_service_pb2 import Action
from penstock.monitor.v1.monitor_service_pb2 import Incident

_DURATIONS = (Incident.SIGNAL_LATENCY, Incident.SIGNAL_QUEUEING, Incident.SIGNAL_STUCK)
_SEVERITIES = {Incident.SEVERITY_PAGE: "[bold red]page[/]", Incident.SEVERITY_TICKET: "ticket"}


def register(app: typer.Typer) -> None:
    app.command("incidents", epilog="Examples: penstock incidents --open --watch · penstock incidents 0199…")(incidents)


@reporting
def incidents(
    incident: Annotated[str, typer.Argument(metavar="[INCIDENT]", help="Show all that is known of this one.")] = "",
    model: Annotated[str, typer.Option("--model", help="Only this model's.")] = "",
    only_open: Annotated[bool, typer.Option("--open", help="Only those that go on.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show changes as they come, until Ctrl-C.")] = False,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show what the monitor noticed: speed, errors, answers, inputs and replicas that left their course.

    Times are UTC.
    """
    if incident and (model or only_open or watch):
        raise typer.BadParameter("one incident is asked for: --model, --open and --watch are about many")
    with Client(monitor=monitor) as client:
        if incident:
            one = client.incident(incident)
            if json:
                print_json(one)
            else:
                screen.print(page(one, client.actions.list(incident=one.name)))
            return
        if watch:
            for one in client.watch_incidents(model=model):
                if only_open and one.state != Incident.STATE_OPEN:
                    continue
                if json:
                    print_json(one, indent=None)
                else:
                    screen.print(line(one))
            return
        found = client.incidents(model=model, only_open=only_open)
    if json:
        print_json(found)
    elif not found:
        screen.print("No incidents.")
    else:
        screen.print(table(found))


def table(incidents: list[Incident]) -> Rows:
    """Incidents, a line for each."""
    rows = Rows("INCIDENT", "STATE", "SEVERITY", "SINCE (UTC)", "MODEL", ">VERSION", "~WHAT")
    for one in incidents:
        rows.add_row(
            one.name.rpartition("/")[2],
            state(Incident.State.Name(one.state)),
            _SEVERITIES.get(one.severity, ""),
            one.change_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            escape(one.model),
            escape(one.version),
            escape(one.summary),
        )
    return rows


def page(incident: Incident, actions: Sequence[Action] = ()) -> RenderableType:
    """All that is known of an incident, and what was done because of it."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(incident):
        facts.add_row(name, escape(text))
    for one in reversed(actions):
        facts.add_row("action", escape(action_words(one)))
    word, severity = state(Incident.State.Name(incident.state)), _SEVERITIES.get(incident.severity, "")
    return Group(f"{word}  {severity}  {escape(incident.summary)}", "", facts)


def _facts(incident: Incident) -> list[tuple[str, str]]:
    since, opened = time(incident.change_time), time(incident.open_time)
    facts = [
        ("model", f"{incident.model}, version {incident.version}, {incident.arm or 'stable'}"),
        ("signal", signal_words(incident.signal, incident.phase)),
        ("cause", enum_words(Incident.Cause.Name(incident.cause), "CAUSE_")),
        ("replica", incident.replica),
        ("before", _figure(incident, incident.before)),
        ("since then", _figure(incident, incident.after) + _interval(incident)),
        ("began", f"{since}, opened {opened}"),
        ("closed", time(incident.close_time) if incident.HasField("close_time") else ""),
        ("evidence", _evidence(incident)),
        ("were hit", "\n".join(trace.removeprefix("traces/") for trace in incident.traces)),
        ("were not", "\n".join(trace.removeprefix("traces/") for trace in incident.innocent_traces)),
    ]
    return [(name, text) for name, text in facts if text]


def _figure(incident: Incident, value: float) -> str:
    if incident.signal in _DURATIONS:
        return duration(value)
    return f"{value:.2%}" if incident.signal in SHARES else f"{value:.4g}"


def _interval(incident: Incident) -> str:
    if not incident.HasField("after_interval"):
        return ""
    ends = incident.after_interval
    return f" ({_figure(incident, ends.low)} to {_figure(incident, ends.high)} at 95 %)"


def _evidence(incident: Incident) -> str:
    if not incident.average_run_length:
        return "a rule: no matter of chance"
    power = incident.log_evalue / math.log(10)
    often = f"{incident.average_run_length:.2g}"
    return f"e-value 10^{power:.1f}; by chance its detector raises one in {often} observations"


def line(incident: Incident) -> str:
    """A change of an incident in one line."""
    when = (incident.close_time if incident.HasField("close_time") else incident.open_time).ToDatetime()
    word = state(Incident.State.Name(incident.state))
    severity = _SEVERITIES.get(incident.severity, "")
    what = f"{escape(incident.model)} {escape(incident.version)}: {escape(incident.summary)}"
    return f"[dim]{when:%H:%M:%S} UTC[/] {word} {severity} {what}"
