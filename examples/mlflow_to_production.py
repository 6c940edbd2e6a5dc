"""What an alias of MLflow names is served; when the alias moves, what it names then is tried, and promoted.

Trains a classifier of digits on few images, registers it in MLflow, and points the alias `champion` at it. A source
brings it, and it is deployed. Then one that was trained on all images is registered, and the alias moves; nobody does
more than that. Meanwhile requests go on at a steady pace; not one may fail. Runs against the suite that is up, or
starts one, and with the MLflow that MLFLOW_TRACKING_URI names, or starts one. Takes two to four minutes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

from canary_promotion import GUARDRAILS, PER_SECOND
from classifiers import Digits
from digits_rollout import follow, load_of, summary
from own_mlflow import check_installed, running_mlflow
from own_suite import running_suite

from penstock import Client, Serving, errors, rollouts, sources
from penstock.registry.v1.resources_pb2 import ModelVersion
from penstock.registry.v1.rollout_service_pb2 import Rollout
from penstock.registry.v1.source_service_pb2 import Source, SourceEvent

MODEL = SOURCE = REGISTERED = "digits-champion"
"""The model, the source that brings its versions, and what MLflow calls it. What is registered there stays there."""
ALIAS = "champion"
POLL_S = 10.0
PLAN = rollouts.plan(
    strategy="canary",
    steps=(0.25, 0.5),
    # All but the slowest tenth, which takes minutes to prove where one machine does everything.
    guardrails=[one for one in GUARDRAILS if one.level != 0.9],
    duration_s=600,
)
BRING_S = 180.0
"""Longest that a source may take to bring what its alias names."""


def main() -> None:
    check_installed()
    digits = Digits.load()
    first, better = digits.fit(150), digits.fit()
    with running_mlflow() as uri, running_suite() as client:
        register(uri, first, accuracy=digits.accuracy(first))
        with in_service(client, uri) as old:
            print(f"{old.name} is in service: {told(old)}", flush=True)
            with load_of(client, MODEL, digits, per_second=PER_SECOND) as load:
                load.ask_more(100)
                source = client.sources.get(SOURCE)
                register(uri, better, accuracy=digits.accuracy(better))
                event = brought(client, since=source)
                if not event.rollout:
                    raise SystemExit(f"expected a rollout: {event.text}")
                rollout = follow(client, client.rollouts.get(event.rollout), load)
                load.ask_more(300)  # who answers now that it is over
            new = client.version(rollout.candidate)
            took_s = (rollout.update_time.ToNanoseconds() - rollout.create_time.ToNanoseconds()) / 1e9
            state = Rollout.State.Name(rollout.state).removeprefix("STATE_")
            print(f"\n{state} after {took_s:.0f} s: {new.name}, which is {told(new)}. Requests:")
            print(summary(load))
    if rollout.state != Rollout.STATE_PROMOTED or load.failed:
        raise SystemExit(f"expected a promotion without a failed request: {rollout.state_reason}")


def register(uri: str, classifier: Any, *, accuracy: float) -> None:
    """Log a classifier as a run of MLflow, register it, and point the alias at it: what a training job does."""
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # it would miss an example of the inputs
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.set_experiment(REGISTERED)
    with mlflow.start_run():
        mlflow.log_metric("accuracy", accuracy)
        logged = mlflow.sklearn.log_model(
            classifier,
            name="model",
            registered_model_name=REGISTERED,
            serialization_format="skops",
            pip_requirements=["scikit-learn", "skops"],  # it would start a Python to find out
        )
    version = logged.registered_model_version
    mlflow.MlflowClient().set_registered_model_alias(REGISTERED, ALIAS, version)
    print(
        f"MLflow's {REGISTERED} has a version {version}, {accuracy:.1%} right, and {ALIAS} is that one now", flush=True
    )


@contextlib.contextmanager
def in_service(client: Client, uri: str) -> Iterator[ModelVersion]:
    """The version that the alias names, served while the body of ``with`` runs, as are those that it names later."""
    place = sources.mlflow(uri, REGISTERED, alias=ALIAS)
    source = client.sources.add(SOURCE, MODEL, place, poll_s=POLL_S, plan=PLAN)
    try:
        version = brought(client, since=source).version
        # No search for a faster way to run it: it would take one of the cores that this is about.
        client.deploy(MODEL, version, serving=Serving(optimize="off"))
        yield client.version(version)
    finally:
        client.sources.remove(SOURCE)
        with contextlib.suppress(errors.NotFoundError):  # it didn't come to that
            client.undeploy(MODEL)


def brought(client: Client, *, since: Source) -> SourceEvent:
    """Print what happens to a source since it was like that, until it has brought another version to the traffic."""
    begun_s, seen = time.monotonic(), len(since.events)
    while time.monotonic() - begun_s < BRING_S:
        source = client.sources.get(SOURCE)
        for event in source.events[seen:]:
            print(f"{time.monotonic() - begun_s:5.0f} s  source {SOURCE}: {event.text}", flush=True)
        seen = len(source.events)
        if source.state == Source.STATE_FAILING:
            raise SystemExit(f"source {SOURCE} can't bring it: {source.state_reason}")
        if source.version != since.version and source.state == Source.STATE_WATCHING:
            return source.events[-1]
        time.sleep(0.5)
    raise SystemExit(f"source {SOURCE} brought nothing in {BRING_S:.0f} s: {source.state_reason}")


def told(version: ModelVersion) -> str:
    """Where a version is from."""
    facts = version.lineage.facts
    return f"version {facts['mlflow_version']} of MLflow's {facts['mlflow_model']}, run {facts['mlflow_run_id']}"


if __name__ == "__main__":
    main()
