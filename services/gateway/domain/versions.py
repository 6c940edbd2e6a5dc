"""A model version as the gateway serves it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

DEFAULT_MAX_BATCH_SIZE = 64
DEFAULT_MAX_QUEUE_SIZE = 10_000
DEFAULT_TIMEOUT_US = 60_000_000
DEFAULT_MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a signature; the shape includes the batch dimension, -1 stands for a free dimension.

    ``itemsize`` is the size of an element in bytes, 0 for BYTES.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    itemsize: int

    def __str__(self) -> str:
        return f"'{self.name}' {self.datatype} {list(self.shape)}"


@dataclass(frozen=True)
class ServedVersion:
    """What the registry says of one deployed version, defaults filled in.

    ``max_batch_size`` is 0 for a version without a batch dimension, as in Triton. ``priority_levels`` is 0 where all
    requests are equal. ``gateway_processes`` share the queue's places.
    """

    model: str
    version: str
    platform: str
    backend: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int = 0
    max_queue_delay_us: int = 0
    max_queue_size: int = DEFAULT_MAX_QUEUE_SIZE
    default_timeout_us: int = DEFAULT_TIMEOUT_US
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    priority_levels: int = 0
    default_priority: int = 0
    replicas: int = 1
    gateway_processes: int = 1
    is_decoupled: bool = False
    """Whether a request is answered by a stream of responses."""

    @cached_property
    def queue_places(self) -> int:
        """How many unsettled requests this process may have."""
        return -(-self.max_queue_size // self.gateway_processes)

    @cached_property
    def inputs_by_name(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in self.inputs}

    @cached_property
    def outputs_by_name(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in self.outputs}

    @cached_property
    def takes_any_contents(self) -> bool:
        """Whether any bytes of the right number are a tensor; elements of BYTES say their own lengths."""
        return all(spec.itemsize for spec in self.inputs)

    def priority_of(self, requested: int) -> int:
        """The lane's priority for a request; one that names none, or one beyond the last, gets the default."""
        if self.priority_levels == 0:
            return 0
        return requested if 1 <= requested <= self.priority_levels else self.default_priority
