"""``penstock model show`` and ``penstock model delete``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from penstock.cli import options
from penstock.cli.models import optimization_note, signature
from penstock.cli.output import Json, duration, print_json, reporting, screen, size, state, time
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.errors import NotFoundError
from penstock.registry.v1.resources_pb2 import (
    Deployment,
    InstanceStatus,
    Manifest,
    ModelVersion,
    Probe,
    Trust,
    TrustPolicy,
)

_MARKS = {Probe.OUTCOME_PASSED: "[green]✓[/]", Probe.OUTCOME_FAILED: "[red]✗[/]", Probe.OUTCOME_SKIPPED: "[dim]–[/]"}
_PROBES = {
    "repeats": "gives the same twice",
    "batches": "a row alone gives what it gives in a batch",
    "scan": "a scanner finds nothing dangerous",
    "signature": "its files are those that were signed",
    "rows": "a row gives the same whatever the others are",
    "stream": "answers with a stream of responses",
}
_BAR = 30
_SHOWN_FILES = 12
_SHOWN_LABELS = 8

app = typer.Typer(name="model", help="Look at one model, or delete it.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@app.command("show", epilog="Example: penstock model show digits --version 3")
@reporting
def show(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    version: Annotated[str, typer.Option(metavar="N", help="A version, or an alias. Default: the newest.")] = "",
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Show all that is known of a version: what it takes and gives, what it was put through, its files."""
    with Client(registry=registry) as client:
        aliases = {one.name.rpartition("/")[2]: one.version for one in client.aliases(name)}
        found = find(client, name, aliases.get(version, version))
        policy = client.trust.policy(name)
        deployment = _deployment(client, name)
    if json:
        print_json(found)
    else:
        names = sorted(alias for alias, target in aliases.items() if target == found.name)
        screen.print(_page(found, names, policy, deployment))


@app.command("delete", epilog="Example: penstock model delete digits --version 3")
@reporting
def delete(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    version: Annotated[str, typer.Option(metavar="N", help="Only this version. Default: all of the model.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Delete a whole model without asking.")] = False,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Delete a version that nothing names, or a model that isn't deployed. Their content is removed after a day."""
    with Client(registry=registry) as client:
        resource = f"models/{name}"
        if version:
            resource += f"/versions/{version}"
            client.delete_version(resource)
        else:
            count = len(client.versions(name))
            if not yes:
                typer.confirm(f"Delete {resource} and its {count} versions?", abort=True, err=True)
            client.delete_model(name)
    if json:
        print_json({"deleted": resource})
    else:
        screen.print(f"{resource} is deleted. To remove its content now: penstock gc --grace 0")


def find(client: Client, model: str, version: str) -> ModelVersion:
    """A version by its number or name, the newest one by default.

    Raises:
        ValueError: the model has none.
    """
    if version:
        return client.version(version if "/" in version else f"models/{model}/versions/{version}")
    if versions := client.versions(model):
        return versions[0]
    raise ValueError(f"models/{model} has no version")


def _deployment(client: Client, model: str) -> Deployment:
    try:
        return client.deployment(model)
    except NotFoundError:
        return Deployment()


def _page(version: ModelVersion, aliases: list[str], policy: TrustPolicy, deployment: Deployment) -> RenderableType:
    _, model, _, number = version.name.split("/")
    heading = f"[bold]{model}[/] version [bold]{number}[/] {state(ModelVersion.State.Name(version.state))}"
    named = f" alias {', '.join(aliases)}" if aliases else ""
    parts: list[RenderableType] = [f"{heading}[dim]{named}[/]", _facts(version, policy, deployment)]
    report = version.validation_report
    if report.probes:
        rows = Rows("", "~PROBE", "~")
        for one in report.probes:
            rows.add_row(_MARKS.get(one.outcome, "?"), _PROBES.get(one.name, escape(one.name)), escape(one.detail))
        parts += ["", rows]
    if report.batches:
        parts += ["", _batches(version)]
    parts += ["", _files(version)]
    return Group(*parts)


def _facts(version: ModelVersion, policy: TrustPolicy, deployment: Deployment) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_facts_of(version), *_processes(deployment, version.name), *_trust(version, policy)):
        if value:
            table.add_row(name, value)
    return table


