"""How a model is retrained, and what becomes of what comes of it. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """A program on the monitor's machine. ``passed_on`` names variables that it gets of the monitor's environment."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    passed_on: tuple[str, ...] = ()

    kind = "command"

    def __str__(self) -> str:
        return f"command {self.arguments[0]}"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that is posted to. Both files hold a secret: for the signature, and that header's value."""

    url: str
    secret_file: str = ""
    authorization_file: str = ""

    kind = "webhook"

    def __str__(self) -> str:
        return f"webhook {self.url}"


@dataclass(frozen=True, slots=True)
class KubernetesJob:
    """A Job made of ``template``, the Job as the API has it, by a service account."""

    template: Mapping[str, Any]
    namespace: str
    api: str
    token_file: str
    ca_file: str = ""

    kind = "kubernetes"

    def __str__(self) -> str:
        return f"Kubernetes Job in {self.namespace}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a rollout; 0 takes the registry's default."""

    candidate_share: float = 0.0
    shadow_share: float = 0.0
    min_request_count: int = 0
    min_duration_s: float = 0.0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Guard:
    """What a new version must not be worse in, by names of ``Guardrail`` without their prefixes; 0 is the default."""

    signal: str
    phase: str = ""
    level: float = 0.0
    margin: float = 0.0
    margin_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a new version is rolled out; what is empty or None takes the registry's default."""

    strategy: str = ""
    """A name of ``RolloutPlan.Strategy`` without its prefix."""
    steps: tuple[Step, ...] = ()
    sticky_key: str = ""
    alias: str = ""
    is_manual: bool = False
    alpha: float = 0.0
    keep_warm_s: float | None = None
    load_s: float = 0.0
    guardrails: tuple[Guard, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to retrain. Times in seconds.

    It is ended after ``deadline_s``, or when it gave no sign of life for ``silence_s`` (0: that is no matter).
    ``window_s`` is how much of what was before the change belongs to the data window. Paths that it reports must lie
    below ``folder``. ``plan`` None: what comes of it is imported, and not rolled out.
    """

    runner: Command | Webhook | KubernetesJob
    folder: str = ""
    deadline_s: float = 3_600.0
    silence_s: float = 0.0
    window_s: float = 3_600.0
    is_trusted: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    plan: Plan | None = Plan()
