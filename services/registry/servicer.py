"""The registry's API: convert, delegate, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceServicer
from services.common.errors import PenstockError
from services.registry import aliases, audit, deployments, lists, models, quarantining, signing_keys, trusting, versions
from services.registry.adapters import codec
from services.registry.adapters.database import Database
from services.registry.adapters.upload_streams import UploadStreams
from services.registry.artifacts import Artifacts
from services.registry.collection import Collector
from services.registry.domain import ids
from services.registry.domain.resources import Alias, Artifact, Deployment, Model, ModelVersion
from services.registry.nodes import Nodes
from services.registry.watch import Watch


class RegistryServicer(RegistryServiceServicer):
    """``penstock.registry.v1.RegistryService``."""

    def __init__(
        self,
        database: Database,
        *,
        artifacts: Artifacts,
        collector: Collector,
        streams: UploadStreams,
        nodes: Nodes,
        watch: Watch,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._collector = collector
        self._streams = streams
        self._nodes = nodes
        self._watch = watch

    async def CreateModel(self, request: api.CreateModelRequest, _context: Any) -> api.CreateModelResponse:
        wanted = codec.model_from_pb(request.model, model=request.model_id)
        model = await self._database.write(models.create_model, wanted, request_id=request.request_id)
        return api.CreateModelResponse(model=codec.model_to_pb(model))

    async def GetModel(self, request: api.GetModelRequest, _context: Any) -> api.GetModelResponse:
        return api.GetModelResponse(model=codec.model_to_pb(await self._database.read(models.get_model, request.name)))

    async def ListModels(self, request: api.ListModelsRequest, _context: Any) -> api.ListModelsResponse:
        found, token = await self._database.read(
            lists.list_resources, Model, size=request.page_size, token=request.page_token
        )
        return api.ListModelsResponse(models=map(codec.model_to_pb, found), next_page_token=token)

    async def UpdateModel(self, request: api.UpdateModelRequest, _context: Any) -> api.UpdateModelResponse:
        wanted = codec.model_from_pb(request.model, model=ids.parse_model(request.model.name))
        model = await self._database.write(models.update_model, wanted, paths=request.update_mask.paths)
        return api.UpdateModelResponse(model=codec.model_to_pb(model))

    async def DeleteModel(self, request: api.DeleteModelRequest, _context: Any) -> api.DeleteModelResponse:
        await self._database.write(models.delete_model, request.name, etag=request.etag)
        self._collector.wake()
        return api.DeleteModelResponse()

    async def StartUpload(self, request: api.StartUploadRequest, _context: Any) -> api.StartUploadResponse:
        held = await self._artifacts.start_upload(request.sha256, request.size_bytes)
        return api.StartUploadResponse(committed_bytes=held)

    async def UploadArtifact(
        self, requests: AsyncIterator[api.UploadArtifactRequest], _context: Any
    ) -> api.UploadArtifactResponse:
        streams = self._streams
        first = await streams.read_first(requests)
        chunks = streams.read_chunks(first, requests)
        try:
            await self._artifacts.receive(first.sha256, first.size_bytes, offset=first.offset_bytes, chunks=chunks)
        except PenstockError:
            await streams.drain_refused(requests)
            raise
        await streams.drain(requests)
        return api.UploadArtifactResponse(artifact=codec.artifact_to_pb(Artifact(first.sha256, first.size_bytes)))

    async def DownloadArtifact(
        self, request: api.DownloadArtifactRequest, _context: Any
    ) -> AsyncIterator[api.DownloadArtifactResponse]:
        async with aclosing(self._artifacts.send(request.sha256, offset=request.offset_bytes)) as pieces:
            async for size, chunk in pieces:
                yield api.DownloadArtifactResponse(chunk=chunk, size_bytes=size)

    async def CollectGarbage(self, request: api.CollectGarbageRequest, _context: Any) -> api.CollectGarbageResponse:
        grace_ns = codec.nanoseconds(request.grace_duration) if request.HasField("grace_duration") else None
        work = self._collector.find if request.dry_run else self._collector.collect
        return api.CollectGarbageResponse(garbage=map(codec.garbage_to_pb, await work(grace_ns=grace_ns)))

    async def CreateModelVersion(
        self, request: api.CreateModelVersionRequest, _context: Any
    ) -> api.CreateModelVersionResponse:
        wanted = codec.version_from_pb(request.model_version, model=ids.parse_model(request.parent))
        version = await self._database.write(
            versions.create_version, wanted, await self._copies(wanted), request_id=request.request_id
        )
        return api.CreateModelVersionResponse(model_version=codec.version_to_pb(version))

    async def _copies(self, version: ModelVersion) -> dict[str, bytes]:
        """Of the files that a version is judged by, which are read here as no transaction may wait for them."""
        copies = {}
        for sha256, most_bytes in trusting.needed(version):
            if (content := await self._artifacts.read(sha256, most_bytes=most_bytes)) is not None:
                copies[sha256] = content
        return copies

    async def GetModelVersion(self, request: api.GetModelVersionRequest, _context: Any) -> api.GetModelVersionResponse:
        version = await self._database.read(versions.get_version, request.name)
        return api.GetModelVersionResponse(model_version=codec.version_to_pb(version))

    async def ListModelVersions(
        self, request: api.ListModelVersionsRequest, _context: Any
    ) -> api.ListModelVersionsResponse:
        found, token = await self._database.read(
            lists.list_resources, ModelVersion, size=request.page_size, token=request.page_token, parent=request.parent
        )
        return api.ListModelVersionsResponse(model_versions=map(codec.version_to_pb, found), next_page_token=token)

    async def DeleteModelVersion(
        self, request: api.DeleteModelVersionRequest, _context: Any
    ) -> api.DeleteModelVersionResponse:
        await self._database.write(versions.delete_version, request.name, etag=request.etag)
        self._collector.wake()
        return api.DeleteModelVersionResponse()

    async def ClaimValidation(self, request: api.ClaimValidationRequest, _context: Any) -> api.ClaimValidationResponse:
        claimed = await self._database.write(
            versions.claim_validation,
            request.node,
            formats=request.formats,
            libraries=request.libraries,
            excluded=request.excluded_versions,
        )
        if claimed is None:
            return api.ClaimValidationResponse()
        version, keys, policy = claimed
        return api.ClaimValidationResponse(
            model_version=codec.version_to_pb(version),
            signing_keys=map(codec.signing_key_to_pb, keys),
            trust_policy=codec.policy_to_pb(policy),
        )

    async def ReportValidation(
        self, request: api.ReportValidationRequest, _context: Any
    ) -> api.ReportValidationResponse:
        verdict = codec.verdict_from_pb(request)
        version = await self._database.write(versions.report_validation, request.name, verdict)
        return api.ReportValidationResponse(model_version=codec.version_to_pb(version))

    async def ReportOptimization(
        self, request: api.ReportOptimizationRequest, _context: Any
    ) -> api.ReportOptimizationResponse:
        found = codec.optimization_from_pb(request.optimization, node=request.node)
        version = await self._database.write(versions.report_optimization, request.name, found)
        return api.ReportOptimizationResponse(model_version=codec.version_to_pb(version))

    async def RevokeModelVersion(
        self, request: api.RevokeModelVersionRequest, _context: Any
    ) -> api.RevokeModelVersionResponse:
        version, deployed = await self._database.write(signing_keys.revoke_version, request.name, reason=request.reason)
        return api.RevokeModelVersionResponse(model_version=codec.version_to_pb(version), deployed=deployed)

    async def CreateSigningKey(
        self, request: api.CreateSigningKeyRequest, _context: Any
    ) -> api.CreateSigningKeyResponse:
        key_set = ids.parse_key_set(request.parent) or ""
        wanted = codec.signing_key_from_pb(request.signing_key, key_set=key_set, key=request.signing_key_id)
        key = await self._database.write(signing_keys.create_signing_key, wanted, request_id=request.request_id)
        return api.CreateSigningKeyResponse(signing_key=codec.signing_key_to_pb(key))

    async def ListSigningKeys(self, request: api.ListSigningKeysRequest, _context: Any) -> api.ListSigningKeysResponse:
        found, token = await self._database.read(
            signing_keys.list_signing_keys, parent=request.parent, size=request.page_size, token=request.page_token
        )
        return api.ListSigningKeysResponse(signing_keys=map(codec.signing_key_to_pb, found), next_page_token=token)

    async def RevokeSigningKey(
        self, request: api.RevokeSigningKeyRequest, _context: Any
    ) -> api.RevokeSigningKeyResponse:
        key, deployed = await self._database.write(signing_keys.revoke_signing_key, request.name, reason=request.reason)
        return api.RevokeSigningKeyResponse(signing_key=codec.signing_key_to_pb(key), deployed=deployed)

    async def ListAuditEntries(
        self, request: api.ListAuditEntriesRequest, _context: Any
    ) -> api.ListAuditEntriesResponse:
        found, token = await self._database.read(
            audit.list_entries,
            model=request.model,
            since_ns=codec.nanoseconds(request.start_time),
            size=request.page_size,
            token=request.page_token,
        )
        return api.ListAuditEntriesResponse(audit_entries=map(codec.audit_entry_to_pb, found), next_page_token=token)

    async def SetAlias(self, request: api.SetAliasRequest, _context: Any) -> api.SetAliasResponse:
        wanted = request.alias
        alias = await self._database.write(aliases.set_alias, wanted.name, wanted.version, etag=wanted.etag)
        return api.SetAliasResponse(alias=codec.alias_to_pb(alias))

    async def ListAliases(self, request: api.ListAliasesRequest, _context: Any) -> api.ListAliasesResponse:
        found, token = await self._database.read(
            lists.list_resources, Alias, size=request.page_size, token=request.page_token, parent=request.parent
        )
        return api.ListAliasesResponse(aliases=map(codec.alias_to_pb, found), next_page_token=token)

    async def DeleteAlias(self, request: api.DeleteAliasRequest, _context: Any) -> api.DeleteAliasResponse:
        await self._database.write(aliases.delete_alias, request.name, etag=request.etag)
        return api.DeleteAliasResponse()

    async def CreateDeployment(
        self, request: api.CreateDeploymentRequest, _context: Any
    ) -> api.CreateDeploymentResponse:
        wanted = codec.deployment_from_pb(request.deployment, model=request.deployment_id)
        deployment = await self._nodes.write(deployments.create_deployment, wanted, request_id=request.request_id)
        return api.CreateDeploymentResponse(deployment=codec.deployment_to_pb(deployment))

    async def GetDeployment(self, request: api.GetDeploymentRequest, _context: Any) -> api.GetDeploymentResponse:
        deployment = await self._database.read(deployments.get_deployment, request.name)
        return api.GetDeploymentResponse(deployment=codec.deployment_to_pb(deployment))

    async def ListDeployments(self, request: api.ListDeploymentsRequest, _context: Any) -> api.ListDeploymentsResponse:
        found, token = await self._database.read(
            lists.list_resources, Deployment, size=request.page_size, token=request.page_token
        )
        return api.ListDeploymentsResponse(deployments=map(codec.deployment_to_pb, found), next_page_token=token)

    async def UpdateDeployment(
        self, request: api.UpdateDeploymentRequest, _context: Any
    ) -> api.UpdateDeploymentResponse:
        model = ids.parse_deployment(request.deployment.name)
        wanted = codec.deployment_from_pb(request.deployment, model=model)
        deployment = await self._nodes.write(deployments.update_deployment, wanted, paths=request.update_mask.paths)
        return api.UpdateDeploymentResponse(deployment=codec.deployment_to_pb(deployment))

    async def DeleteDeployment(
        self, request: api.DeleteDeploymentRequest, _context: Any
    ) -> api.DeleteDeploymentResponse:
        await self._database.write(deployments.delete_deployment, request.name, etag=request.etag)
        return api.DeleteDeploymentResponse()

    async def QuarantineReplica(
        self, request: api.QuarantineReplicaRequest, _context: Any
    ) -> api.QuarantineReplicaResponse:
        deployment = await self._nodes.write(
            quarantining.quarantine_replica,
            request.name,
            request.instance,
            is_last_allowed=request.is_last_allowed,
            reason=request.reason,
        )
        return api.QuarantineReplicaResponse(deployment=codec.deployment_to_pb(deployment))

    async def ReportNode(self, request: api.ReportNodeRequest, _context: Any) -> api.ReportNodeResponse:
        return api.ReportNodeResponse(moving_replicas=await self._nodes.report(codec.report_from_pb(request)))

    async def ReportDemand(self, request: api.ReportDemandRequest, _context: Any) -> api.ReportDemandResponse:
        await self._nodes.note_demand(request.gateway_id, codec.demands_from_pb(request))
        return api.ReportDemandResponse()

    async def ListNodes(self, request: api.ListNodesRequest, _context: Any) -> api.ListNodesResponse:
        found, token = await self._nodes.list(size=request.page_size, token=request.page_token)
        return api.ListNodesResponse(nodes=map(codec.node_to_pb, found), next_page_token=token)

    async def WatchResources(
        self, request: api.WatchResourcesRequest, _context: Any
    ) -> AsyncIterator[api.WatchResourcesResponse]:
        async with aclosing(self._watch.follow(request.revision)) as events:
            async for event in events:
                yield codec.event_to_pb(event)
