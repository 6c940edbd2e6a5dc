"""A deployment on whose traffic a second version is tried, for tests of rollouts: stage and actors."""

from __future__ import annotations

from typing import Any

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from penstock.registry.v1 import rollout_service_pb2 as rollout_api
from penstock.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.support.registry import NODE, SIGNATURE, upload_messages
from tests.support.scripted_monitor import ScriptedMonitor
from tests.support.waiting import until

BASELINE, CANDIDATE = (f"models/digits/versions/{number}" for number in (1, 2))
DEPLOYMENT = "deployments/digits"
FIRST = f"{DEPLOYMENT}/rollouts/1"
READY = pb.InstanceStatus.State.STATE_READY
State = rollout_api.Rollout.State
Strategy = rollout_api.RolloutPlan.Strategy


class Stage:
    """Talks to a registry as its clients, and as the one node there is, do."""

    def __init__(self, registry: RegistryServiceStub, rollouts: RolloutServiceStub, monitor: ScriptedMonitor) -> None:
        self.registry = registry
        self.rollouts = rollouts
        self.monitor = monitor

    async def set_up(self, versions: int = 2) -> None:
        """A model with some versions, of which the first is deployed."""
        await self.registry.CreateModel(api.CreateModelRequest(model_id="digits"))
        for number in range(versions):
            await self.add_version(b"weights %d" % number)
        deployment = pb.Deployment(versions=[BASELINE])
        await self.registry.CreateDeployment(api.CreateDeploymentRequest(deployment_id="digits", deployment=deployment))
        await self.serve("1")

    async def add_version(self, content: bytes, *, signature: pb.Signature = SIGNATURE) -> str:
        """One that is READY."""
        artifact = (await self.registry.UploadArtifact(iter(upload_messages(content)))).artifact
        artifact.path = "model.onnx"
        wanted = pb.ModelVersion(files=[artifact])
        await self.registry.CreateModelVersion(
            api.CreateModelVersionRequest(parent="models/digits", model_version=wanted)
        )
        claimed = (await self.registry.ClaimValidation(api.ClaimValidationRequest(node=NODE))).model_version
        request = api.ReportValidationRequest(name=claimed.name, node=NODE, signature=signature)
        return (await self.registry.ReportValidation(request)).model_version.name

    async def serve(self, *versions: str, **status: Any) -> None:
        """The node reports a process of each version; ``status`` is the last one's."""
        instances = [instance(version) for version in versions]
        instances[-1].MergeFrom(pb.InstanceStatus(**status))
        await self.registry.ReportNode(api.ReportNodeRequest(node=NODE, instances=instances))

    async def load(self) -> None:
        """The candidate comes up, and passes its probe."""
        self.monitor.probed("one.digits.2.0")  # before it is asked: the registry's clock may stand still
        await self.serve("1", "2")

    async def create(self, **plan: Any) -> rollout_api.Rollout:
        rollout = rollout_api.Rollout(candidate=CANDIDATE, plan=rollout_api.RolloutPlan(**plan))
        request = rollout_api.CreateRolloutRequest(parent=DEPLOYMENT, rollout=rollout)
        return (await self.rollouts.CreateRollout(request)).rollout

    async def get(self, name: str = FIRST) -> rollout_api.Rollout:
        return (await self.rollouts.GetRollout(rollout_api.GetRolloutRequest(name=name))).rollout

    async def deployment(self) -> pb.Deployment:
        return (await self.registry.GetDeployment(api.GetDeploymentRequest(name=DEPLOYMENT))).deployment

    async def until_state(self, state: State, *, step: int | None = None) -> rollout_api.Rollout:
        """Wait for the first rollout to be in a state, and at a step."""

        async def is_there() -> bool:
            rollout = await self.get()
            return rollout.state == state and step in (None, rollout.step)

        await until(is_there)
        return await self.get()


def instance(version: str, *, replica: int = 0, **status: Any) -> pb.InstanceStatus:
    message = pb.InstanceStatus(
        instance=f"one.digits.{version}.{replica}", version=f"models/digits/versions/{version}", node=NODE, state=READY
    )
    message.update_time.FromNanoseconds(1_700_000_000_000_000_000)
    message.MergeFrom(pb.InstanceStatus(**status))
    return message
