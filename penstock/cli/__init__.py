"""The ``penstock`` command; one module per command."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli import (
    actions,
    audit,
    convert,
    deploy,
    drift,
    export,
    feedback,
    gc,
    imports,
    incidents,
    infer,
    keys,
    lineage,
    model,
    models,
    nodes,
    policies,
    probe,
    restart,
    rollout,
    signing,
    slo,
    sources,
    status,
    undeploy,
    up,
    variants,
    verdict,
    versions,
    watch,
)

app = typer.Typer(
    name="penstock",
    help="Deploy machine-learning models and keep them healthy.",
    epilog="Begin with: penstock up",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (
    *(up, restart, status, nodes),
    *(deploy, imports, convert, models, model, versions, variants, infer, undeploy, gc),
    *(sources, lineage),
    *(signing, keys, policies, audit),
    *(incidents, actions, drift, probe, verdict, rollout, feedback, watch, slo, export),
):
    module.register(app)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from penstock import __version__

        typer.echo(f"penstock {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Deploy machine-learning models and keep them healthy."""
