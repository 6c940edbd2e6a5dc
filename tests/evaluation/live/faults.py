"""What is done to a running suite, and what the monitor is to say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.registry.v1 import registry_service_pb2 as registry_pb
from penstock.registry.v1 import resources_pb2
from services.monitor.domain.phases import Cause, Phase, Severity, Signal
from tests.evaluation.live import model
from tests.evaluation.live.callers import Callers
from tests.evaluation.scenarios import Expected
from tests.support.suite import Suite

PROBE_PERIOD_S = 30
"""A model process probes itself so often (services/inference/settings.py)."""
_TOLD_S = 5
_TIMES, _PREFERRED, _OFTEN = 3, 3, 4


@dataclass(frozen=True, slots=True)
class LiveFault:
    """``hurt`` gets the suite, its callers and the model's name, and returns the replica that it hurt, or nothing.

    ``within_s``: so soon it must have been told. ``loops`` lengthen a run of the model.
    """

    name: str
    model: str
    hurt: Callable[[Suite, Callers, str], str]
    expected: Expected
    within_s: float
    replicas: int = 1
    loops: int = 1


def _slow_replica(suite: Suite, _callers: Callers, name: str) -> str:
    instance = _instances(suite, name)[0]
    model.slow(suite, name, pid=instance.pid, times=_TIMES)
    return str(instance.instance)


def _other_weights(suite: Suite, _callers: Callers, name: str) -> str:
    model.exchange_classes(suite, name)
    return _only_replica(suite, name)


def _instances(suite: Suite, name: str) -> Sequence[resources_pb2.InstanceStatus]:
    answer = suite.registry.GetDeployment(registry_pb.GetDeploymentRequest(name=f"deployments/{name}"))
    return answer.deployment.instances


def _only_replica(suite: Suite, name: str) -> str:
    (instance,) = _instances(suite, name)
    return str(instance.instance)


def _other_labels(_suite: Suite, callers: Callers, name: str) -> str:
    callers.prefer(name, _PREFERRED, _OFTEN)
    return ""


def _not_a_number(suite: Suite, _callers: Callers, name: str) -> str:
    model.spoil(suite, name)
    return ""


LIVE = (
    LiveFault(
        f"one of two replicas takes {_TIMES} times as long", "limping", _slow_replica,
        Expected(frozenset({Signal.LATENCY}), Cause.REPLICA, Phase.COMPUTE_INFER, is_replicas=True),
        within_s=5, replicas=2, loops=1_500,
    ),
    LiveFault(
        "two classes are exchanged in the weights", "exchanged", _other_weights,
        Expected(frozenset({Signal.PROBE}), Cause.REPLICA, is_replicas=True),  # the only one: others may answer rightly
        within_s=PROBE_PERIOD_S + _TOLD_S,
    ),
    LiveFault(
        f"callers ask for one digit {_OFTEN} times as often", "asked", _other_labels,
        Expected(frozenset({Signal.INPUTS, Signal.CLASS_MIX}), Cause.INPUTS, severity=Severity.TICKET),
        within_s=60,
    ),
    LiveFault(
        "every answer is NaN", "spoilt", _not_a_number,
        Expected(frozenset({Signal.NONFINITE}), Cause.VERSION),
        within_s=5,
    ),
)  # fmt: skip
