"""The part of the Python client that compares versions on live traffic.

>>> with Client() as client:  # doctest: +SKIP
...     comparison = client.verdicts.compare("digits", "2", "1", weight=0.1)
...     for comparison in client.verdicts.watch(comparison.name):
...         print(comparison.reason)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.protobuf.duration_pb2 import Duration

from penstock.channels import Channel
from penstock.monitor.v1 import verdict_service_pb2 as pb
from penstock.monitor.v1.verdict_service_pb2_grpc import VerdictServiceStub


class VerdictClient:
    """Asks the monitor whether a version may replace another."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._monitor = VerdictServiceStub(channel.grpc)

    def compare(
        self,
        model: str,
        candidate: str,
        baseline: str,
        *,
        comparison_id: str = "",
        weight: float = 0.0,
        is_shadow: bool = False,
        duration_s: float = 3_600.0,
        min_requests: int = 500,
        min_duration_s: float = 60.0,
        alpha: float = 0.01,
        guardrails: Sequence[pb.Guardrail] = (),
    ) -> pb.Comparison:
        """Begin a comparison, or tell how the one with this id stands.

        ``weight``: the candidate's share of the requests, or in shadow the share of the baseline's that is copied; 0
        where nothing is configured. ``guardrails``: by default errors, latency and outputs.

        Raises:
            AlreadyExistsError: the id is of another question.
            InvalidArgumentError: this can't be asked.
            ResourceExhaustedError: too many comparisons are under way.
        """
        request = pb.CompareVersionsRequest(
            comparison_id=comparison_id,
            model=model,
            candidate=candidate,
            baseline=baseline,
            mode=pb.COMPARISON_MODE_SHADOW if is_shadow else pb.COMPARISON_MODE_SPLIT,
            weight=weight,
            duration=_duration(duration_s),
            min_request_count=min_requests,
            min_duration=_duration(min_duration_s),
            alpha=alpha,
            guardrails=guardrails,
        )
        return self._channel.call(self._monitor.CompareVersions, request).comparison

    def get(self, name: str) -> pb.Comparison:
        """How a comparison stands, by its name "comparisons/{comparison}"."""
        return self._channel.call(self._monitor.GetComparison, pb.GetComparisonRequest(name=name)).comparison

    def list(self, *, model: str = "") -> Sequence[pb.Comparison]:
        """Comparisons, newest first, without the evidence."""
        request = pb.ListComparisonsRequest(model=model)
        return self._channel.pages(self._monitor.ListComparisons, request, "comparisons")

    def watch(self, name: str) -> Iterator[pb.Comparison]:
        """How a comparison stands, then again after every change, until it is final."""
        for message in self._channel.stream(self._monitor.WatchComparison, pb.WatchComparisonRequest(name=name)):
            yield message.comparison

    def stop(self, name: str, *, reason: str = "") -> pb.Comparison:
        """End a comparison."""
        request = pb.StopComparisonRequest(name=name, reason=reason)
        return self._channel.call(self._monitor.StopComparison, request).comparison


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message
