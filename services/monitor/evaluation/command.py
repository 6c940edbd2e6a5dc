"""``penstock-eval``: the detectors on data of one's own; one module per sub-command."""

from __future__ import annotations

import typer

from services.monitor.evaluation import nab_command, series_command, traces_command

app = typer.Typer(
    name="penstock-eval",
    help="Judge Penstock's detectors on data of your own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (series_command, traces_command, nab_command):
    module.register(app)


@app.callback()
def main() -> None:
    """Judge Penstock's detectors on data of your own."""
