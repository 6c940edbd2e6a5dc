"""``python -m penstock`` is the ``penstock`` command."""

from __future__ import annotations

from penstock.cli import app

app(prog_name="penstock")
