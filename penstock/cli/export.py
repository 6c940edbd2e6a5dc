"""``penstock export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.output import reporting, screen
from penstock.client import Client

app = typer.Typer(
    name="export",
    help="Write what Prometheus, Grafana, MLflow and TensorBoard read about a suite.",
    epilog="Example: penstock export rules > penstock-rules.yml",
    no_args_is_help=True,
)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@app.command("rules", epilog="Example: penstock export rules > penstock-rules.yml")
@reporting
def rules(
    incidents: Annotated[
        bool, typer.Option("--incidents", help="Alert on open incidents too: for a monitor that pushes to nobody.")
    ] = False,
    registry: options.Registry = None,
) -> None:
    """Write Prometheus' recording and alerting rules: for each model's promise (penstock slo), and for the suite."""
    from penstock.export.rules import rules as written

    with Client(registry=registry) as client:
        sys.stdout.write(written(client.deployments(), with_incidents=incidents))
    sys.stdout.flush()


@app.command("dashboards", epilog="Example: penstock export dashboards /var/lib/grafana/dashboards")
@reporting
def dashboards(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where to; made if need be.")],
) -> None:
    """Write Grafana's dashboards as JSON: fleet, model, rollout, incident, services, monitor."""
    from penstock.export import dashboards as made

    for path in made.write(folder):
        screen.print(str(path))


@app.command("records", epilog="Example: penstock export records digits --mlflow http://mlflow:5000")
@reporting
def records(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL", help="The models. Default: all.", show_default=False)
    ] = None,
    mlflow: Annotated[str, typer.Option(metavar="URI", help="To MLflow's runs: its tracking URI.")] = "",
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="To TensorBoard's event files, in this folder.")
    ] = None,
    registry: options.Registry = None,
) -> None:
    """Write what versions and rollouts came to: figures, steps, verdicts, reasons. What is there stays."""
    from penstock.records import mlflow as runs
    from penstock.records import tensorboard as events

    if not mlflow and tensorboard is None:
        raise typer.BadParameter("got no place to write to, expected --mlflow or --tensorboard")
    with Client(registry=registry) as client:
        found = client.records(*(models or ()))
    if mlflow:
        screen.print(f"{len(runs.write(found, mlflow))} of {len(found)} records are written to {mlflow}")
    if tensorboard is not None:
        screen.print(f"{len(events.write(found, tensorboard))} of {len(found)} records are written to {tensorboard}")
