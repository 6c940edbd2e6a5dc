"""How a deployment is to serve."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.registry.v1.resources_pb2 import Deployment, OptimizationLevel


@dataclass(frozen=True, slots=True)
class Serving:
    """How a deployment serves; None leaves a value as it is, or as the registry's default."""

    replicas: int | None = None
    """Model processes per version over the whole fleet, 1 to 64."""
    max_batch_size: int | None = None
    """Most rows in one batch; 1 means one request at a time."""
    max_queue_delay_microseconds: int | None = None
    """Longest time that a request may be held back for a fuller batch."""
    max_queue_size: int | None = None
    """Most requests that may wait or run; more are refused."""
    optimize: str | None = None
    """How far to look for a faster way to run its versions: "off", "fast" (half a minute) or "full" (minutes)."""

    pinned: bool | None = None
    """Whether its versions stay loaded, whoever else wants their room."""

    feedback: bool | None = None
    """Whether labels are told of its answers later."""

    def apply(self, deployment: Deployment) -> None:
        """Write the values that are set into ``deployment``."""
        for target, name in (
            (deployment, "replicas"),
            (deployment, "pinned"),
            (deployment.batching, "max_batch_size"),
            (deployment.batching, "max_queue_delay_microseconds"),
            (deployment.queue, "max_queue_size"),
        ):
            if (value := getattr(self, name)) is not None:
                setattr(target, name, value)
        if self.feedback is not None and self.feedback != deployment.feedback.is_expected:
            deployment.feedback.Clear()
            deployment.feedback.is_expected = self.feedback
        if self.optimize is not None:
            deployment.optimization = getattr(OptimizationLevel, f"OPTIMIZATION_LEVEL_{self.optimize.upper()}")


UNCHANGED = Serving()
"""Leaves everything as it is."""
