"""What the examples of rollouts share: a classifier in service, a load on it, and a new version that is tried."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classifiers import Digits, save
from steady_load import SteadyLoad

from penstock import Client, Serving
from penstock.registry.v1.resources_pb2 import ModelVersion
from penstock.registry.v1.rollout_service_pb2 import Rollout


def add_version(client: Client, model: str, classifier: Any, *, accuracy: float) -> ModelVersion:
    """Upload a classifier as the next version of a model, and have it validated."""
    with tempfile.TemporaryDirectory() as folder:
        files = client.upload(save(classifier, Path(folder) / "digits.skops"))
    version = client.create_version(model, files, metrics={"accuracy": accuracy})
    return client.wait_validated(version.name)


@contextlib.contextmanager
def in_service(client: Client, model: str, classifier: Any, *, accuracy: float) -> Iterator[ModelVersion]:
    """A model that is deployed with this classifier while the body of ``with`` runs."""
    version = add_version(client, model, classifier, accuracy=accuracy)
    # No search for a faster way to run it: it would take one of the cores that this is about.
    client.deploy(model, version.name, serving=Serving(optimize="off"))
    try:
        yield version
    finally:
        client.undeploy(model)


def load_of(client: Client, model: str, digits: Digits, *, per_second: float) -> SteadyLoad:
    """Requests with images that no version has seen while it was trained."""
    return SteadyLoad(client.endpoints.gateway, model, digits.test, digits.test_labels, per_second=per_second)


def follow(client: Client, rollout: Rollout, load: SteadyLoad) -> Rollout:
    """Print what happens to a rollout, and every five seconds how it stands, until it is over."""
    begun_s, told_s, told, seen = time.monotonic(), 0.0, 0, rollout
    for seen in client.rollouts.watch(rollout.name):
        at_s = time.monotonic() - begun_s
        for event in seen.events[told:]:
            print(f"{at_s:5.0f} s  {event.reason}", flush=True)
        if len(seen.events) == told and at_s - told_s >= 5:
            print(f"{at_s:5.0f} s    {load}; {seen.verdict.reason or seen.state_reason}", flush=True)
        told_s = at_s if len(seen.events) > told or at_s - told_s >= 5 else told_s
        told = len(seen.events)
        if seen.state == Rollout.STATE_HELD:
            break
    return seen


def number(version: ModelVersion) -> str:
    return version.name.rpartition("/")[2]


def summary(load: SteadyLoad) -> str:
    """What became of the requests, by version."""
    lines = [
        f"  version {version}: {count} answers, {load.right[version] / count:.1%} of them right"
        for version, count in sorted(load.answered.items(), key=lambda item: int(item[0]))
    ]
    return "\n".join([*lines, f"  failed requests: {load.failed.total()}", *(f"    {why}" for why in load.failed)])
