"""Records as MLflow's runs, by MLflow's own client: an experiment for each model, a run for each record."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from penstock.records.record import Record, RecordsError

EXPERIMENT = "penstock/{model}"
RESOURCE = "penstock.resource"
DIGEST = "penstock.record_sha256"
_UNFIT = re.compile(r"[^\w./ :-]")
_AT_ONCE = 1000
_LONGEST = 5000
"""Of a tag; MLflow's own limit is 8000."""


def write(records: Iterable[Record], tracking_uri: str) -> list[str]:
    """Write what isn't there yet, or has changed. Returns the ids of the runs that were written.

    Raises:
        RecordsError: MLflow isn't installed, can't be reached, or refuses.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise RecordsError(f"MLflow's runs need its package: pip install 'penstock[mlflow]' ({error})") from None
    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    try:
        return [run for record in records if (run := _write(client, record))]
    except MlflowException as error:
        raise RecordsError(f"MLflow can't be written to: {error.message}") from None


def _write(client: Any, record: Record) -> str:
    """The run's id, empty where it says all that already."""
    from mlflow.entities import Metric, Param

    experiment = _experiment(client, EXPERIMENT.format(model=record.model))
    run = _run(client, experiment, record)
    if run.data.tags.get(DIGEST) == record.digest:
        return ""
    id_: str = run.info.run_id
    figures = [Metric(_UNFIT.sub("_", one.name), one.value, one.time_ms, one.step) for one in record.figures]
    parameters = [Param(name, value) for name, value in record.parameters.items() if name not in run.data.params]
    client.log_batch(id_, params=parameters)
    for at in range(0, len(figures), _AT_ONCE):
        client.log_batch(id_, metrics=figures[at : at + _AT_ONCE])
    for name, value in record.tags.items():
        client.set_tag(id_, _UNFIT.sub("_", name), value[:_LONGEST])
    client.set_tag(id_, "mlflow.note.content", record.text[:_LONGEST])
    client.set_terminated(id_, "FINISHED" if record.is_good else "FAILED", end_time=record.end_ms)
    client.set_tag(id_, DIGEST, record.digest)  # last: what was cut off is written again
    return id_


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _run(client: Any, experiment: str, record: Record) -> Any:
    """The one of the record, made if need be."""
    found = client.search_runs([experiment], f"tags.`{RESOURCE}` = '{record.resource}'", max_results=1)
    if found:
        return found[0]
    tags = {RESOURCE: record.resource}
    return client.create_run(experiment, start_time=record.start_ms, tags=tags, run_name=record.title)
