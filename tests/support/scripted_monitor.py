"""A monitor that says of rollouts what a test tells it to: the real rpcs over real gRPC, no figures."""

from __future__ import annotations

import threading
import time
from concurrent import futures
from typing import Any, Self

import grpc

from penstock.monitor.v1 import monitor_service_pb2 as monitor_pb
from penstock.monitor.v1 import monitor_service_pb2_grpc as monitor_grpc
from penstock.monitor.v1 import verdict_service_pb2 as verdict_pb
from penstock.monitor.v1 import verdict_service_pb2_grpc as verdict_grpc
from tests.support.ports import free_port

Outcome = monitor_pb.ReplicaProbe.Outcome
_OPTIONS = [("grpc.so_reuseport", 0)]


class ScriptedMonitor(verdict_grpc.VerdictServiceServicer, monitor_grpc.MonitorServiceServicer):
    """Listens on ``address`` between :meth:`start` and :meth:`stop`. What it was told and asked outlives that."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.questions: dict[str, verdict_pb.CompareVersionsRequest] = {}
        """What was asked of each comparison, by its id, in the order of their first questions."""
        self.stopped: list[str] = []
        """Ids of comparisons that were ended."""
        self.taken: set[str] = set()
        """Ids that are another question's."""
        self.refusal = ""
        """Why no comparison can be begun."""
        self.asked_count = 0
        self._decisions: dict[str, verdict_pb.Comparison] = {}
        self._probes: dict[str, monitor_pb.ReplicaProbe] = {}
        self._server: grpc.Server | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=_OPTIONS)
        verdict_grpc.add_VerdictServiceServicer_to_server(self, self._server)
        monitor_grpc.add_MonitorServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def probed(
        self, instance: str, *, outcome: Outcome = Outcome.OUTCOME_PASS, detail: str = "", at_ns: int = 0
    ) -> None:
        """An instance, named "node.model.version.replica", was probed at an instant; 0: now."""
        _, model, version, _ = instance.split(".")
        probe = monitor_pb.ReplicaProbe(
            model=model, version=version, replica=f"{instance}@incarnation.abc", outcome=outcome, detail=detail
        )
        probe.probe_time.FromNanoseconds(at_ns or time.time_ns())
        self._probes[instance] = probe

    def decide(
        self, comparison: str, decision: verdict_pb.Decision, *, reason: str = "so it is", is_final: bool = False
    ) -> None:
        """What is said of a comparison from now on; before, it goes on."""
        self._decisions[comparison] = verdict_pb.Comparison(
            name=f"comparisons/{comparison}",
            decision=decision,
            reason=reason,
            is_final=is_final,
            candidate_request_count=200,
            baseline_request_count=3_800,
            evidence=[verdict_pb.GuardrailEvidence(key="errors", summary="no worse", is_safe=True)],
        )

    def CompareVersions(self, request: verdict_pb.CompareVersionsRequest, context: Any) -> Any:
        with self._lock:
            self.asked_count += 1
            if self.refusal:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.refusal)
            known = self.questions.setdefault(request.comparison_id, request)
            if known != request or request.comparison_id in self.taken:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{request.comparison_id} is of another question")
        going_on = verdict_pb.Comparison(decision=verdict_pb.DECISION_CONTINUE, reason="nothing is proven yet")
        return verdict_pb.CompareVersionsResponse(comparison=self._decisions.get(request.comparison_id, going_on))

    def StopComparison(self, request: verdict_pb.StopComparisonRequest, _context: Any) -> Any:
        self.stopped.append(request.name.removeprefix("comparisons/"))
        return verdict_pb.StopComparisonResponse()

    def ListProbes(self, request: monitor_pb.ListProbesRequest, _context: Any) -> monitor_pb.ListProbesResponse:
        probes = [one for one in self._probes.values() if request.model in ("", one.model)]
        return monitor_pb.ListProbesResponse(probes=probes)
