"""What the inference agent is told by the environment."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.inference.domain.sketching import SketchInputs


class InferenceSettings(BaseSettings):
    """Settings of the inference agent (`PENSTOCK_INFERENCE__…`)."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_INFERENCE__", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    port: int = Field(default=8011, ge=0, le=65535)
    """Port of the agent's gRPC API."""
    metrics_port: int = Field(default=8012, ge=0, le=65535)
    """Port of `/metrics`."""
    node: str = "local"
    """Id of this node; each agent of a fleet needs its own."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Device that models run on: `auto` (CUDA where there is one, else the CPU), `cpu` or `cuda:0`."""
    threads: int = Field(default=0, ge=0)
    """Processor threads of one execution; 0 takes half of the processors that this process may use."""
    max_instances: int = Field(default=0, ge=0)
    """Most model processes that are placed on this node; 0: as many as there is memory for."""
    cache_bytes: int = Field(default=0, ge=0)
    """Most bytes of models that are kept on this node's disk; what was not used for the longest time makes room.
    0: nine tenths of what other files leave of the disk."""
    leave_timeout_s: float = Field(default=10.0, ge=0)
    """Longest that an agent that is asked to stop waits for other nodes to take requests in its place, in seconds."""
    drain_timeout_s: float = Field(default=10.0, gt=0)
    """Longest that a model process waits for gateways to take its last replies, in seconds; then it is ended."""
    probe_period_s: float = Field(default=30.0, ge=0, le=600)
    """How often each model process runs a made-up row with a known answer through its model, in seconds, while nothing
    waits for it; 0: never. Rarer where a row takes more than a five-hundredth of that. Models in Python are left alone
    unless their manifest has the option `probe = "on"`, and others if it has `probe = "off"`."""
    sketch_inputs: SketchInputs = "all"
    """What the monitor is told of callers' inputs, of 256 requests a second and process at most. `all`: the first row
    as it is where it has no more than 32 numbers, projections of any other; `projections`: only those, of rows of more
    than 32 numbers; `off`: nothing."""
    validation_timeout_s: float = Field(default=300.0, gt=0)
    """Longest that loading and trying a new version may take, in seconds."""
    validation_memory_share: float = Field(default=0.8, gt=0, le=1)
    """Share of the machine's memory that loading and trying a new version may take."""
    confine: bool = True
    """Whether processes that load models give up what they have no need of, where the kernel has Landlock: files that
    are neither the system's nor the model's, listening, and, while a version is tried, the network."""

    scanner: Literal["off", "picklescan"] = "off"
    """Scanner that gives a second opinion on new versions which can run code, besides trust or a signature. What it
    finds, and that it finds nothing to scan or can't read, rejects them. `picklescan` needs `penstock[scanner]`."""

    optimization: Literal["off", "fast", "full"] = "full"
    """Most that this node does to run versions faster, whatever deployments ask for; `off`: they run as they are."""
    optimization_niceness: int = Field(default=19, ge=0, le=19)
    """How far a search for a faster way steps back behind everything else on this node; 19 takes idle time only."""
    optimization_memory_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the memory that is free when a search begins that it may take."""

    @field_validator("scanner")
    @classmethod
    def _is_there(cls, name: str) -> str:
        if name != "off" and importlib.util.find_spec(name) is None:
            raise ValueError(f"{name} is not installed: pip install 'penstock[scanner]'")
        return name

    def driver_id(self, gpu: int) -> str:
        """What the driver calls the GPU with this number: `CUDA_VISIBLE_DEVICES` may leave some out."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        return (visible[gpu] if gpu < len(visible) else "") or str(gpu)

    @property
    def effective_threads(self) -> int:
        """The number of threads asked for, or half of the processors."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // 2)
