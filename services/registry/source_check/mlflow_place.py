"""The version of a registered MLflow model that an alias names, by MLflow's own client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from services.registry.source_check.places import Place
from services.registry.source_check.trees import MOST_FILES, Entry, Listing, PlaceError, UnsettledError

_FACTS = {
    "mlflow.source.git.commit": "git_commit",
    "mlflow.source.name": "source_name",
    "mlflow.user": "user",
    "mlflow.runName": "run_name",
}
"""Tags of a run that are told, and by which names."""


def open_place(fields: Mapping[str, str], scratch: Path) -> Place:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri, model, alias = fields["tracking_uri"], fields["registered_model"], fields["alias"]
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        version = client.get_model_version_by_alias(model, alias)
        if version.status != "READY":
            raise UnsettledError(f"version {version.version} of {model} is {version.status} in MLflow")
        facts, metrics = _told(client, version)
        tree = MlflowTree(client, model, version.version, uri, scratch / "downloads")
    except MlflowException as error:
        raise PlaceError(_words(error, model, alias)) from None

    def check_same() -> None:
        if client.get_model_version_by_alias(model, alias).version != version.version:
            raise UnsettledError(f"alias {alias} was moved")

    return Place(
        tree=tree,
        origin=f"{uri.rstrip('/')}#/models/{model}/versions/{version.version}",
        revision=str(version.version),
        identity=f"{model} {version.version} {version.creation_timestamp}",
        facts={"mlflow_model": model, "mlflow_version": str(version.version), "mlflow_alias": alias, **facts},
        metrics=metrics,
        check_same=check_same,
    )


class MlflowTree:
    """A version's files, wherever MLflow keeps them."""

    def __init__(self, client: Any, model: str, version: str, uri: str, downloads: Path) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        location = client.get_model_version_download_uri(model, version)
        self._files = get_artifact_repository(location, tracking_uri=uri, registry_uri=uri)
        self._downloads = downloads

    def list(self) -> Listing:
        found: dict[str, Entry] = {}
        for place, size in self._walk(None):
            found[place] = Entry(size, "")
            if len(found) > MOST_FILES:
                raise PlaceError(f"it has more than {MOST_FILES} files, expected a model")
        return found

    def _walk(self, folder: str | None) -> Iterator[tuple[str, int]]:
        for one in self._files.list_artifacts(folder):
            if one.is_dir:
                yield from self._walk(one.path)
            else:
                yield one.path, -1 if one.file_size is None else int(one.file_size)

    def copy(self, place: str, target: Path) -> None:
        self._downloads.mkdir(exist_ok=True)
        shutil.move(self._files.download_artifacts(place, dst_path=str(self._downloads)), target)


def _told(client: Any, version: Any) -> tuple[dict[str, str], dict[str, float]]:
    """What is known of the run that made the version: facts, and its metrics."""
    facts = {f"mlflow_tag.{name}": str(value) for name, value in (version.tags or {}).items()}
    if not version.run_id:
        return facts, {}
    run = client.get_run(version.run_id)
    facts |= {name: str(run.data.tags[tag]) for tag, name in _FACTS.items() if run.data.tags.get(tag)}
    return {**facts, "mlflow_run_id": version.run_id}, dict(run.data.metrics)


def _words(error: Any, model: str, alias: str) -> str:
    if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
        return f"MLflow knows no alias {alias} of a model {model}: {error.message}"
    return f"MLflow can't be asked: {error.message}"
