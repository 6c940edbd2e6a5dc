"""Nodes: what their agents report, and what others are told."""

from __future__ import annotations

from penstock.registry.v1 import registry_service_pb2 as api
from penstock.registry.v1 import resources_pb2 as pb
from services.registry.adapters.codec.deployments import instance_from_pb
from services.registry.adapters.codec.times import nanoseconds, timestamp
from services.registry.domain.demand import VersionDemand
from services.registry.domain.resources import DeviceCapacity, Node, NodeCapacity, NodeReport


def report_from_pb(request: api.ReportNodeRequest) -> NodeReport:
    return NodeReport(
        node=request.node,
        instances=tuple(map(instance_from_pb, request.instances)),
        capacity=_capacity_from_pb(request.capacity),
        address=request.address,
        is_leaving=request.is_leaving,
        has_successor=request.has_successor,
    )


def demands_from_pb(request: api.ReportDemandRequest) -> list[VersionDemand]:
    return [
        VersionDemand(one.version, one.unsettled_requests, nanoseconds(one.idle_duration)) for one in request.demands
    ]


def node_to_pb(node: Node) -> pb.Node:
    capacity = node.report.capacity
    return pb.Node(
        name=node.report.node,
        address=node.report.address,
        state=int(node.state),  # type: ignore[arg-type]
        capacity=pb.NodeCapacity(
            memory_bytes=capacity.memory_bytes,
            free_memory_bytes=capacity.free_memory_bytes,
            processors=capacity.processors,
            max_instances=capacity.max_instances,
            devices=[
                pb.DeviceCapacity(
                    device=one.device, memory_bytes=one.memory_bytes, free_memory_bytes=one.free_memory_bytes
                )
                for one in capacity.devices
            ],
            resident_memory=capacity.resident_bytes,
            formats=capacity.formats,
            libraries=capacity.libraries,
            cache_bytes=capacity.cache_bytes,
            free_cache_bytes=capacity.free_cache_bytes,
            versions_without_room=sorted(capacity.without_room),
        ),
        replicas=node.replicas,
        report_time=timestamp(node.report_time_ns),
    )


def _capacity_from_pb(message: pb.NodeCapacity) -> NodeCapacity:
    return NodeCapacity(
        memory_bytes=message.memory_bytes,
        free_memory_bytes=message.free_memory_bytes,
        processors=message.processors,
        max_instances=message.max_instances,
        devices=tuple(DeviceCapacity(one.device, one.memory_bytes, one.free_memory_bytes) for one in message.devices),
        resident_bytes=dict(message.resident_memory),
        formats=tuple(message.formats),
        libraries=tuple(message.libraries),
        cache_bytes=message.cache_bytes,
        free_cache_bytes=message.free_cache_bytes,
        without_room=frozenset(message.versions_without_room),
    )
