"""Prometheus' rules for a suite, as a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.export import slo_rules, suite_rules, yaml_text
from penstock.registry.v1.resources_pb2 import Deployment

_DEFAULT_QUEUE = 10_000
"""What the registry takes for ``max_queue_size`` 0."""
_HEAD = """\
# Rules for Prometheus, written by `penstock export rules`. Write them anew when a model is deployed, undeployed, or
# promises something else (`penstock slo`).
"""


def rules(deployments: Iterable[Deployment], *, with_incidents: bool) -> str:
    """The text of a rules file; ``with_incidents`` adds an alert for each open incident."""
    by_model = sorted(((one.name.removeprefix("deployments/"), one) for one in deployments), key=lambda named: named[0])
    return _HEAD + yaml_text.dumped({"groups": _groups(by_model, with_incidents=with_incidents)})


def _groups(by_model: list[tuple[str, Deployment]], *, with_incidents: bool) -> list[dict[str, Any]]:
    groups = suite_rules.suite_groups()
    if with_incidents:
        groups.append(suite_rules.incident_group())
    queues = [suite_rules.queue_rule(model, one.queue.max_queue_size or _DEFAULT_QUEUE) for model, one in by_model]
    if queues:
        groups.append({"name": "penstock-queues", "rules": queues})
    of_models = (slo_rules.group(model, one.slo) for model, one in by_model)
    return [*groups, *(group for group in of_models if group["rules"])]
