"""The part of the Python client that brings new versions to a model's traffic.

>>> with Client() as client:  # doctest: +SKIP
...     rollout = client.rollouts.start("digits", "2", strategy="canary", steps=[0.05, 0.25, 0.5])
...     for rollout in client.rollouts.watch(rollout.name):
...         print(rollout.state_reason)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TypedDict, Unpack

from google.protobuf.duration_pb2 import Duration

from penstock import errors
from penstock.channels import Channel
from penstock.monitor.v1.verdict_service_pb2 import Guardrail
from penstock.registry.v1 import rollout_service_pb2 as pb
from penstock.registry.v1.rollout_service_pb2 import Rollout, RolloutPlan, RolloutStep
from penstock.registry.v1.rollout_service_pb2_grpc import RolloutServiceStub

ENDS = (Rollout.STATE_PROMOTED, Rollout.STATE_ROLLED_BACK, Rollout.STATE_FAILED)
"""States of rollouts that are over. One that was promoted may still be rolled back until its ``retire_time``."""
_POLL_S = 1.0
_PATIENCE_S = 60.0
"""How long a registry that is away is waited for."""


class Strategy(StrEnum):
    """How a candidate is tried."""

    CANARY = "canary"
    SHADOW = "shadow"
    BLUE_GREEN = "blue-green"
    ALL_AT_ONCE = "all-at-once"
    AB = "ab"

    @property
    def message(self) -> RolloutPlan.Strategy:
        value: RolloutPlan.Strategy = getattr(RolloutPlan, f"STRATEGY_{_NAMES.get(self, self.name)}")
        return value

    @classmethod
    def of(cls, plan: RolloutPlan) -> Strategy:
        """A plan's strategy; a canary where it names none."""
        return next((one for one in cls if one.message == plan.strategy), cls.CANARY)


_NAMES = {Strategy.AB: "AB_TEST"}
_STEPS = {Strategy.CANARY: (0.05, 0.25, 0.5), Strategy.SHADOW: (1.0,), Strategy.AB: (0.5,)}
"""What the registry takes where a plan has no steps, for plans that only say how long steps are to be."""


class Options(TypedDict, total=False):
    """How a candidate is tried. What is left out is the registry's to choose, see :class:`RolloutPlan`."""

    strategy: str
    """One of :class:`Strategy`. Default: "canary"."""
    steps: Sequence[float]
    """The candidate's share of the requests at each step, over 0 and below 1; of a shadow, the share that is copied."""
    sticky_key: str
    """Metadata key, header or parameter: requests with the same value get the same version."""
    alias: str
    """Divide the requests that name this alias too, and point it at the candidate when that is promoted."""
    is_manual: bool
    """Wait for a person at each step; proof of harm still rolls back."""
    load_s: float
    """Longest that the candidate may take to load and to pass its probe."""
    keep_warm_s: float
    """How long the baseline stays loaded after a promotion."""
    min_requests: int
    """Requests of the candidate before a step may end."""
    min_duration_s: float
    """Seconds with traffic before a step may end."""
    duration_s: float
    """Longest that a step may take; then the rollout is held."""
    alpha: float
    """Risk of a wrong verdict, either way, over all steps together."""
    guardrails: Sequence[Guardrail]
    """What the candidate must not be worse in, in place of the monitor's default."""
    pair_tolerance: float
    """Of a shadow: by what share of an output's largest element answers may differ and count as the same."""


def plan(**options: Unpack[Options]) -> RolloutPlan:
    """A plan as the registry takes it.

    Raises:
        ValueError: there is no such strategy, or it has no steps.
    """
    name = options.get("strategy", Strategy.CANARY)
    if name not in list(Strategy):
        raise ValueError(f"got strategy {name!r}, expected one of {', '.join(Strategy)}")
    strategy = Strategy(name)
    made = RolloutPlan(
        strategy=strategy.message,
        steps=_steps(strategy, options),
        sticky_key=options.get("sticky_key", ""),
        alias=options.get("alias", ""),
        is_manual=options.get("is_manual", False),
        guardrails=options.get("guardrails", ()),
        alpha=options.get("alpha", 0.0),
        pair_tolerance=options.get("pair_tolerance", 0.0),
    )
    if "load_s" in options:
        made.load_duration.CopyFrom(_duration(options["load_s"]))
    if "keep_warm_s" in options:
        made.keep_warm_duration.CopyFrom(_duration(options["keep_warm_s"]))
    return made


def _steps(strategy: Strategy, options: Options) -> list[RolloutStep]:
    is_said = options.keys() & {"min_requests", "min_duration_s", "duration_s"}
    shares = options.get("steps", ()) or (_STEPS.get(strategy, ()) if is_said else ())
    if strategy not in _STEPS and (shares or is_said):
        raise ValueError(f"{strategy} has no steps: the candidate takes all requests once it is loaded")
    is_shadow = strategy is Strategy.SHADOW
    made = []
    for share in shares:
        step = RolloutStep(
            candidate_share=0.0 if is_shadow else share,
            shadow_share=share if is_shadow else 0.0,
            min_request_count=options.get("min_requests", 0),
        )
        if "min_duration_s" in options:
            step.min_duration.CopyFrom(_duration(options["min_duration_s"]))
        if "duration_s" in options:
            step.duration.CopyFrom(_duration(options["duration_s"]))
        made.append(step)
    return made


