"""Validates new versions: claims one, loads it in a process of its own, reports what it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import psutil

from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1 import resources_pb2 as pb
from services.common.errors import AbortedError, DataLossError, NotFoundError, PenstockError, ResourceExhaustedError
from services.common.times import duration
from services.common.trust import Outcome
from services.inference import backends, processing
from services.inference.adapters.child import Child, Event
from services.inference.admission import Admission
from services.inference.domain.signature import Signature
from services.inference.inspector import Inspection
from services.inference.instance import Artifacts
from services.inference.resources import content_of, manifest_of, signature_message

_log = logging.getLogger(__name__)

_MODULE = "services.inference.inspector"
_RENEW_CLAIM_S = 20.0
_MEMORY_CHECK_S = 0.1
_NO_ROOM_PAUSE_S = 30.0


class Registry(Protocol):
    """Who gives out versions to validate."""

    async def claim_validation(
        self, formats: Sequence[str], libraries: Sequence[str], *, excluded: Collection[str] = ()
    ) -> registry_pb.ClaimValidationResponse | None: ...

    async def report_validation(self, request: registry_pb.ReportValidationRequest) -> None: ...


class Validator:
    """Validates one version at a time. ``memory_bytes`` and ``timeout_s`` limit what one may take."""

    def __init__(
        self,
        registry: Registry,
        artifacts: Artifacts,
        admission: Admission,
        *,
        device: str,
        threads: int,
        timeout_s: float,
        memory_bytes: int,
        is_confined: bool,
        is_scanning: bool,
    ) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._admission = admission
        self._device = device
        self._threads = threads
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._is_confined = is_confined
        self._is_scanning = is_scanning
        self._has = backends.installed_formats(), processing.installed_libraries()
        self._retries: dict[str, float] = {}
        """When versions may be tried again that there was no room for, by their resource names."""

    async def validate_pending(self) -> None:
        """Validate until nothing is left to claim.

        Raises:
            PenstockError: the registry is away; what was claimed is ours again at the next claim.
        """
        while (claim := await self._claim()) is not None:
            version = claim.model_version
            _log.info("validating %s", version.name)
            renewing = asyncio.create_task(self._renew_claim())
            try:
                report = await self._examine(claim)
            finally:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)
            with contextlib.suppress(AbortedError, NotFoundError):  # another's by now, or deleted meanwhile
                await self._registry.report_validation(report)
            _log.info("validated %s: %s", version.name, report.handed_back or report.rejection or "ready")

    async def _claim(self) -> registry_pb.ClaimValidationResponse | None:
        now = time.monotonic()
        self._retries = {name: when for name, when in self._retries.items() if when > now}
        return await self._registry.claim_validation(*self._has, excluded=self._retries)

    async def _renew_claim(self) -> None:
        """A claim lasts a minute, loading may last longer: claim again, which gives us our own."""
        while True:
            await asyncio.sleep(_RENEW_CLAIM_S)
            with contextlib.suppress(PenstockError):
                await self._registry.claim_validation(*self._has)

    async def _examine(self, claim: registry_pb.ClaimValidationResponse) -> registry_pb.ReportValidationRequest:
        version = claim.model_version
        report = registry_pb.ReportValidationRequest(name=version.name, format=version.format)
        report.validation_report.complete_time.GetCurrentTime()
        content = content_of(version)
        with self._artifacts.hold(content):
            try:
                path = await self._artifacts.fetch(content, lambda _: None)
            except DataLossError as error:
                report.rejection = error.message
                return report
            except ResourceExhaustedError as error:
                self._retries[version.name] = time.monotonic() + _NO_ROOM_PAUSE_S
                report.handed_back = error.message
                return report
            finding, refusal = await self._admission.examine(version, path, claim.signing_keys, claim.trust_policy)
            if refusal:
                report.rejection = refusal
                return report
            is_signed = finding.outcome is Outcome.VERIFIED
            verdict = await self._inspect(path, version, is_trusted=version.trusted or is_signed)
        report.validation_report.complete_time.GetCurrentTime()
        report.validation_report.libraries.extend(verdict.get("libraries", ()))
        if "handed_back" in verdict:
            report.format, report.handed_back = verdict["format"], verdict["handed_back"]
            return report
        if "rejection" in verdict:
            report.rejection = verdict["rejection"]
            _add_probes(report, verdict.get("probes", ()))
            return report
        _fill(report, verdict)
        if is_signed:
            detail = f"by {finding.key}, over {len(version.files) - 1} files"
            report.validation_report.probes.add(name="signature", outcome=pb.Probe.OUTCOME_PASSED, detail=detail)
        return report

    async def _inspect(self, path: Path, version: pb.ModelVersion, *, is_trusted: bool) -> Mapping[str, Any]:
        """The verdict of a process of its own, or a rejection that says how that ended."""
        verdicts: list[Event] = []
        request = Inspection(
            str(path),
            version.format,
            is_trusted,
            self._device,
            self._threads,
            manifest_of(version),
            self._is_confined,
            self._is_scanning,
        )
        child = await Child.start(_MODULE, json.dumps(asdict(request)), verdicts.append)
        ending = asyncio.create_task(child.wait())
        limit = asyncio.create_task(self._watch_memory(child.pid))
        try:
            await asyncio.wait((ending, limit), timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if limit.done():
                return {"rejection": f"loading took more than {self._memory_bytes >> 20} MiB of memory"}
            if not ending.done():
                return {"rejection": f"loading and a first inference took longer than {self._timeout_s:.0f} s"}
            return verdicts[0] if verdicts else {"rejection": f"loading crashed: the process {ending.result()}"}
        finally:
            limit.cancel()
            child.kill()
            await ending

    async def _watch_memory(self, pid: int) -> None:
        """Returns when the process takes more than it may."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            while process.memory_info().rss <= self._memory_bytes:  # noqa: ASYNC110 - nothing tells but looking
                await asyncio.sleep(_MEMORY_CHECK_S)
            return
        await asyncio.Event().wait()


def _fill(report: registry_pb.ReportValidationRequest, verdict: Mapping[str, Any]) -> None:
    report.format = verdict["format"]
    report.signature.CopyFrom(signature_message(Signature.from_json(verdict["signature"])))
    report.validation_report.backend = verdict["backend"]
    report.validation_report.device = verdict["device"]
    report.validation_report.load_duration.CopyFrom(duration(int(verdict["load_s"] * 1e9)))
    report.validation_report.infer_duration.CopyFrom(duration(int(verdict["infer_s"] * 1e9)))
    _add_probes(report, verdict["probes"])
    for one in verdict["batches"]:
        took = duration(int(one["duration_s"] * 1e9))
        report.validation_report.batches.add(rows=one["rows"], duration=took, peak_bytes=one["peak_bytes"])
    report.validation_report.resident_bytes = verdict["resident_bytes"]


def _add_probes(report: registry_pb.ReportValidationRequest, probes: Iterable[Mapping[str, str]]) -> None:
    for one in probes:
        outcome = pb.Probe.Outcome.Value(f"OUTCOME_{one['outcome']}")
        report.validation_report.probes.add(name=one["name"], outcome=outcome, detail=one["detail"])
