"""What the registry says of labels."""

from __future__ import annotations

from penstock.registry.v1 import resources_pb2 as pb
from services.common.watch import ResourceCache
from services.monitor.adapters.feedback_terms import RETENTION_NS, FeedbackTerms


def test_terms_are_those_of_the_deployment_and_its_versions() -> None:
    resources = ResourceCache(lambda: None)
    terms = FeedbackTerms(resources)
    assert (terms.tells_predictions("m"), terms.retention_ns("m"), terms.class_names("m", "1")) == (
        None,
        RETENTION_NS,
        (),
    )

    resources.is_complete = True
    assert terms.tells_predictions("m") is False
    resources.deployments["deployments/m"] = pb.Deployment(name="deployments/m")
    assert (terms.tells_predictions("m"), terms.retention_ns("m")) == (False, RETENTION_NS)

    feedback = pb.FeedbackConfig(is_expected=True)
    feedback.retention_duration.FromSeconds(60)
    resources.deployments["deployments/m"] = pb.Deployment(name="deployments/m", feedback=feedback)
    scores = pb.TensorSpec(name="scores", datatype="FP32", labels=["cat", "dog"])
    signature = pb.Signature(outputs=[pb.TensorSpec(name="rest", datatype="FP32"), scores])
    resources.versions["models/m/versions/1"] = pb.ModelVersion(name="models/m/versions/1", signature=signature)

    assert (terms.tells_predictions("m"), terms.retention_ns("m")) == (True, 60 * 10**9)
    assert terms.class_names("m", "1") == ("cat", "dog")
