"""How a version gets from PENDING to READY or REJECTED."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.common.errors import AbortedError, InvalidArgumentError
from services.registry.domain.lifecycle import LEASE_NS, Verdict, claim, conclude, is_repeated
from services.registry.domain.resources import (
    Artifact,
    ModelVersion,
    Signature,
    TensorSpec,
    ValidationReport,
    VersionState,
)

PENDING = ModelVersion(model="m", number=1, files=(Artifact("0" * 64, 1),), update_time_ns=1)
SIGNATURE = Signature((), (TensorSpec("y", "FP32", (-1,)),))
GOOD = Verdict(node="nodes/a", rejection="", signature=SIGNATURE, format="onnx", report=ValidationReport("nodes/x"))
BAD = replace(GOOD, rejection="corrupt", signature=None)


def test_a_claim_is_a_lease() -> None:
    claimed = claim(PENDING, node="nodes/a", now_ns=100)

    assert (claimed.state, claimed.claim_node) == (VersionState.VALIDATING, "nodes/a")
    assert (claimed.update_time_ns, claimed.claim_end_ns) == (100, 100 + LEASE_NS)


def test_a_renewed_claim_is_no_change_of_state() -> None:
    renewed = claim(claim(PENDING, node="nodes/a", now_ns=100), node="nodes/b", now_ns=200)

    assert (renewed.update_time_ns, renewed.claim_end_ns, renewed.claim_node) == (100, 200 + LEASE_NS, "nodes/b")


def test_a_good_verdict_makes_a_version_ready() -> None:
    ready = conclude(claim(PENDING, node="nodes/a", now_ns=100), GOOD, now_ns=200)

    assert (ready.state, ready.signature, ready.format) == (VersionState.READY, SIGNATURE, "onnx")
    assert ready.validation_report == ValidationReport("nodes/a", complete_time_ns=200)
    assert is_repeated(ready, GOOD)
    assert not is_repeated(ready, BAD)


def test_a_bad_verdict_rejects_it() -> None:
    rejected = conclude(claim(PENDING, node="nodes/a", now_ns=100), BAD, now_ns=200)

    assert (rejected.state, rejected.state_reason) == (VersionState.REJECTED, "corrupt")
    assert rejected.signature is None


@pytest.mark.parametrize("state", [state for state in VersionState if state is not VersionState.VALIDATING])
def test_only_a_version_under_validation_is_concluded(state: VersionState) -> None:
    with pytest.raises(AbortedError, match=state.name):
        conclude(replace(PENDING, state=state, claim_node="nodes/a"), GOOD, now_ns=200)


def test_only_who_claimed_it_concludes_it() -> None:
    with pytest.raises(AbortedError, match="nodes/b"):
        conclude(claim(PENDING, node="nodes/b", now_ns=100), GOOD, now_ns=200)


def test_a_good_version_needs_a_signature() -> None:
    with pytest.raises(InvalidArgumentError, match="signature"):
        conclude(claim(PENDING, node="nodes/a", now_ns=100), replace(GOOD, signature=None), now_ns=200)


def test_what_one_agent_cannot_judge_waits_for_another_that_can() -> None:
    claimed = claim(PENDING, node="nodes/a", now_ns=100)

    report = replace(GOOD.report, libraries=("pillow",))
    back = conclude(claimed, replace(GOOD, format="keras", report=report, handed_back="needs keras"), now_ns=200)

    assert (back.state, back.state_reason, back.format) == (VersionState.PENDING, "needs keras", "keras")
    assert (back.claim_node, back.claim_end_ns, back.signature) == ("", 0, None)
    assert back.validation_report == ValidationReport(node="", libraries=("pillow",))
    assert claim(back, node="nodes/b", now_ns=300).state_reason == ""
    said = replace(claimed, format="onnx")
    assert conclude(said, replace(GOOD, format="", handed_back="no room"), now_ns=200).format == "onnx"


def test_a_format_that_was_not_told_stays_as_it_was_said() -> None:
    said = replace(claim(PENDING, node="nodes/a", now_ns=100), format="torch_export")

    concluded = conclude(said, replace(GOOD, format=""), now_ns=200)

    assert concluded.format == "torch_export"
