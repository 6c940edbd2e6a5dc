"""Retraining by a Job of Kubernetes, by its API over HTTP with the token of a service account."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.common.errors import FailedPreconditionError, PenstockError, UnavailableError
from services.monitor.adapters.runner import Progress
from services.monitor.adapters.web_api import WebApi
from services.monitor.domain.blocks import NS
from services.monitor.domain.recipes import KubernetesJob, Recipe
from services.monitor.domain.retraining import Retraining

LABEL = "penstock.dev/retraining"
_TAIL_LINES = 200


class KubernetesJobs:
    """A Job per retraining, named after it. Its containers get the request as ``RETRAINING_REQUEST_JSON`` and more.

    What a container leaves as its termination message is the result.
    """

    def __init__(self, *, clock: Callable[[], int]) -> None:
        """``clock`` gives Unix nanoseconds."""
        self._clock = clock

    async def start(self, retraining: Retraining, recipe: Recipe) -> str:
        job = recipe.runner
        if not isinstance(job, KubernetesJob):
            raise FailedPreconditionError(f"got {job}, expected a Kubernetes Job")
        name = f"retraining-{retraining.retraining_id}"
        place = {"api": job.api, "namespace": job.namespace, "token_file": job.token_file, "ca_file": job.ca_file}
        api = await asyncio.to_thread(_api, place)
        try:
            await api.call("POST", _jobs(place), job_of(job.template, name, retraining, now_ns=self._clock()))
        except FailedPreconditionError as error:
            if " with 409" not in error.message:  # it was made before, and no answer came
                raise
        return json.dumps({**place, "job": name})

    async def look(self, retraining: Retraining) -> Progress:
        place = json.loads(retraining.handle)
        api = await asyncio.to_thread(_api, place)
        try:
            job = await api.call("GET", f"{_jobs(place)}/{place['job']}")
        except FailedPreconditionError as error:
            if " with 404" in error.message:
                return Progress(True, "its Job is gone")
            raise
        status = job.get("status", {})
        ended = {one["type"]: one for one in status.get("conditions", ()) if one.get("status") == "True"}
        is_over = "Complete" in ended or "Failed" in ended
        output, message = await self._pod(api, place, with_output=is_over)
        if "Failed" in ended:
            failed = ended["Failed"]
            why = f"{failed.get('reason', 'Failed')}: {failed.get('message', '')}".removesuffix(": ")
            return Progress(True, f"its Job failed: {why}", "", output)
        is_alive = bool(status.get("active"))
        return Progress(is_over, "", message if is_over else "", output, self._clock() if is_alive else 0)

    @staticmethod
    async def _pod(api: WebApi, place: Mapping[str, str], *, with_output: bool) -> tuple[str, str]:
        """The last of what its newest pod printed, and what that left as its termination message."""
        if not with_output:
            return "", ""
        pods = f"/api/v1/namespaces/{place['namespace']}/pods"
        with contextlib.suppress(PenstockError):
            found = (await api.call("GET", f"{pods}?labelSelector=job-name%3D{place['job']}")).get("items", [])
            if found:
                pod = max(found, key=lambda one: one["metadata"].get("creationTimestamp", ""))
                message = _message(pod)
                output = b""
                with contextlib.suppress(PenstockError):
                    name = pod["metadata"]["name"]
                    output = await api.send("GET", f"{pods}/{name}/log?tailLines={_TAIL_LINES}", b"")
                return output.decode(errors="replace"), message
        return "", ""

    async def stop(self, retraining: Retraining) -> None:
        place = json.loads(retraining.handle)
        api = await asyncio.to_thread(_api, place)
        with contextlib.suppress(FailedPreconditionError):  # it is gone
            await api.call("DELETE", f"{_jobs(place)}/{place['job']}", {"propagationPolicy": "Background"})


def job_of(template: Mapping[str, Any], name: str, retraining: Retraining, *, now_ns: int) -> dict[str, Any]:
    """The Job to make: the template under its name, with a deadline, and what is asked for in the environment."""
    job: dict[str, Any] = copy.deepcopy(dict(template))
    metadata = job.setdefault("metadata", {})
    metadata.pop("generateName", None)
    metadata["name"] = name
    metadata.setdefault("labels", {})[LABEL] = retraining.retraining_id
    spec = job["spec"]
    left_s = max(1, (retraining.deadline_ns - now_ns) // NS)
    spec["activeDeadlineSeconds"] = min(spec.get("activeDeadlineSeconds", left_s), left_s)
    spec.setdefault("backoffLimit", 0)
    pod = spec["template"]["spec"]
    pod.setdefault("restartPolicy", "Never")
    request = json.loads(retraining.request)
    told = {"RETRAINING_REQUEST_JSON": retraining.request, "RETRAINING_NAME": retraining.name}
    for field in ("model", "reason", "signal", "window_begin_time", "change_time", "window_end_time"):
        told[f"RETRAINING_{field.upper()}"] = str(request[field])
    for container in pod["containers"]:
        own = [one for one in container.get("env", []) if one.get("name") not in told]
        container["env"] = [*own, *({"name": key, "value": value} for key, value in told.items())]
    return job


def _message(pod: Mapping[str, Any]) -> str:
    for container in pod.get("status", {}).get("containerStatuses", ()):
        message = container.get("state", {}).get("terminated", {}).get("message", "")
        if message:
            return str(message)
    return ""


def _jobs(place: Mapping[str, str]) -> str:
    return f"/apis/batch/v1/namespaces/{place['namespace']}/jobs"


def _api(place: Mapping[str, str]) -> WebApi:
    """The token is read anew each time: it is replaced now and then."""
    try:
        token = Path(place["token_file"]).read_text().strip() if place["token_file"] else ""
        is_tls = place["api"].startswith("https")
        return WebApi(
            place["api"], authorization=f"Bearer {token}" if token else "", ca_file=place["ca_file"] if is_tls else ""
        )
    except (OSError, UnicodeError) as error:
        raise UnavailableError(f"the service account's files can't be read: {error}") from None
