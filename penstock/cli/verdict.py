"""``penstock verdict``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from time import sleep, time
from typing import Annotated, Any

import typer
from rich.live import Live

from penstock.cli import options
from penstock.cli.comparisons import table, view
from penstock.cli.output import Json, print_json, reporting, screen, warn
from penstock.client import Client
from penstock.errors import ConnectionFailedError, PenstockError, UnavailableError, WaitTimeoutError
from penstock.monitor.v1.verdict_service_pb2 import (
    COMPARISON_MODE_SHADOW,
    DECISION_CONTINUE,
    DECISION_HOLD,
    DECISION_PROMOTE,
    DECISION_ROLL_BACK,
    Comparison,
)

_STATUSES = {DECISION_PROMOTE: 0, DECISION_ROLL_BACK: 3, DECISION_HOLD: 4}
"""Exit statuses of --wait; 1 and 2 are those of commands that don't work, or are asked wrongly."""
_OPTIONS = {
    "weight": "--weight",
    "is_shadow": "--shadow",
    "duration_s": "--for",
    "min_requests": "--requests",
    "min_duration_s": "--seconds",
    "alpha": "--alpha",
}
"""By what ``VerdictClient.compare`` calls them."""
_MONTH_S = 31 * 86_400
_PAUSE_S = 1.0
_GRACE_S = 30.0
"""How long after a comparison's deadline a monitor that is away is waited for."""
_SEEN_S = 600
_Versions = tuple[str, str, str]
"""Model, candidate and baseline."""


def register(app: typer.Typer) -> None:
    app.command("verdict", epilog="Examples: penstock verdict digits 2 1 --wait · penstock verdict")(verdict)


@reporting
def verdict(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="The model's name.")] = "",
    candidate: Annotated[str, typer.Argument(metavar="[CANDIDATE]", help="The version on trial.")] = "",
    baseline: Annotated[str, typer.Argument(metavar="[BASELINE]", help="The version that it is compared with.")] = "",
    weight: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="The candidate's share of the requests (in shadow: what is copied). 0: not configured."
        ),
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="The candidate gets copies of the baseline's requests.")
    ] = False,
    at_most: Annotated[
        float | None,
        typer.Option("--for", min=1, max=_MONTH_S, help="Seconds until a person must decide. Default: 3600."),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Requests of the candidate before a promotion. Default: 500.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds with traffic before a promotion. Default: 60.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(min=1e-6, max=0.1, help="Risk of a wrong verdict, either way. Default: 0.01.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin anew, even if these versions have been compared.")] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Follow it until it says what to do. Exit status 0: promote, 3: roll back, 4: hold."
        ),
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the comparison of these versions.")] = False,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Say whether a version may replace another, by what both do on live traffic.

    Shows the last comparison of these versions, over or not; begins one if there is none. Without versions, lists the
    comparisons of a model, or all. What it says holds whenever one looks: the risk of a false verdict is spent once,
    not with every look.
    """
    values = (weight, shadow or None, at_most, requests, seconds, alpha)
    given = {name: value for name, value in zip(_OPTIONS, values, strict=True) if value is not None}
    if not baseline:
        if candidate or given or new or wait or stop:
            raise typer.BadParameter("expected a model and two versions", param_hint="MODEL CANDIDATE BASELINE")
        _list(model, monitor, is_json=json)
        return
    if stop and (given or new or wait):
        raise typer.BadParameter("expected no other option beside it", param_hint="--stop")
    with Client(monitor=monitor) as client:
        versions = model, candidate, baseline
        found = _stopped(client, versions) if stop else _asked(client, versions, given, is_new=new)
        if wait:
            found = _follow(client, found, is_shown=not json)
        elif not json:
            screen.print(view(found))
    if json:
        print_json(found)
    if wait and (status := _STATUSES.get(found.decision, 1)):
        raise typer.Exit(status)


def _list(model: str, monitor: str | None, *, is_json: bool) -> None:
    with Client(monitor=monitor) as client:
        found = client.verdicts.list(model=model)
    if is_json:
        print_json(found)
    elif not found:
        screen.print("No comparisons.")
    else:
        screen.print(table(found))


def _of(client: Client, versions: _Versions) -> Iterator[Comparison]:
    """Comparisons of a candidate with a baseline, newest first, without the evidence."""
    for one in client.verdicts.list(model=versions[0]):
        if (one.model, one.candidate, one.baseline) == versions:
            yield one


def _stopped(client: Client, versions: _Versions) -> Comparison:
    for one in _of(client, versions):
        if not one.is_final:
            return client.verdicts.stop(one.name)
    raise PenstockError("no comparison of {} {} with {} is under way".format(*versions))


def _asked(client: Client, versions: _Versions, given: Mapping[str, Any], *, is_new: bool) -> Comparison:
    """The last comparison, or a new one."""
    newest = None if is_new else next(_of(client, versions), None)
    if newest is not None:
        _check(newest, given)
        return client.verdicts.get(newest.name)
    model, candidate, baseline = versions
    seen = {one.version for one in client.figures(model=model, window_s=_SEEN_S)}
    if missing := [version for version in (candidate, baseline) if version not in seen]:
        warn(f"{model} {' and '.join(missing)} had no requests in the last ten minutes; is that the right name?")
    return client.verdicts.compare(model, candidate, baseline, **given)


def _check(comparison: Comparison, given: Mapping[str, float]) -> None:
    """Refuse options that a comparison was not begun with: they would have no effect.

    Raises:
        typer.BadParameter: there is one.
    """
    asked = {
        "weight": comparison.weight,
        "is_shadow": comparison.mode == COMPARISON_MODE_SHADOW,
        "duration_s": (comparison.deadline_time.ToNanoseconds() - comparison.start_time.ToNanoseconds()) / 1e9,
        "min_requests": comparison.min_request_count,
        "min_duration_s": comparison.min_duration.ToNanoseconds() / 1e9,
        "alpha": comparison.alpha,
    }
    for name, value in given.items():
        slack = 1.0 if name.endswith("_s") else 1e-9  # the monitor counts whole seconds
        if abs(value - asked[name]) >= slack:
            raise typer.BadParameter(
                f"got {value}, but {comparison.name} was begun with {asked[name]}; --new begins another",
                param_hint=_OPTIONS[name],
            )


def _follow(client: Client, comparison: Comparison, *, is_shown: bool) -> Comparison:
    """Show every change until there is a decision."""
    live = Live(view(comparison), console=screen, auto_refresh=False) if is_shown and screen.is_terminal else None
    found = comparison
    with live or nullcontext():
        for seen in _changes(client, comparison):
            found = seen
            if live is not None:
                live.update(view(found), refresh=True)
            if found.decision != DECISION_CONTINUE:
                break
    if is_shown and live is None:
        screen.print(view(found))
    return found


def _changes(client: Client, comparison: Comparison) -> Iterator[Comparison]:
    """How a comparison stands after every change, until it is over; a monitor that is restarted is waited for.

    Raises:
        PenstockError: there is no monitor at the deadline, or no decision.
    """
    until_s = comparison.deadline_time.ToNanoseconds() / 1e9 + _GRACE_S
    while True:
        try:
            for seen in client.verdicts.watch(comparison.name):
                yield seen
                if seen.is_final:
                    return
        except (ConnectionFailedError, UnavailableError):
            if time() >= until_s:
                raise
        if time() >= until_s:
            raise WaitTimeoutError(f"{comparison.name} has no verdict, though its time is up")
        sleep(_PAUSE_S)
