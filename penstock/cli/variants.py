"""``penstock variants``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.markup import escape

from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.registry.v1.resources_pb2 import ModelVersion, Optimization, VariantTrial


def register(app: typer.Typer) -> None:
    app.command("variants", epilog="Example: penstock variants digits")(variants)


@reporting
def variants(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    version: Annotated[str, typer.Option(metavar="N", help="Only this version. Default: the newest.")] = "",
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Show which ways to run a version were tried, on which hardware, how fast each is, and which one was chosen."""
    with Client(registry=registry) as client:
        if version:
            found = client.version(f"models/{name}/versions/{version}")
        elif versions := client.versions(name):
            found = versions[0]
        else:
            raise ValueError(f"there is no model {name!r}")
    if json:
        print_json({"name": found.name, "optimizations": list(found.optimizations)})
    elif found.optimizations:
        for one in found.optimizations:
            _show(found, one)
    else:
        screen.print(f"{found.name} was not searched. Deploy it with --optimize=fast, or see what the agent says.")


def _show(version: ModelVersion, found: Optimization) -> None:
    state = Optimization.State.Name(found.state).removeprefix("STATE_").lower()
    spent = found.search_duration.ToTimedelta().total_seconds()
    screen.print(f"[bold]{version.name}[/] on {escape(found.hardware)}")
    how = f"{state}: {len(found.trials)} of {found.trial_count} variants, {spent:.0f} s. {escape(found.state_reason)}"
    screen.print(how)
    sizes = sorted({one.batch_rows for trial in found.trials for one in trial.measurements})
    rows = Rows("~VARIANT", *(f">ROWS/S AT {size}" for size in sizes), ">SPEED-UP", ">DIFFERENCE", "~")
    for trial in sorted(found.trials, key=lambda trial: -trial.speedup):
        rows.add_row(*_cells(trial, sizes), _verdict(trial, found))
    screen.print(rows)


def _cells(trial: VariantTrial, sizes: list[int]) -> list[str]:
    by_size = {one.batch_rows: one for one in trial.measurements}
    speeds = [
        f"{by_size[size].rows_per_second:,.0f} ({by_size[size].speedup:.2f}x)" if size in by_size else "–"
        for size in sizes
    ]
    speedup = f"{trial.speedup:.2f}x" if trial.measurements else "–"
    return [described(trial.variant), *speeds, speedup, f"{trial.relative_error:.0e}" if trial.measurements else "–"]


def _verdict(trial: VariantTrial, found: Optimization) -> str:
    is_chosen = dict(trial.variant) == dict(found.variant) and found.state == Optimization.STATE_COMPLETE
    return "[green]chosen[/]" if is_chosen else escape(trial.refusal)


def described(variant: Mapping[str, str]) -> str:
    """A variant in one line."""
    return " ".join(f"{name}={value}" for name, value in sorted(variant.items())) or "original"
