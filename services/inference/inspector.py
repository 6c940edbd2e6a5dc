"""``python -m services.inference.inspector``: loads a new version once, in a process of its own, and says what it is.

One JSON line in, one out: the file may crash or fill this process, and nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from services.common.errors import PenstockError
from services.inference import backends, processing, sandbox
from services.inference.backends import Backend, LoadError, ModelFiles, Placement, RunError, scanners
from services.inference.domain.fleet import effective_batch_size
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.model_process.control import end_with_agent, take_standard_output
from services.inference.probes import CLEAR_REFS, Outcome, Probe, Prober, StreamProber
from services.inference.warm_up import warm_up

_FREE_BYTES = 1 << 30
"""Largest file that a process may write while it tries a version, besides twice what that takes."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What to inspect. ``format`` is empty where the author didn't say.

    ``is_confined``: the process gives up what it has no need of. ``is_scanned``: a scanner looks at what can run code.
    """

    path: str
    format: str
    is_trusted: bool
    device: str
    threads: int
    manifest: Manifest = NOTHING_SAID
    is_confined: bool = False
    is_scanned: bool = False


def inspect(request: Inspection) -> dict[str, Any]:
    """The verdict: what the file is and how it behaves.

    Raises:
        LoadError: it must be rejected.
    """
    files = ModelFiles(Path(request.path))
    backend = backends.recognise(files)
    if request.format and request.format != backend.format:
        raise LoadError(f"the version says its format is {request.format}, but the content is {backend.format}")
    libraries = processing.libraries_of(*backend.steps(files, request.manifest))
    if lack := _lack(backend, libraries):
        return {"format": backend.format, "libraries": libraries, "handed_back": lack}
    danger = backend.danger(files) if request.is_scanned or not request.is_trusted else ""
    if danger and not request.is_trusted:
        raise LoadError(
            f"a model in the format {backend.format} {danger}: mark the version as trusted if you vouch for it, "
            "sign it with a key that the registry has, or use ONNX"
        )
    if request.is_confined and not backend.is_elsewhere:
        sandbox.disconnect()
    scan = [_scan(files)] if danger else []
    if any(one.outcome is Outcome.FAILED for one in scan):
        return {"rejection": scan[0].detail, "probes": list(map(asdict, scan))}
    started = time.perf_counter()
    model = backends.load(files, backend.format, Placement(request.device, request.threads), manifest=request.manifest)
    load_s = time.perf_counter() - started
    signature = model.signature
    prober = (StreamProber if signature.is_decoupled else Prober)(model)
    probes = list(prober.probe())
    if any(one.outcome is Outcome.FAILED for one in probes):
        signature = replace(signature, is_batchable=False, max_batch_size=0)
    batches = list(prober.measure(signature))
    return {
        "format": backend.format,
        "backend": backend.library,
        "libraries": libraries,
        "device": model.device,
        "signature": asdict(signature),
        "load_s": load_s,
        "infer_s": warm_up(model, signature, rows=effective_batch_size(0, signature)).row_s,
        "probes": list(map(asdict, (*scan, *probes))),
        "batches": list(map(asdict, batches)),
        "resident_bytes": prober.resident_bytes,
    }


def _lack(backend: Backend, libraries: Sequence[str]) -> str:
    """What this node lacks; empty where it has the backend's library, and these."""
    missing = sorted(set(libraries) - set(processing.installed_libraries()))
    if not backends.is_installed(backend):
        needs = f"format {backend.format} needs {backend.library}"
    elif missing:
        needs = f"a step needs {missing[0]}"
    else:
        return ""
    return f"{needs}, no agent so far has it installed"


def _scan(files: ModelFiles) -> Probe:
    try:
        return Probe("scan", Outcome.PASSED, scanners.scan(files))
    except LoadError as error:
        return Probe("scan", Outcome.FAILED, str(error))


def main() -> None:
    end_with_agent()
    events = take_standard_output()
    fields = json.loads(sys.stdin.readline())
    request = Inspection(**{**fields, "manifest": Manifest.from_json(fields["manifest"])})
    with sandbox.scratch() as folder:
        if request.is_confined:
            sandbox.restrict(read=[Path(request.path)], write=[CLEAR_REFS], scratch=folder)
            sandbox.limit_files(_FREE_BYTES + 2 * ModelFiles(Path(request.path)).size_bytes)
        events.write(json.dumps(_verdict(request)).encode() + b"\n")


def _verdict(request: Inspection) -> dict[str, Any]:
    try:
        return inspect(request)
    except (LoadError, RunError) as error:
        return {"rejection": str(error)}
    except PenstockError as error:
        return {"rejection": error.message}


if __name__ == "__main__":
    main()
