"""How a version gets from PENDING to READY or REJECTED."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.common.datatypes import datatype
from services.common.errors import AbortedError, InvalidArgumentError
from services.registry.domain.limits import shorten
from services.registry.domain.resources import (
    ModelVersion,
    Signature,
    TensorSpec,
    ValidationReport,
    VersionState,
)

LEASE_NS = 60 * 10**9
"""How long an agent has to report before its claim may go to another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an agent says at the end of a validation. An empty ``rejection`` means that the version is good.

    ``handed_back`` says why another agent is to judge it.
    """

    node: str
    rejection: str
    signature: Signature | None
    format: str
    report: ValidationReport
    handed_back: str = ""

    @property
    def state(self) -> VersionState:
        return VersionState.REJECTED if self.rejection else VersionState.READY


def claim(version: ModelVersion, *, node: str, now_ns: int) -> ModelVersion:
    """The version with a fresh lease for ``node``. Its state's time moves only when the state does."""
    return replace(
        version,
        state=VersionState.VALIDATING,
        state_reason="",
        update_time_ns=version.update_time_ns if version.state is VersionState.VALIDATING else now_ns,
        claim_node=node,
        claim_end_ns=now_ns + LEASE_NS,
    )


def is_repeated(version: ModelVersion, verdict: Verdict) -> bool:
    """Whether the verdict was taken before: an agent repeats it when the answer got lost."""
    return version.state is verdict.state and version.claim_node == verdict.node


def conclude(version: ModelVersion, verdict: Verdict, *, now_ns: int) -> ModelVersion:
    """The version after the verdict.

    Raises:
        AbortedError: the version is not claimed by the verdict's node (any more).
        InvalidArgumentError: a good version comes without a usable signature.
    """
    if version.state is not VersionState.VALIDATING or version.claim_node != verdict.node:
        raise AbortedError(
            f"{version.name} is {version.state.name}, claimed by {version.claim_node or 'nobody'}, "
            f"expected VALIDATING, claimed by {verdict.node}"
        )
    if verdict.handed_back:
        return _hand_back(version, verdict, now_ns=now_ns)
    if not verdict.rejection:
        check_signature(verdict.signature)
    return replace(
        version,
        state=verdict.state,
        state_reason=shorten(verdict.rejection),
        signature=None if verdict.rejection else verdict.signature,
        format=verdict.format or version.format,
        validation_report=replace(
            verdict.report, node=verdict.node, complete_time_ns=verdict.report.complete_time_ns or now_ns
        ),
        update_time_ns=now_ns,
        claim_end_ns=0,
    )


def _hand_back(version: ModelVersion, verdict: Verdict, *, now_ns: int) -> ModelVersion:
    """Keep what the agent found out, which is nothing where it had no room for the files."""
    found = ValidationReport(node="", libraries=verdict.report.libraries)
    return replace(
        version,
        state=VersionState.PENDING,
        state_reason=shorten(verdict.handed_back),
        format=verdict.format or version.format,
        validation_report=found if verdict.format else version.validation_report,
        update_time_ns=now_ns,
        claim_node="",
        claim_end_ns=0,
    )


def check_signature(signature: Signature | None) -> None:
    """Refuse a signature that no request could be checked against."""
    if signature is None or not signature.outputs:
        raise InvalidArgumentError("got no signature with an output, expected one with a good version")
    if signature.max_batch_size < 0:
        raise InvalidArgumentError(f"got max_batch_size {signature.max_batch_size}, expected 0 or more")
    if signature.decoupled and signature.batchable:
        raise InvalidArgumentError("got a signature that is decoupled and batchable, expected one of them")
    _check_tensors("input", signature.inputs)
    _check_tensors("output", signature.outputs)


def _check_tensors(role: str, tensors: Sequence[TensorSpec]) -> None:
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise InvalidArgumentError(f"got two {role}s of one name, expected each once")
    for tensor in tensors:
        datatype(tensor.datatype)
        if not tensor.name or any(size < -1 for size in tensor.shape):
            raise InvalidArgumentError(
                f"got {role} {tensor.name!r} of shape {list(tensor.shape)}, expected a name and sizes of -1 or more"
            )
