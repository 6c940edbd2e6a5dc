"""``penstock models``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, size, state
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.registry.v1.resources_pb2 import ModelVersion, Optimization, Signature, TensorSpec


def register(app: typer.Typer) -> None:
    app.command("models", epilog="Example: penstock models digits --json")(models)


@reporting
def models(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Only this model.", show_default=False)] = "-",
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Show models and their versions: state, format, what they take and give, whether they serve."""
    with Client(registry=registry) as client:
        versions = client.versions(name)
        aliases = client.aliases(name)
        deployments = client.deployments()
    served = {version for deployment in deployments for version in deployment.versions}
    asleep = {place.version for deployment in deployments for place in deployment.placements if place.is_asleep}
    if json:
        print_json(
            [{"version": one, "is_deployed": one.name in served, "is_asleep": one.name in asleep} for one in versions]
        )
        return
    if not versions:
        screen.print("There are no models yet. Deploy one: penstock deploy model.onnx --name my-model")
        return
    named: dict[str, list[str]] = {}
    for alias in aliases:
        named.setdefault(alias.version, []).append(alias.name.rpartition("/")[2])
    rows = Rows("MODEL", "VERSION", "STATE", "FORMAT", ">SIZE", "~TAKES → GIVES", "~NOTE")
    for one in versions:
        _, model, _, version = one.name.split("/")
        notes = ["asleep" if one.name in asleep else "serves"] if one.name in served else []
        notes += [f"alias {alias}" for alias in named.get(one.name, [])]
        notes += [f"{key} {value:.4g}" for key, value in one.metrics.items()]
        notes += filter(None, map(optimization_note, one.optimizations))
        rows.add_row(
            model,
            version,
            state(ModelVersion.State.Name(one.state)),
            one.format or "–",
            size(sum(file.size_bytes for file in one.files)),
            escape(one.state_reason or signature(one.signature)),
            ", ".join(notes),
        )
    screen.print(rows)


def optimization_note(found: Optimization) -> str:
    """What a search found, or where it stands, in two words; nothing where there is nothing to tell."""
    if found.state == Optimization.STATE_SEARCHING:
        return f"optimising {len(found.trials)}/{found.trial_count or '?'}"
    return f"{found.speedup:.2f} times as fast" if found.variant else ""


def signature(given: Signature) -> str:
    """A signature in one line."""
    if not given.inputs:
        return "–"
    return f"{', '.join(map(_tensor, given.inputs))} → {', '.join(map(_tensor, given.outputs))}"


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.datatype}({','.join('*' if size < 0 else str(size) for size in spec.shape)})"
