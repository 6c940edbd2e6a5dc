"""``penstock rollout``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

import typer

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen
from penstock.cli.rollout_following import exit_with_state, follow, look
from penstock.cli.rollout_view import handle, line, table
from penstock.client import Client
from penstock.errors import AbortedError, PenstockError
from penstock.registry.v1.rollout_service_pb2 import Rollout
from penstock.rollouts import Options, Strategy

_MONTH_S = 31 * 86_400
_WEEK_S = 7 * 86_400

Which = Annotated[
    str, typer.Argument(metavar="MODEL|NAME", help="A model, for its last rollout, or one by its name: digits/3.")
]
Etag = Annotated[
    str, typer.Option(metavar="ETAG", help="Only if it is still as `penstock rollout status` showed it with this etag.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for those who ask later.")]

app = typer.Typer(
    name="rollout", help="Try a new version on a model's traffic, and let the evidence decide.", no_args_is_help=True
)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@app.command("start", epilog="Example: penstock rollout start digits 2 --steps 5,25,50 --wait")
@reporting
def start(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A deployed model.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version that is to replace the present one.")],
    strategy: Annotated[Strategy, typer.Option(help="How it is tried.")] = Strategy.CANARY,
    steps: Annotated[
        str,
        typer.Option(
            metavar="PERCENT,…",
            help="What it gets at each step, of the requests (shadow: of copies). Default: 5,25,50; shadow 100; ab 50.",
        ),
    ] = "",
    sticky: Annotated[
        str, typer.Option(metavar="KEY", help="Metadata key, header or parameter: the same value, the same version.")
    ] = "",
    alias: Annotated[
        str, typer.Option(metavar="NAME", help="Divide its requests too, and point it at the version in the end.")
    ] = "",
    manual: Annotated[bool, typer.Option("--manual", help="Each step waits for a person.")] = False,
    keep_warm: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=_WEEK_S,
            metavar="SECONDS",
            help="How long the old version stays loaded afterwards. Default: 600; all-at-once 0.",
        ),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Its requests before a step may end. Default: 200.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds with traffic before a step may end. Default: 10.")
    ] = None,
    at_most: Annotated[
        float | None,
        typer.Option("--for", min=1, max=_MONTH_S, help="Seconds until an undecided step is held. Default: 3600."),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(min=1e-6, max=0.1, help="Risk of a wrong verdict, either way. Default: 0.01.")
    ] = None,
    reason: Reason = "",
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Follow it. Exit status 0: promoted, 3: rolled back, 4: held, 5: failed to load."),
    ] = False,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Begin to replace the version that has a model's requests.

    The new version is loaded and probed first. Then it gets a growing share of the requests; each step ends by what the
    monitor finds: the next one, a way back, or a halt for a person. No data is never a pass.
    """
    numbers = {
        "keep_warm_s": keep_warm,
        "min_requests": requests,
        "min_duration_s": seconds,
        "duration_s": at_most,
        "alpha": alpha,
    }
    how = Options(strategy=strategy, steps=_shares(steps), sticky_key=sticky, alias=alias, is_manual=manual)
    how.update(cast("Options", {name: value for name, value in numbers.items() if value is not None}))
    with Client(registry=registry) as client:
        found = client.rollouts.start(model, version, reason=reason, **how)
        if wait:
            found = follow(client, found, is_quiet=json)
    if json:
        print_json(found)
    elif not wait:
        screen.print(f"{line(found)}\nFollow it: penstock rollout status {model} --watch")
    if wait:
        exit_with_state(found)


