"""Resources as messages of the API, and back."""

from __future__ import annotations

from services.registry.adapters.codec.change_log import decode, encode, encode_deleted, event_to_pb
from services.registry.adapters.codec.deployments import deployment_from_pb, deployment_to_pb
from services.registry.adapters.codec.garbage import garbage_to_pb
from services.registry.adapters.codec.models import alias_to_pb, model_from_pb, model_to_pb
from services.registry.adapters.codec.nodes import demands_from_pb, node_to_pb, report_from_pb
from services.registry.adapters.codec.optimizations import optimization_from_pb
from services.registry.adapters.codec.rollouts import guardrails_to_pb, rollout_to_pb, wanted_plan_from_pb
from services.registry.adapters.codec.times import nanoseconds
from services.registry.adapters.codec.trust import (
    audit_entry_to_pb,
    policy_to_pb,
    signing_key_from_pb,
    signing_key_to_pb,
)
from services.registry.adapters.codec.versions import (
    artifact_to_pb,
    manifest_to_pb,
    verdict_from_pb,
    version_from_pb,
    version_to_pb,
)

__all__ = [
    "alias_to_pb",
    "artifact_to_pb",
    "audit_entry_to_pb",
    "decode",
    "demands_from_pb",
    "deployment_from_pb",
    "deployment_to_pb",
    "encode",
    "encode_deleted",
    "event_to_pb",
    "garbage_to_pb",
    "guardrails_to_pb",
    "manifest_to_pb",
    "model_from_pb",
    "model_to_pb",
    "nanoseconds",
    "node_to_pb",
    "optimization_from_pb",
    "policy_to_pb",
    "report_from_pb",
    "rollout_to_pb",
    "signing_key_from_pb",
    "signing_key_to_pb",
    "verdict_from_pb",
    "version_from_pb",
    "version_to_pb",
    "wanted_plan_from_pb",
]