class RolloutClient:
    """Asks the registry to try versions on live traffic. Rollouts go by "deployments/{model}/rollouts/{number}".

    ``etag``: that of the rollout whose state one decided upon; when it is another by then, AbortedError is raised.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._registry = RolloutServiceStub(channel.grpc)

    def start(
        self, model: str, version: str, *, reason: str = "", deployment_etag: str = "", **options: Unpack[Options]
    ) -> Rollout:
        """Begin to replace the version that has a deployed model's requests by another one, given by its number.

        Raises:
            AbortedError: the deployment has been changed since it had this etag.
            FailedPreconditionError: another rollout is under way, or the version can't replace the present one.
            InvalidArgumentError: this is no plan.
            NotFoundError: the model is not deployed, or has no such version.
        """
        candidate = version if "/" in version else f"models/{model}/versions/{version}"
        request = pb.CreateRolloutRequest(
            parent=f"deployments/{model}",
            rollout=Rollout(candidate=candidate, plan=plan(**options), reason=reason),
            request_id=str(uuid.uuid4()),
            deployment_etag=deployment_etag,
        )
        return self._channel.call(self._registry.CreateRollout, request).rollout

    def get(self, name: str) -> Rollout:
        """How a rollout stands."""
        return self._channel.call(self._registry.GetRollout, pb.GetRolloutRequest(name=name)).rollout

    def list(self, model: str = "-", *, only_active: bool = False) -> Sequence[Rollout]:
        """A model's rollouts, newest first, without events; those of all models by default."""
        request = pb.ListRolloutsRequest(parent=f"deployments/{model}", is_active=only_active)
        return self._channel.pages(self._registry.ListRollouts, request, "rollouts")

    def last(self, model: str) -> Rollout:
        """A model's newest rollout, which is the one that is under way if any is.

        Raises:
            NotFoundError: the model isn't deployed.
            PenstockError: it has had none.
        """
        request = pb.ListRolloutsRequest(parent=f"deployments/{model}", page_size=1)
        newest = self._channel.call(self._registry.ListRollouts, request).rollouts
        if not newest:
            raise errors.PenstockError(f"{model} has had no rollout")
        return self.get(newest[0].name)

    def promote(self, name: str, *, etag: str = "", is_whole: bool = False, reason: str = "") -> Rollout:
        """Go on to the next step, whatever the verdict says; after the last, or with ``is_whole``, to all requests.

        Raises:
            AbortedError: somebody, or the verdict, was faster.
            FailedPreconditionError: the rollout is over, or its candidate is being loaded.
        """
        request = pb.PromoteRolloutRequest(name=name, etag=etag, is_whole=is_whole, reason=reason)
        return self._channel.call(self._registry.PromoteRollout, request).rollout

    def hold(self, name: str, *, etag: str = "", reason: str = "") -> Rollout:
        """Leave the shares as they are; proof of harm still rolls back. Errors as of :meth:`promote`."""
        request = pb.HoldRolloutRequest(name=name, etag=etag, reason=reason)
        return self._channel.call(self._registry.HoldRollout, request).rollout

    def resume(self, name: str, *, etag: str = "", reason: str = "") -> Rollout:
        """Go on with a rollout that is held: its step begins anew. Errors as of :meth:`promote`."""
        request = pb.ResumeRolloutRequest(name=name, etag=etag, reason=reason)
        return self._channel.call(self._registry.ResumeRollout, request).rollout

    def roll_back(self, name: str, *, etag: str = "", reason: str = "") -> Rollout:
        """Give everything back to the baseline, also after a promotion while the baseline is kept loaded.

        Raises:
            AbortedError: somebody, or the verdict, was faster.
            FailedPreconditionError: the rollout is over.
        """
        request = pb.RollBackRolloutRequest(name=name, etag=etag, reason=reason)
        return self._channel.call(self._registry.RollBackRollout, request).rollout

    def watch(self, name: str) -> Iterator[Rollout]:
        """How a rollout stands, then again after every change (asked once a second), until it is over.

        A registry that is away is waited for, a minute at most. One that is held is watched on: leave the loop.
        """
        seen: Rollout | None = None
        away_since: float | None = None
        while True:
            try:
                found = self.get(name)
                away_since = None
            except (errors.ConnectionFailedError, errors.UnavailableError, errors.DeadlineExceededError):
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _PATIENCE_S:
                    raise
            else:
                if found != seen:
                    yield found
                if found.state in ENDS:
                    return
                seen = found
            time.sleep(_POLL_S)


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message
