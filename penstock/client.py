"""The Python client: everything that one does with a running suite.

>>> from penstock import Client
>>> with Client() as client:  # doctest: +SKIP
...     version = client.create_version("digits", client.upload("digits.onnx"))
...     client.wait_validated(version.name)
...     client.deploy("digits", version.name)
...     answer = client.infer("digits", {"pixels": images})
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from penstock import errors, uploads
from penstock.actions import ActionClient
from penstock.channels import Channel
from penstock.endpoints import Endpoints
from penstock.feedback import FeedbackClient
from penstock.inference.v1 import inference_service_pb2 as inference_pb
from penstock.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from penstock.monitor.v1 import drift_service_pb2 as drift_pb
from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from penstock.monitor.v1.drift_service_pb2_grpc import DriftServiceStub
from penstock.monitor.v1.monitor_service_pb2_grpc import MonitorServiceStub
from penstock.registry.v1 import registry_service_pb2 as pb
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.resources_pb2 import (
    Alias,
    Artifact,
    Deployment,
    InstanceStatus,
    Lineage,
    Manifest,
    Model,
    ModelVersion,
    Node,
    Slo,
)
from penstock.rollouts import RolloutClient
from penstock.serving import UNCHANGED, Serving
from penstock.sources import SourceClient
from penstock.tls import Tls
from penstock.trust import TrustClient
from penstock.uploads import ignore
from penstock.verdicts import VerdictClient

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock.records import Record
    from penstock.tensors import InferenceConnection, Tensor

_POLL_S = 0.1
_COLLECT_S = 600.0
_CRASH_LOOP_RESTARTS = 3


class Client:
    """A connection to a suite; use it as a context manager, or call :meth:`close`.

    Addresses not given are taken from the environment (``PENSTOCK_REGISTRY_ADDRESS``, …), else from Consul, which is
    asked once (``CONSUL_HTTP_ADDR``), else this machine's; each may be a list with commas between, of which one that
    answers is used. So is ``tls``, for the gateway (``PENSTOCK_GATEWAY_CA``, …), else what this machine's gateway has.
    Nothing else is connected before it is used. Resources are the messages of ``penstock.registry.v1`` and
    ``penstock.monitor.v1``. What a service refuses is raised as a :class:`penstock.errors.PenstockError`. Methods may
    be called from several threads.
    """

    def __init__(
        self,
        *,
        registry: str | None = None,
        gateway: str | None = None,
        inference: str | None = None,
        monitor: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        given = {"registry": registry, "gateway": gateway, "inference": inference, "monitor": monitor}
        known = {part: at for part, at in given.items() if at}
        if os.environ.get("CONSUL_HTTP_ADDR"):
            from penstock import consul

            known = {**consul.find_missing(known), **known}
        self.endpoints = replace(Endpoints.from_environ(), **known)
        self._tls = tls or Tls.from_environ()
        self._channels = {
            part: Channel(part, getattr(self.endpoints, part), self._tls if part == "gateway" else None)
            for part in given
        }
        self._registry = RegistryServiceStub(self._channels["registry"].grpc)
        self._inference: InferenceConnection | None = None
        self.trust = TrustClient(self._channels["registry"])
        """Keys, signatures, policies, and the audit log."""
        self.sources = SourceClient(self._channels["registry"])
        """Places that bring new versions by themselves, and where versions are from."""
        self.verdicts = VerdictClient(self._channels["monitor"])
        """Comparisons of versions on live traffic."""
        self.actions = ActionClient(self._channels["monitor"])
        """What the monitor did by itself because of incidents, and retrainings."""
        self.rollouts = RolloutClient(self._channels["registry"])
        """Versions on their way to a model's traffic."""
        self.feedback = FeedbackClient(self._channels["monitor"])
        """What the right answers were, and how good versions are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        if self._inference is not None:
            self._inference.close()

    def _call(self, rpc: Callable[..., Any], request: Any) -> Any:
        return self._channels["registry"].call(rpc, request)

    # Models and versions

    def upload(self, path: str | PathLike[str], *, progress: uploads.Progress = ignore) -> list[Artifact]:
        """Send a model, a file or a folder; see :func:`penstock.uploads.upload`."""
        return uploads.upload(self._channels["registry"], Path(path), progress=progress)

    def create_version(
        self,
        model: str,
        files: Sequence[Artifact],
        *,
        format: str = "",  # noqa: A002 - the API's word
        is_trusted: bool = False,
        manifest: Manifest | None = None,
        metrics: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        lineage: Lineage | None = None,
    ) -> ModelVersion:
        """Make uploaded files the next version of a model, which is created if there is none of that name.

        ``is_trusted`` vouches for a model whose format can run code while loading (torch.export, TorchScript).
        ``manifest`` is what its files don't say of it, see :mod:`penstock.manifests`. ``metrics`` are figures that you
        know of it, for example ``{"accuracy": 0.97}``. ``lineage`` is what it was made from.
        """
        with contextlib.suppress(errors.AlreadyExistsError):
            self._call(self._registry.CreateModel, pb.CreateModelRequest(model_id=model, request_id=str(uuid.uuid4())))
        version = ModelVersion(
            files=files,
            format=format,
            trusted=is_trusted,
            manifest=manifest,
            metrics=metrics or {},
            labels=labels or {},
            lineage=lineage,
        )
        request = pb.CreateModelVersionRequest(
            parent=f"models/{model}", model_version=version, request_id=str(uuid.uuid4())
        )
        return self._call(self._registry.CreateModelVersion, request).model_version

    def version(self, name: str) -> ModelVersion:
        """One version, by its resource name ``models/{model}/versions/{version}``."""
        return self._call(self._registry.GetModelVersion, pb.GetModelVersionRequest(name=name)).model_version

    def wait_validated(
        self, name: str, *, timeout_s: float = 300.0, on_change: Callable[[ModelVersion], None] = ignore
    ) -> ModelVersion:
        """Wait until a version is READY.

        Raises:
            ModelRejectedError: it is no version that can be served; the message says why.
            WaitTimeoutError: neither happened in time; the version stays and may still become READY.
        """
        for _ in _attempts(timeout_s):
            version = self.version(name)
            on_change(version)
            if version.state == ModelVersion.STATE_REJECTED:
                raise errors.ModelRejectedError(f"{name} was rejected: {version.state_reason}")
            if version.state in (ModelVersion.STATE_READY, ModelVersion.STATE_ARCHIVED):
                return version
        state = ModelVersion.State.Name(version.state).removeprefix("STATE_")
        raise errors.WaitTimeoutError(f"{name} is still {state} after {timeout_s:g} s")

    def nodes(self) -> list[Node]:
        """The nodes that run models, as they last reported themselves."""
        return self._pages(self._registry.ListNodes, pb.ListNodesRequest(), "nodes")

    def models(self) -> list[Model]:
        return self._pages(self._registry.ListModels, pb.ListModelsRequest(), "models")

    def versions(self, model: str = "-") -> list[ModelVersion]:
        """A model's versions, newest first; those of all models by default."""
        request = pb.ListModelVersionsRequest(parent=f"models/{model}")
        return self._pages(self._registry.ListModelVersions, request, "model_versions")

    def delete_version(self, name: str) -> None:
        """Delete a version, given by its resource name.

        Raises:
            FailedPreconditionError: a deployment or an alias names it.
        """
        self._call(self._registry.DeleteModelVersion, pb.DeleteModelVersionRequest(name=name))

    def delete_model(self, model: str) -> None:
        """Delete a model with its versions and aliases.

        Raises:
            FailedPreconditionError: it is deployed.
        """
        self._call(self._registry.DeleteModel, pb.DeleteModelRequest(name=f"models/{model}"))

    def collect_garbage(self, *, is_dry_run: bool = False, grace_s: float | None = None) -> list[pb.Garbage]:
        """Remove content that no version names, and uploads that nobody went on with; or only say what would be.

        ``grace_s`` is how long such things are kept, by default as long as the registry is set to, a day. With less,
        somebody who has uploaded a model and is about to make a version of it may lose it.
        """
        request = pb.CollectGarbageRequest(dry_run=is_dry_run)
        if grace_s is not None:
            request.grace_duration.FromNanoseconds(int(grace_s * 1e9))
        answer = self._channels["registry"].call(self._registry.CollectGarbage, request, timeout_s=_COLLECT_S)
        return list(answer.garbage)

    def aliases(self, model: str = "-") -> list[Alias]:
        """A model's aliases; those of all models by default."""
        return self._pages(self._registry.ListAliases, pb.ListAliasesRequest(parent=f"models/{model}"), "aliases")

    def set_alias(self, model: str, alias: str, version: str) -> Alias:
        """Point an alias at a version, given by its resource name."""
        request = pb.SetAliasRequest(alias=Alias(name=f"models/{model}/aliases/{alias}", version=version))
        return self._call(self._registry.SetAlias, request).alias

    def records(self, *models: str) -> list[Record]:
        """What versions and rollouts came to, of some models or of all: for :mod:`penstock.records` to write."""
        from penstock.records import collect

        return list(collect(self._channels["registry"], models))

    # Deployments

    def deploy(
        self,
        model: str,
        version: str,
        *,
        serving: Serving = UNCHANGED,
        keep_previous: bool = False,
        wait: bool = True,
        timeout_s: float = 300.0,
        on_change: Callable[[Deployment], None] = ignore,
    ) -> Deployment:
        """Serve a READY version, given by its resource name, and make it the one that requests go to by default.

        The versions that served before are replaced, or serve on beside it with ``keep_previous``. With ``wait`` they
        are replaced only when the new one is ready, so that no request waits for it; if it fails, they serve on. One
        for which there is no room beside what others use is asleep: its first request has it loaded.

        Raises:
            FailedPreconditionError: the version is not READY.
            ModelFailedError: its processes don't come up; the message says why.
            WaitTimeoutError: they did not come up in time.
        """
        try:
            before = [name for name in self.deployment(model).versions if name != version]
        except errors.NotFoundError:
            before = []
        final = [*before, version] if keep_previous else [version]
        if not wait:
            return self._write_deployment(model, final, serving)
        self._write_deployment(model, [version, *before], serving)
        try:
            self.wait_serving(model, version, timeout_s=timeout_s, on_change=on_change)
        except errors.ModelFailedError:
            if before:
                self._write_deployment(model, before, UNCHANGED)
            raise
        return self._write_deployment(model, final, UNCHANGED) if before else self.deployment(model)

    def _write_deployment(self, model: str, versions: list[str], serving: Serving) -> Deployment:
        while True:
            try:
                deployment = self.deployment(model)
                del deployment.versions[:]
                deployment.versions.extend(versions)
                serving.apply(deployment)
                request = pb.UpdateDeploymentRequest(deployment=deployment)
                return self._call(self._registry.UpdateDeployment, request).deployment
            except errors.NotFoundError:
                deployment = Deployment(versions=versions)
                serving.apply(deployment)
                create = pb.CreateDeploymentRequest(deployment_id=model, deployment=deployment)
                return self._call(self._registry.CreateDeployment, create).deployment
            except errors.AbortedError:
                continue  # someone else wrote in between: take what they wrote as the base

    def set_slo(self, model: str, slo: Slo, *, etag: str = "") -> Deployment:
        """Say what users of a deployed model may count on; an empty ``slo`` takes it back. Nothing else is changed.

        ``etag``: that of the deployment whose promise ``slo`` was made from; empty where it was made from none.

        Raises:
            AbortedError: the deployment has been changed since it had this etag.
            NotFoundError: the model is not deployed.
        """
        wanted = Deployment(name=f"deployments/{model}", slo=slo, etag=etag)
        request = pb.UpdateDeploymentRequest(deployment=wanted, update_mask=FieldMask(paths=["slo"]))
        return self._call(self._registry.UpdateDeployment, request).deployment

    def quarantine(self, model: str, instance: str, *, reason: str, is_last_allowed: bool = False) -> Deployment:
        """Have the process of a replica, by its ``InstanceStatus.instance``, taken out and replaced.

        Raises:
            FailedPreconditionError: no other replica of its version takes requests. With ``is_last_allowed`` it is
                replaced all the same, and goes on until its successor takes requests.
            NotFoundError: there is no such replica.
        """
        request = pb.QuarantineReplicaRequest(
            name=f"deployments/{model}", instance=instance, reason=reason, is_last_allowed=is_last_allowed
        )
        return self._call(self._registry.QuarantineReplica, request).deployment

    def wait_serving(
        self,
        model: str,
        version: str,
        *,
        timeout_s: float = 300.0,
        on_change: Callable[[Deployment], None] = ignore,
    ) -> Deployment:
        """Wait until all processes of a deployed version take requests, or it is asleep, and the gateway says so.

        Raises:
            ModelFailedError: they crash again and again; the message says why.
            WaitTimeoutError: it did not happen in time.
        """
        waiting = ""
        for _ in _attempts(timeout_s):
            deployment = self.deployment(model)
            on_change(deployment)
            places = [one for one in deployment.placements if one.version == version and one.reason]
            waiting = f": {places[0].reason}" if places else ""
            is_asleep = any(one.is_asleep for one in places)
            instances = [instance for instance in deployment.instances if instance.version == version]
            ready = sum(instance.state == InstanceStatus.STATE_READY for instance in instances)
            for instance in instances:
                is_down = instance.state == InstanceStatus.STATE_UNAVAILABLE
                if is_down and instance.restarts + 1 >= _CRASH_LOOP_RESTARTS:
                    raise errors.ModelFailedError(f"{version} does not come up: {instance.reason}")
            is_placed = is_asleep or ready >= max(deployment.replicas, 1)
            if is_placed and self.is_ready(model, version.rpartition("/")[2]):
                return deployment
        raise errors.WaitTimeoutError(f"{version} is not ready after {timeout_s:g} s{waiting}")

    def undeploy(self, model: str) -> None:
        """End a model's serving; the model and its versions stay in the registry."""
        self._call(self._registry.DeleteDeployment, pb.DeleteDeploymentRequest(name=f"deployments/{model}"))

    def deployment(self, model: str) -> Deployment:
        """A model's deployment with its processes' last reported state."""
        request = pb.GetDeploymentRequest(name=f"deployments/{model}")
        return self._call(self._registry.GetDeployment, request).deployment

    def deployments(self) -> list[Deployment]:
        return self._pages(self._registry.ListDeployments, pb.ListDeploymentsRequest(), "deployments")

    def instances(self) -> list[inference_pb.Instance]:
        """The model processes of the node that ``inference`` is the address of, with their figures."""
        channel = self._channels["inference"]
        rpc = InferenceServiceStub(channel.grpc).ListInstances
        return channel.pages(rpc, inference_pb.ListInstancesRequest(), "instances")

    # Inference

    @property
    def _gateway(self) -> InferenceConnection:
        if self._inference is None:
            from penstock.tensors import InferenceConnection

            self._inference = InferenceConnection(self.endpoints.gateway, self._tls)
        return self._inference

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        timeout_s: float = 60.0,
        request_id: str = "",
    ) -> dict[str, NDArray[Any]]:
        """Ask a model: arrays by input name in, arrays by output name out. The first dimension counts the rows.

        ``version`` is a number or an alias; empty takes the deployment's default.
        """
        outputs, _ = self._gateway.infer(model, inputs, version=version, timeout_s=timeout_s, request_id=request_id)
        return outputs

    def infer_stream(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        timeout_s: float = 60.0,
        request_id: str = "",
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Ask a model that answers with a stream: the outputs of each response, as soon as it is made.

        ``timeout_s`` is for all of them. Close the iterator to leave before the end. Other models give one response.
        """
        return self._gateway.infer_stream(model, inputs, version=version, timeout_s=timeout_s, request_id=request_id)

    def is_ready(self, model: str, version: str = "") -> bool:
        """Whether the gateway would take a request for the model."""
        try:
            return self._gateway.is_ready(model, version)
        except errors.NotFoundError:
            return False

    def signature(self, model: str, version: str = "") -> tuple[list[Tensor], list[Tensor]]:
        """The inputs and outputs of a served model, as the gateway tells them."""
        return self._gateway.metadata(model, version)

    # Health and monitoring

    def health(self) -> dict[str, bool | errors.PenstockError]:
        """Of each service, whether it says SERVING, or why it can't be asked."""

        def state(channel: Channel) -> bool | errors.PenstockError:
            try:
                return channel.is_serving()
            except errors.PenstockError as error:
                return error

        return {part: state(channel) for part, channel in self._channels.items()}

    def figures(self, *, model: str = "", window_s: int = 60) -> list[monitor_pb.ModelFigures]:
        """Rate, errors and durations by phase, per version, over the last ``window_s`` seconds (10 to 600)."""
        request = monitor_pb.ListFiguresRequest(model=model, window=Duration(seconds=window_s))
        return self._monitored("ListFigures", request, "figures")

    def drift(self, *, model: str = "") -> list[drift_pb.VersionDrift]:
        """How far all that is watched of each version is from what is normal, and what is missing for an alarm."""
        channel = self._channels["monitor"]
        rpc = DriftServiceStub(channel.grpc).ListDrift
        return channel.pages(rpc, drift_pb.ListDriftRequest(model=model), "versions")

    def incidents(self, *, model: str = "", only_open: bool = False) -> list[monitor_pb.Incident]:
        """What the monitor noticed, newest first."""
        request = monitor_pb.ListIncidentsRequest(model=model, is_open=only_open)
        return self._monitored("ListIncidents", request, "incidents")

    def probes(self, *, model: str = "") -> list[monitor_pb.ReplicaProbe]:
        """The last golden probe of every replica, by model, version and replica."""
        return self._monitored("ListProbes", monitor_pb.ListProbesRequest(model=model), "probes")

    def incident(self, incident: str) -> monitor_pb.Incident:
        """One of them, by its id or name ("incidents/{incident}").

        Raises:
            NotFoundError: there is none.
        """
        channel = self._channels["monitor"]
        name = f"incidents/{incident.removeprefix('incidents/')}"
        rpc = MonitorServiceStub(channel.grpc).GetIncident
        return channel.call(rpc, monitor_pb.GetIncidentRequest(name=name)).incident

    def watch_incidents(self, *, model: str = "") -> Iterator[monitor_pb.Incident]:
        """Open incidents, then every one that is opened, changed or closed, for ever."""
        channel = self._channels["monitor"]
        rpc = MonitorServiceStub(channel.grpc).WatchIncidents
        for message in channel.stream(rpc, monitor_pb.WatchIncidentsRequest(model=model)):
            yield message.incident

    def _monitored(self, method: str, request: Any, field: str) -> list[Any]:
        channel = self._channels["monitor"]
        return channel.pages(getattr(MonitorServiceStub(channel.grpc), method), request, field)

    def _pages(self, rpc: Callable[..., Any], request: Any, field: str) -> list[Any]:
        return self._channels["registry"].pages(rpc, request, field)


def _attempts(timeout_s: float) -> Iterator[None]:
    """At least one attempt, then one every tenth of a second until the time is up."""
    end = time.monotonic() + timeout_s
    yield
    while time.monotonic() < end:
        time.sleep(_POLL_S)
        yield
