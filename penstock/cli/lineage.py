"""``penstock lineage``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.markup import escape

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, state, time
from penstock.client import Client
from penstock.lineage import Ancestor
from penstock.registry.v1.resources_pb2 import ModelVersion
from penstock.registry.v1.rollout_service_pb2 import Rollout

_RELATIONS = {"itself": "", "parent": "made from ", "before": "after "}


def register(app: typer.Typer) -> None:
    app.command("lineage", epilog="Example: penstock lineage digits 7")(lineage)


@reporting
def lineage(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    version: Annotated[str, typer.Argument(metavar="N", help="The version.", show_default=False)],
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Show where a version is from, back to the first, and why each rollout that it took part in ended."""
    with Client(registry=registry) as client:
        found = client.sources.lineage(f"models/{name}/versions/{version}")
    if json:
        print_json(
            [
                {
                    "version": one.version,
                    "depth": one.depth,
                    "relation": one.relation,
                    "of": one.of,
                    "is_deleted": one.is_deleted,
                    "rollouts": one.rollouts,
                }
                for one in found
            ]
        )
        return
    for one in found:
        for line in _lines(one):
            screen.print(f"{'  ' * one.depth}{line}", soft_wrap=True)


def _lines(one: Ancestor) -> Iterator[str]:
    _, model, _, number = one.version.name.split("/")
    heading = f"{_RELATIONS[one.relation]}[bold]{model}[/] version [bold]{number}[/]"
    if one.is_deleted:
        yield f"{heading} [dim]deleted[/]"
        return
    lineage = one.version.lineage
    yield f"{heading} {state(ModelVersion.State.Name(one.version.state))} [dim]{time(one.version.create_time)}[/]"
    if lineage.source or lineage.origin:
        by = f" by {lineage.source}" if lineage.source else ""
        at = f" ({lineage.revision[:40]})" if lineage.revision else ""
        yield f"    from {escape(lineage.origin or 'people')}{escape(at)}{by}"
    for name, value in sorted(lineage.facts.items()):
        yield f"    [dim]{escape(name)}[/] {escape(value)}"
    if one.version.metrics:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(one.version.metrics.items()))
        yield f"    figures {escape(figures)}"
    if one.version.state_reason:
        yield f"    [red]{escape(one.version.state_reason)}[/]"
    for rollout in one.rollouts:
        yield f"    {_rollout(rollout, one.version.name)}"


def _rollout(rollout: Rollout, version: str) -> str:
    number = rollout.name.rpartition("/")[2]
    other = rollout.baseline if rollout.candidate == version else rollout.candidate
    part = "candidate against" if rollout.candidate == version else "baseline of"
    word = state(Rollout.State.Name(rollout.state))
    reason = f": {escape(rollout.state_reason)}" if rollout.state_reason else ""
    return f"rollout {number}, {part} version {other.rpartition('/')[2]}: {word}{reason}"
