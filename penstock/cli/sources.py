"""``penstock sources``."""

from __future__ import annotations

import json as jsons
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format
from rich.markup import escape

from penstock import manifests
from penstock import sources as locations
from penstock.cli import options
from penstock.cli.output import Json, print_json, reporting, screen, state, time
from penstock.cli.tables import Rows
from penstock.client import Client
from penstock.registry.v1.rollout_service_pb2 import RolloutPlan
from penstock.registry.v1.source_service_pb2 import Source, SourceTrust

Name = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name.")]

app = typer.Typer(
    name="sources", help="Places that are watched, and bring new versions by themselves.", no_args_is_help=True
)
_PANEL = "Where to look (one of them)"


class Strategy(StrEnum):
    """How a new version comes to the traffic."""

    ALL_AT_ONCE = "all-at-once"
    BLUE_GREEN = "blue-green"
    CANARY = "canary"
    SHADOW = "shadow"


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@app.command("add", epilog="Example: penstock sources add digits digits --folder /srv/models/digits --rollout canary")
@reporting
def add(
    name: Name,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model that it brings versions of.")],
    folder: Annotated[
        str, typer.Option(metavar="PATH", rich_help_panel=_PANEL, help="A folder of the registry's machine.")
    ] = "",
    bucket: Annotated[
        str, typer.Option(metavar="URI", rich_help_panel=_PANEL, help="s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.")
    ] = "",
    mlflow: Annotated[
        str, typer.Option(metavar="URI", rich_help_panel=_PANEL, help="MLflow's tracking URI; see --registered-model.")
    ] = "",
    dvc: Annotated[
        str, typer.Option(metavar="REPO", rich_help_panel=_PANEL, help="A Git repository with DVC; see --path.")
    ] = "",
    wandb: Annotated[
        str, typer.Option(metavar="PATH", rich_help_panel=_PANEL, help="A folder of Weights & Biases' offline runs.")
    ] = "",
    registered_model: Annotated[
        str, typer.Option(metavar="NAME", help="Of MLflow: the registered model. Default: MODEL.")
    ] = "",
    alias: Annotated[str, typer.Option(metavar="ALIAS", help="Of MLflow: the alias.")] = "champion",
    path: Annotated[str, typer.Option(metavar="PATH", help="Of DVC: what it tracks, within the repository.")] = "",
    revision: Annotated[
        str, typer.Option(metavar="REV", help="Of DVC: branch, tag or commit. Default: the last commit.")
    ] = "",
    artifact: Annotated[
        str, typer.Option(metavar="NAME", help="Of Weights & Biases: the artifact. Default: the last model.")
    ] = "",
    poll: Annotated[float, typer.Option(metavar="SECONDS", help="How often to look.")] = 30.0,
    settle: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long what is found must not change before it is taken.")
    ] = 2.0,
    trust: Annotated[bool, typer.Option("--trust", help="Vouch for all that comes of it.")] = False,
    signed: Annotated[bool, typer.Option("--signed", help="Take nothing that isn't signed by a known key.")] = False,
    signed_by: Annotated[
        str, typer.Option(metavar="SET", help="Take nothing that isn't signed by a key of this set.")
    ] = "",
    format: Annotated[str, typer.Option(metavar="FORMAT", help="The format, where files don't tell.")] = "",  # noqa: A002
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="What the files leave open.")
    ] = None,
    rollout: Annotated[
        Strategy | None, typer.Option(help="Roll out what comes, the first version by deployment. Default: don't.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="The rollout's whole plan, as JSON."),
    ] = None,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Watch a place for new versions of a model."""
    candidates = [
        *([locations.folder(str(Path(folder).absolute()))] if folder else ()),
        *([locations.bucket(bucket)] if bucket else ()),
        *([locations.mlflow(mlflow, registered_model or model, alias=alias)] if mlflow else ()),
        *([locations.dvc(_repository(dvc), path, revision=revision)] if dvc else ()),
        *([locations.wandb(str(Path(wandb).absolute()), artifact=artifact)] if wandb else ()),
    ]
    if len(candidates) != 1:
        raise typer.BadParameter(f"got {len(candidates)} places, expected one of --folder, --bucket, --mlflow, …")
    with Client(registry=registry) as client:
        source = client.sources.add(
            name,
            model,
            candidates[0],
            poll_s=poll,
            settle_s=settle,
            trust=SourceTrust(is_trusted=trust, is_signature_required=signed or bool(signed_by), key_set=signed_by),
            format=format,
            manifest=manifests.read(manifest) if manifest else None,
            plan=_plan(rollout, plan),
        )
    _show(source, is_json=json)


@app.command("list", epilog="Example: penstock sources list --json")
@reporting
def list_(registry: options.Registry = None, json: Json = False) -> None:
    """List what is watched, and how it goes."""
    with Client(registry=registry) as client:
        found = client.sources.list()
    if json:
        print_json(found)
        return
    rows = Rows("SOURCE", "MODEL", "STATE", "~WHERE", "REVISION", ">VERSION", "~")
    for one in found:
        rows.add_row(
            one.name.removeprefix("sources/"),
            one.model.removeprefix("models/"),
            _state(one),
            escape(_where(one)),
            escape(one.revision[:12]),
            one.version.rpartition("/")[2] or "–",
            escape(one.state_reason),
        )
    screen.print(rows if found else "Nothing is watched: see penstock sources add --help")


@app.command("show", epilog="Example: penstock sources show digits")
@reporting
def show(name: Name, registry: options.Registry = None, json: Json = False) -> None:
    """Show one source, and what happened to it."""
    with Client(registry=registry) as client:
        source = client.sources.get(name)
    _show(source, is_json=json)


@app.command("check", epilog="Example: penstock sources check digits")
@reporting
def check(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Take anew what was rejected before.")] = False,
    registry: options.Registry = None,
    json: Json = False,
) -> None:
    """Look now. Exits with status 1 if that fails, or what was found can't be served."""
    with Client(registry=registry) as client:
        source = client.sources.check(name, is_forced=force)
    _show(source, is_json=json)
    if source.state == Source.STATE_FAILING:
        raise typer.Exit(1)


@app.command("pause", epilog="Example: penstock sources pause digits")
@reporting
def pause(name: Name, registry: options.Registry = None, json: Json = False) -> None:
    """Look no more for now. What is on its way goes on."""
    with Client(registry=registry) as client:
        source = client.sources.pause(name)
    _show(source, is_json=json)


@app.command("resume", epilog="Example: penstock sources resume digits")
@reporting
def resume(name: Name, registry: options.Registry = None, json: Json = False) -> None:
    """Look again."""
    with Client(registry=registry) as client:
        source = client.sources.pause(name, is_paused=False)
    _show(source, is_json=json)


@app.command("remove", epilog="Example: penstock sources remove digits")
@reporting
def remove(name: Name, registry: options.Registry = None) -> None:
    """Watch a place no more. What it brought stays."""
    with Client(registry=registry) as client:
        client.sources.remove(name)
    screen.print(f"{name} is not watched any more")


def _repository(text: str) -> str:
    """A path as the registry can find it; a URL as it is."""
    return str(Path(text).absolute()) if Path(text).exists() else text


def _plan(strategy: Strategy | None, file: Path | None) -> RolloutPlan | None:
    """Raises: ValueError: the file is no plan."""
    plan = RolloutPlan()
    if file is not None:
        try:
            json_format.ParseDict(jsons.loads(file.read_text()), plan)
        except (json_format.ParseError, ValueError) as error:
            raise ValueError(f"{file} is no plan: {error}") from None
    if strategy is not None:
        plan.strategy = getattr(RolloutPlan, f"STRATEGY_{strategy.name}")
    return None if strategy is None and file is None else plan


def _show(source: Source, *, is_json: bool) -> None:
    if is_json:
        print_json(source)
        return
    name, model = source.name.removeprefix("sources/"), source.model.removeprefix("models/")
    screen.print(f"[bold]{name}[/] brings versions of [bold]{model}[/] from {escape(_where(source))}: {_state(source)}")
    if source.state_reason:
        screen.print(f"  {escape(source.state_reason)}")
    if source.HasField("check_time"):
        screen.print(f"  [dim]looked at {time(source.check_time)}[/]")
    for event in source.events:
        colour = "red" if event.is_failure else "default"
        revision = f" [dim]{escape(event.revision[:12])}[/]" if event.revision else ""
        screen.print(f"  [dim]{time(event.event_time)}[/]{revision} [{colour}]{escape(event.text)}[/]")


def _state(source: Source) -> str:
    return state(Source.State.Name(source.state))


def _where(source: Source) -> str:
    kind = source.WhichOneof("location") or ""
    place = getattr(source, kind)
    if kind == "mlflow":
        return f"{place.registered_model}@{place.alias} in {place.tracking_uri}"
    if kind == "dvc":
        return f"{place.path} in {place.repository}{f' at {place.revision}' if place.revision else ''}"
    if kind == "wandb":
        return f"{place.artifact or 'models'} in {place.path}"
    return str(place.path if kind == "folder" else place.uri)
