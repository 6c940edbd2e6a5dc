"""``penstock slo``."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.output import Json, duration, print_json, reporting, screen
from penstock.client import Client
from penstock.errors import AbortedError
from penstock.registry.v1.resources_pb2 import Deployment, Slo


def register(app: typer.Typer) -> None:
    app.command("slo", epilog="Example: penstock slo digits --availability 0.999 --latency 0.2 --share 0.99")(slo)


@reporting
def slo(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A deployed model.")],
    availability: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of requests that must not fail by the server's fault; 0 for none."),
    ] = None,
    latency: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Longest that a request may take; 0 for none.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of requests that must be so quick. Default: 0.99.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(metavar="N", help="Days that the shares are meant over, 7 to 90. Default: 30.")
    ] = None,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Show or set what users of a model may count on. Alerting rules are made of it: penstock export rules.

    What no option names stays as it is. Serving doesn't change, nor is anything refused for it.
    """
    given = {"availability": availability, "latency_seconds": latency, "latency_share": share, "window_days": days}
    changes = {name: value for name, value in given.items() if value is not None}
    with Client(registry=registry) as client:
        deployment = _change(client, model, changes) if changes else client.deployment(model)
    if json:
        print_json(deployment.slo)
    else:
        screen.print(f"{model}: {describe(deployment.slo)}")


def _change(client: Client, model: str, changes: dict[str, float]) -> Deployment:
    """Change a promise, based on what somebody else made of it in between."""
    while True:
        deployment = client.deployment(model)
        with contextlib.suppress(AbortedError):
            return client.set_slo(model, _changed(deployment.slo, changes), etag=deployment.etag)


def _changed(present: Slo, changes: dict[str, float]) -> Slo:
    wanted = Slo()
    wanted.CopyFrom(present)
    for name, value in changes.items():
        setattr(wanted, name, value)
    if not wanted.latency_seconds and "latency_share" not in changes:
        wanted.latency_share = 0.0
    if not (wanted.availability or wanted.latency_seconds) and "window_days" not in changes:
        wanted.window_days = 0
    return wanted


def describe(slo: Slo) -> str:
    """What is promised, in one line."""
    promises = []
    if slo.availability:
        promises.append(f"{slo.availability:.10g} of its requests don't fail")
    if slo.latency_seconds:
        promises.append(f"{slo.latency_share:.10g} take at most {duration(slo.latency_seconds)}")
    return f"{' and '.join(promises)}, over {slo.window_days} days" if promises else "nothing is promised"
