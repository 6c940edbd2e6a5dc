"""What the registry says of labels: whose answers are kept for them, for how long, and what classes are called."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.watch import ResourceCache

RETENTION_NS = 7 * 86_400 * 10**9
"""Where nothing is known of a deployment, as long as the registry is away, or once it is gone."""


class FeedbackTerms:
    """Reads from a copy of the registry's resources, which may not be there yet."""

    def __init__(self, resources: ResourceCache) -> None:
        self._resources = resources

    def tells_predictions(self, model: str) -> bool | None:
        """Whether answers are kept for labels; None where that isn't known."""
        deployment = self._resources.deployments.get(f"deployments/{model}")
        if deployment is None:
            return False if self._resources.is_complete else None
        return deployment.feedback.is_expected

    def retention_ns(self, model: str) -> int:
        """How long answers wait for labels."""
        deployment = self._resources.deployments.get(f"deployments/{model}")
        said = 0 if deployment is None else deployment.feedback.retention_duration.ToNanoseconds()
        return said or RETENTION_NS

    def class_names(self, model: str, version: str) -> Sequence[str]:
        """Names of a version's classes; empty where it has none, or they aren't known."""
        known = self._resources.versions.get(f"models/{model}/versions/{version}")
        outputs = () if known is None else known.signature.outputs
        return next((tuple(one.labels) for one in outputs if one.labels), ())