def _facts_of(version: ModelVersion) -> Iterator[tuple[str, str]]:
    report = version.validation_report
    yield "why", f"[red]{escape(version.state_reason)}[/]" if version.state_reason else ""
    yield "format", f"{version.format or '–'}{f', by {report.backend}' if report.backend else ''}"
    yield "signature", escape(signature(version.signature)) if version.HasField("signature") else ""
    yield "batches", _batching(version) if version.HasField("signature") else ""
    for spec in version.signature.outputs:
        yield f"{escape(spec.name)} is", escape(_some(spec.labels))
    yield "before", _steps(version.manifest, "preprocessing")
    yield "after", _steps(version.manifest, "postprocessing")
    yield "options", escape(", ".join(f"{name}={value}" for name, value in sorted(version.manifest.options.items())))
    yield "loads in", duration(report.load_duration.ToTimedelta().total_seconds()) if report.device else ""
    yield "memory", f"{size(report.resident_bytes)} with its process" if report.resident_bytes else ""
    yield "tried on", f"{escape(report.device)} of {escape(report.node)}" if report.device else ""
    yield "faster", escape(", ".join(filter(None, map(optimization_note, version.optimizations))))
    yield "figures", escape(", ".join(f"{name} {value:.4g}" for name, value in sorted(version.metrics.items())))
    yield "labels", escape(", ".join(f"{name}={value}" for name, value in sorted(version.labels.items())))
    yield "created", f"{time(version.create_time)}{_by(version.trust.publisher)}"
    yield "digest", version.digest


def _processes(deployment: Deployment, version: str) -> Iterator[tuple[str, str]]:
    """Where it runs, or why it doesn't."""
    for one in deployment.instances:
        if one.version == version:
            word = state(InstanceStatus.State.Name(one.state))
            reason = f", {escape(one.reason)}" if one.reason else ""
            yield "runs on", f"{escape(one.node.removeprefix('nodes/'))}: {word}{reason}"
    for place in deployment.placements:
        if place.version == version and not place.node:
            yield "runs on", f"[yellow]no node[/]: {escape(place.reason)}"


def _trust(version: ModelVersion, policy: TrustPolicy) -> Iterator[tuple[str, str]]:
    trust = version.trust
    yield "signed by", _signer(trust)
    yield "must be", f"signed by a key of keySets/{policy.key_set}" if policy.key_set else ""
    vouched = f"{_by(trust.voucher)}, {time(trust.vouch_time)}" if trust.HasField("vouch_time") else ""
    yield "trusted", f"for what it runs{vouched}" if version.trusted else ""
    yield "refused", f"[red]{escape(trust.refusal)}[/]" if trust.refusal else ""
    revoked = f"{time(trust.revoke_time)}{_by(trust.revoker)}: {escape(trust.revoke_reason)}"
    yield "revoked", f"[red]{revoked}[/]" if trust.HasField("revoke_time") else ""


def _signer(trust: Trust) -> str:
    seen = f"verified {time(trust.verify_time)}"
    return {
        Trust.OUTCOME_UNSIGNED: "nobody",
        Trust.OUTCOME_VERIFIED: f"[green]{trust.signing_key}[/], {seen}",
        Trust.OUTCOME_UNKNOWN_KEY: f"[yellow]a key that the registry doesn't have[/], {trust.fingerprint[:16]}…",
        Trust.OUTCOME_REVOKED_KEY: f"[red]{trust.signing_key}, which is revoked[/]",
        Trust.OUTCOME_BROKEN: "[red]nobody can tell: the signature is broken[/]",
    }.get(trust.outcome, "")


def _by(actor: str) -> str:
    return f" by {escape(actor)}" if actor else ""


def _batching(version: ModelVersion) -> str:
    if not version.signature.batchable:
        return f"none: one request at a time{', its answer a stream' if version.signature.decoupled else ''}"
    limit = version.signature.max_batch_size
    return f"of up to {limit} rows" if limit else "of any size"


def _steps(manifest: Manifest, role: str) -> str:
    steps = manifest.preprocessing if role == "preprocessing" else manifest.postprocessing
    return escape(" → ".join(f"{one.operation} {MessageToDict(one.arguments)}" for one in steps))


def _batches(version: ModelVersion) -> Rows:
    """Rows a second by batch size, as bars."""
    measured = [(one, one.duration.ToTimedelta().total_seconds()) for one in version.validation_report.batches]
    rates = [one.rows / max(seconds, 1e-9) for one, seconds in measured]
    rows = Rows(">ROWS", ">TAKE", ">ROWS/S", "", ">MEMORY")
    for (one, seconds), rate in zip(measured, rates, strict=True):
        bar = "█" * max(1, round(_BAR * rate / max(rates)))
        memory = f"+{size(one.peak_bytes)}" if one.peak_bytes else "–"
        rows.add_row(str(one.rows), duration(seconds), f"{rate:,.0f}", f"[cyan]{bar}[/]", memory)
    return rows


def _files(version: ModelVersion) -> Rows:
    rows = Rows("~FILE", ">SIZE", "SHA-256")
    for one in version.files[:_SHOWN_FILES]:
        rows.add_row(escape(one.path), size(one.size_bytes), f"[dim]{one.sha256[:16]}…[/]")
    if (more := len(version.files) - _SHOWN_FILES) > 0:
        rows.add_row(f"and {more} more", f"{size(sum(one.size_bytes for one in version.files))} in all", "")
    return rows


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_SHOWN_LABELS]) + (f", … ({len(labels)})" if len(labels) > _SHOWN_LABELS else "")
