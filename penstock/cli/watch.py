"""``penstock watch``."""

from __future__ import annotations

import re
import urllib.request
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from penstock.cli import options
from penstock.cli.following import following
from penstock.cli.output import Json, reporting
from penstock.cli.rollout_following import under_way
from penstock.cli.rollout_view import line
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.monitor.v1.monitor_service_pb2 import ModelFigures, Phase

_WINDOW_S = 10
_TREND = 24
"""Looks that a plot shows."""
_BARS = " ▁▂▃▄▅▆▇█"
_PENDING = re.compile(r"^nv_inference_pending_request_count\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_PHASES = ((Phase.PHASE_TOTAL, "TOTAL"), (Phase.PHASE_QUEUE, "QUEUE"), (Phase.PHASE_COMPUTE_INFER, "INFER"))


def register(app: typer.Typer) -> None:
    app.command("watch", epilog="Examples: penstock watch · penstock watch --once --json")(watch)


@reporting
def watch(
    model: Annotated[str, typer.Option("--model", help="Only this model.")] = "",
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and exit.")] = False,
    registry: options.Registry = None,
    monitor: options.Monitor = None,
    json: Json = False,
) -> None:
    """Show a live table of the last ten seconds: rate, durations, batches, queues, incidents, rollouts.

    Durations are milliseconds, median and 99th percentile: in all, waiting in the queue, in the model itself. BATCH is
    the mean number of rows in a batch, QUEUED the number of requests that wait or run right now. Live, small plots show
    how the rate and the 99th percentile were since it was started, each from 0 to its own highest.
    """
    with Client(registry=registry, monitor=monitor) as client:
        following(
            lambda: _look(client, model),
            view,
            live_view=Trends().view,
            interval_s=interval,
            is_json=json,
            is_once=once,
        )


def _look(client: Client, model: str) -> dict[str, Any]:
    return {
        "figures": client.figures(model=model, window_s=_WINDOW_S),
        "pending_requests": _pending(client.endpoints.gateway_metrics),
        "incidents": client.incidents(model=model, only_open=True),
        "rollouts": under_way(client, model or "-"),
    }


def _pending(address: str) -> dict[str, int]:
    """Requests that wait or run, by "model/version"; none where the gateway's metrics can't be had."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found = ((dict(_LABEL.findall(labels)), value) for labels, value in _PENDING.findall(text))
    return {f"{labels.get('model')}/{labels.get('version')}": int(float(value)) for labels, value in found}


class Trends:
    """What was seen of each version at the last looks."""

    def __init__(self) -> None:
        self._rates: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_TREND))
        self._tails: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_TREND))

    def view(self, seen: dict[str, Any]) -> RenderableType:
        """A look with all before it."""
        for one in seen["figures"]:
            total = [phase.p99_seconds for phase in one.phases if phase.phase == Phase.PHASE_TOTAL]
            self._rates[_key(one)].append(one.request_rate)
            self._tails[_key(one)].append(total[0] if total else 0.0)
        return view(seen, self)

    def plots(self, one: ModelFigures) -> list[str]:
        return [plot(self._rates[_key(one)]), plot(self._tails[_key(one)])]


def plot(values: Iterable[float]) -> str:
    """Figures as bars of one line, the highest at its full height."""
    values = list(values)
    most = max(values, default=0.0) or 1.0
    return "".join(_BARS[max(1, round(value / most * (len(_BARS) - 1))) if value > 0 else 0] for value in values)


def _key(one: ModelFigures) -> str:
    return f"{one.model}/{one.version}"


def view(seen: dict[str, Any], trends: Trends | None = None) -> RenderableType:
    """One look; with ``trends`` those before it too."""
    phases = (f">{name} ms\n[dim]p50/p99[/]" for _, name in _PHASES)
    plots = () if trends is None else ("RATE", "P99")
    rows = Rows("MODEL", ">VERSION", ">REQ/S", ">ERRORS", *phases, ">BATCH", ">QUEUED", *plots)
    for one in seen["figures"]:
        row = _row(one, seen["pending_requests"].get(_key(one)))
        rows.add_row(*row, *(() if trends is None else (f"[cyan]{each}[/]" for each in trends.plots(one))))
    if not seen["figures"]:
        rows.add_row("[dim]no requests yet[/]")
    lines: list[RenderableType] = [rows]
    lines += [
        f"[red]open incident[/] {escape(one.model)} {escape(one.version)}: {escape(one.summary)}"
        for one in seen["incidents"]
    ]
    lines += [f"rollout {line(one)}" for one in seen["rollouts"]]
    return Group(*lines)


def _milliseconds(*seconds: float) -> str:
    return "/".join(f"{one * 1e3:.3g}" for one in seconds)


def _row(one: ModelFigures, pending: int | None) -> list[str]:
    phases = {phase.phase: phase for phase in one.phases}
    cells = [escape(one.model), escape(one.version), f"{one.request_rate:.1f}"]
    cells.append(f"[red]{one.error_count}[/]" if one.error_count else "0")
    for number, _ in _PHASES:
        phase = phases.get(number)
        cells.append(_milliseconds(phase.p50_seconds, phase.p99_seconds) if phase else "–")
    return [*cells, f"{one.mean_batch_rows:.1f}", "–" if pending is None else str(pending)]
