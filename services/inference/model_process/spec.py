"""What an agent tells a model process: a line of JSON on its standard input, which stays open while the agent lives."""

from __future__ import annotations

import dataclasses
import json
import secrets
from dataclasses import dataclass
from typing import Any

from services.common.logs import LogFormat
from services.inference.domain.fleet import Batching
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.domain.signature import Signature
from services.inference.domain.sketching import SketchInputs
from services.inference.domain.variants import ORIGINAL, Variant


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """Everything that a model process has to know; it reads no environment."""

    consumer: str
    model: str
    version: str
    path: str
    format: str
    signature: Signature
    batching: Batching
    redis_url: str
    otlp_endpoint: str = ""
    log_level: str = "INFO"
    log_format: LogFormat = "ecs"
    device: str = "auto"
    threads: int = 1
    drain_timeout_s: float = 10.0
    orphan_timeout_s: float = 60.0
    shared_payload_bytes: int = 256 * 2**20
    manifest: Manifest = NOTHING_SAID
    is_confined: bool = False
    variant: Variant = ORIGINAL
    probe_period_s: float = 0.0
    """0: the model isn't probed."""
    sketch_inputs: SketchInputs = "all"
    tells_predictions: bool = False
    """Whether it tells what it answered to whom, so that labels can be joined to it."""
    files: tuple[str, ...] = ()
    """Names of the version's files, to be hashed after the load."""
    digest: str = ""
    """What the registry says that comes of that."""

    @property
    def is_probed(self) -> bool:
        """Whether the model is probed, if it can be: somebody must hear of it."""
        return bool(self.probe_period_s and self.otlp_endpoint)

    def to_json(self) -> str:
        return json.dumps({**dataclasses.asdict(self), "variant": dict(self.variant.options)})

    @classmethod
    def from_json(cls, text: str | bytes) -> ProcessSpec:
        fields: dict[str, Any] = json.loads(text)
        return cls(
            **{
                **fields,
                "signature": Signature.from_json(fields["signature"]),
                "manifest": Manifest.from_json(fields["manifest"]),
                "batching": Batching(**fields["batching"]),
                "variant": Variant.of(fields.get("variant", {})),
                "files": tuple(fields.get("files", ())),
            }
        )


def consumer_name(instance: str, incarnation: str) -> str:
    """A name in the lane's consumer group: of the instance, the agent's incarnation, and new for each process.

    An instance's name ends with the number of its replica.
    """
    return f"{instance}@{incarnation}.{secrets.token_hex(3)}"


def is_successor(consumer: str, other: str) -> bool:
    """Whether ``consumer`` is the replica that ``other`` is, started by another agent or another life of it."""
    return _replica(consumer) == _replica(other) and _incarnation(consumer) != _incarnation(other)


def _replica(consumer: str) -> str:
    return consumer.rpartition("@")[0].rpartition(".")[2]


def _incarnation(consumer: str) -> str:
    return consumer.rpartition("@")[2].partition(".")[0]
