"""The parts that act on incidents, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import InvalidArgumentError
from services.monitor import outlets
from services.monitor.actions import Actor
from services.monitor.adapters.action_store import ActionStore
from services.monitor.adapters.commands import Commands
from services.monitor.adapters.kubernetes import KubernetesJobs
from services.monitor.adapters.webhooks import Webhooks
from services.monitor.domain import policy_files
from services.monitor.domain.incidents import Incident
from services.monitor.domain.policies import Policy
from services.monitor.domain.probe_book import ProbeBook
from services.monitor.domain.probe_reports import ProbeOutcome
from services.monitor.introductions import Introductions
from services.monitor.retraining_steps import WEBHOOK, RetrainingSteps
from services.monitor.retrainings import Retrainings
from services.monitor.settings import MonitorSettings


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts, and what is remembered of it."""

    store: ActionStore
    actor: Actor
    retrainings: Retrainings

    async def adopt(self) -> None:
        """Go on with what was under way.

        Raises:
            UnavailableError: the database can't be used.
        """
        await self.retrainings.adopt()
        await self.actor.adopt()


def build(
    settings: MonitorSettings,
    store: ActionStore,
    *,
    home: Path,
    open_incidents: Callable[[], Iterable[Incident]],
    probes: ProbeBook,
    registry_address: Callable[[], str],
    clock: Callable[[], int],
) -> Acting:
    """``clock`` gives Unix nanoseconds.

    Raises:
        InvalidArgumentError: the policies can't be used.
    """
    policies, folder = read_policies(settings.policies), home / "retrainings"
    commands = Commands(folder)
    steps = RetrainingSteps(
        {"command": commands, WEBHOOK: Webhooks(clock=clock), "kubernetes": KubernetesJobs(clock=clock)},
        Introductions(folder, commands, registry_address=registry_address),
        policies=policies,
        clock=clock,
    )
    retrainings = Retrainings(store, steps, links=outlets.links_of(settings), clock=clock)

    def failing_probes(model: str, version: str) -> list[str]:
        failed = (ProbeOutcome.FAIL, ProbeOutcome.ERROR)
        states = [one for one in probes.states(model=model) if one.outcome in failed]
        return [one.report.instance for one in states if one.report.version == version]

    actor = Actor(
        policies, store, retrainings, open_incidents=open_incidents, failing_probes=failing_probes, clock=clock
    )
    return Acting(store, actor, retrainings)


def read_policies(path: Path | None) -> tuple[Policy, ...]:
    """The policies of a file, which may name others beside it; those that are built in for None.

    Raises:
        InvalidArgumentError: it can't be read, or used.
    """
    if path is None:
        return policy_files.defaults()
    try:
        text = path.read_text()
    except (OSError, UnicodeError) as error:
        raise InvalidArgumentError(f"PENSTOCK_MONITOR__POLICIES {path} can't be read: {error}") from None
    try:
        return policy_files.parse(text, read_file=lambda name: (path.parent / name).read_text())
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"PENSTOCK_MONITOR__POLICIES {path}: {error.message}") from None