@app.command("status", epilog="Example: penstock rollout status digits --watch")
@reporting
def status(
    which: Which,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Follow it. Exit status 0: promoted, 3: rolled back, 4: held, 5: failed to load."),
    ] = False,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Show where a rollout stands: its steps, the present verdict with its evidence, what happened."""
    with Client(registry=registry) as client:
        found = _find(client, which)
        if watch:
            found = follow(client, found, is_quiet=False, is_json=json)
        elif json:
            print_json(found)
        else:
            screen.print(look(found))
    if watch:
        exit_with_state(found)


@app.command("promote", epilog="Example: penstock rollout promote digits")
@reporting
def promote(
    which: Which,
    whole: Annotated[bool, typer.Option("--all", help="Skip all further steps.")] = False,
    reason: Reason = "",
    etag: Etag = "",
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Go on to the next step, whatever the verdict says; from the last one to all requests."""
    _change(
        which,
        lambda client, seen: client.rollouts.promote(seen.name, etag=etag or seen.etag, is_whole=whole, reason=reason),
        registry=registry,
        is_json=json,
    )


@app.command("hold", epilog="Example: penstock rollout hold digits --reason 'until the game is over'")
@reporting
def hold(
    which: Which, reason: Reason = "", etag: Etag = "", registry: options.Registry = None, json: Json = False
) -> None:
    """Leave the shares as they are until `resume`; proof of harm still rolls back."""
    _change(
        which,
        lambda client, seen: client.rollouts.hold(seen.name, etag=etag or seen.etag, reason=reason),
        registry=registry,
        is_json=json,
    )


@app.command("resume", epilog="Example: penstock rollout resume digits")
@reporting
def resume(
    which: Which, reason: Reason = "", etag: Etag = "", registry: options.Registry = None, json: Json = False
) -> None:
    """Go on with a rollout that is held: its step begins anew."""
    _change(
        which,
        lambda client, seen: client.rollouts.resume(seen.name, etag=etag or seen.etag, reason=reason),
        registry=registry,
        is_json=json,
    )


@app.command("rollback", epilog="Example: penstock rollout rollback digits --reason 'users complain'")
@reporting
def rollback(
    which: Which, reason: Reason = "", etag: Etag = "", registry: options.Registry = None, json: Json = False
) -> None:
    """Give everything back to the old version, also after a promotion while it is kept loaded."""
    _change(
        which,
        lambda client, seen: client.rollouts.roll_back(seen.name, etag=etag or seen.etag, reason=reason),
        registry=registry,
        is_json=json,
    )


@app.command("history", epilog="Example: penstock rollout history digits")
@reporting
def history(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Only this model's.", show_default=False)] = "-",
    active: Annotated[bool, typer.Option("--active", help="Only those that are under way.")] = False,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """List rollouts, newest first, and how each ended."""
    with Client(registry=registry) as client:
        found = client.rollouts.list(model, only_active=active)
    if json:
        print_json(list(found))
    elif not found:
        screen.print("No rollouts.")
    else:
        screen.print(table(found))


def _find(client: Client, which: str) -> Rollout:
    """A rollout by its name, short or whole, or a model's last one."""
    if which.startswith("deployments/"):
        return client.rollouts.get(which)
    model, separator, number = which.partition("/")
    return client.rollouts.get(f"deployments/{model}/rollouts/{number}") if separator else client.rollouts.last(model)


def _change(which: str, change: Callable[[Client, Rollout], Rollout], *, registry: str | None, is_json: bool) -> None:
    """Read a rollout, and change what was read: who comes second is refused."""
    with Client(registry=registry) as client:
        seen = _find(client, which)
        try:
            found = change(client, seen)
        except AbortedError as error:
            raise PenstockError(
                f"{error}. Somebody was faster, or the verdict was: penstock rollout status {handle(seen)}"
            ) from error
    if is_json:
        print_json(found)
    else:
        screen.print(line(found))


def _shares(text: str) -> list[float]:
    """Shares, of percents with commas between.

    Raises:
        typer.BadParameter: there is something else.
    """
    try:
        shares = [float(one) / 100 for one in text.split(",")] if text else []
    except ValueError:
        shares = [0.0]
    if not all(0 < one <= 1 for one in shares):
        raise typer.BadParameter(f"got {text!r}, expected percents above 0 up to 100: 5,25,50", param_hint="--steps")
    return shares
