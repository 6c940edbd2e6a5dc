"""The part of the Python client that tells what the right answers were, and how good versions are.

>>> with Client() as client:  # doctest: +SKIP
...     client.infer("digits", {"pixels": image}, request_id="order-17")
...     client.feedback.tell("digits", "order-17", 3)
...     for version in client.feedback.quality("digits"):
...         print(version)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from numbers import Integral
from typing import Any

from penstock import errors
from penstock.channels import Channel
from penstock.monitor.v1 import feedback_service_pb2 as pb
from penstock.monitor.v1.feedback_service_pb2_grpc import FeedbackServiceStub

MOST_AT_ONCE = 1_000
_MOST_REASONS = 10
_ATTEMPTS, _FIRST_PAUSE_S = 6, 0.2


@dataclass(slots=True)
class Told:
    """What became of labels: how many, by outcome ("joined", "pending", "unknown", "duplicate", "refused"), and why the
    first ones were refused, by their place.
    """

    counts: Counter[str] = field(
        default_factory=lambda: Counter(joined=0, pending=0, unknown=0, duplicate=0, refused=0)
    )
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.counts.total()


def label(
    model: str,
    request_id: str,
    truth: float | str | None = None,
    *,
    row: int = 0,
    slices: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> pb.Label:
    """A label: a whole number is a class' number, a text its name, any other number what a model of numbers should say.

    ``slices`` say what the request was of, ``metrics`` are figures of your own of the answer.
    """
    message = pb.Label(model=model, request_id=request_id, row=row, slices=slices or {}, metrics=metrics or {})
    said: Any = truth  # numpy's whole numbers are none of Python's
    if isinstance(said, str):
        message.class_name = said
    elif isinstance(said, Integral):
        message.class_index = int(said)
    elif said is not None:
        message.number = float(said)
    return message


class FeedbackClient:
    """Tells the monitor what the right answers to requests were."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._monitor = FeedbackServiceStub(channel.grpc)

    def tell(
        self,
        model: str,
        request_id: str,
        truth: float | str | None = None,
        *,
        row: int = 0,
        slices: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Told:
        """Tell one label; the arguments are those of :func:`label`."""
        return self.record([label(model, request_id, truth, row=row, slices=slices, metrics=metrics)])

    def record(self, labels: Iterable[pb.Label], *, progress: Callable[[Told], None] = lambda _: None) -> Told:
        """Tell any number of labels, in parts; ``progress`` gets what became of them so far after each part.

        A part that the monitor has no room for now is sent again: a label that is told twice counts once.

        Raises:
            ResourceExhaustedError, UnavailableError: the monitor has had no room for a while; parts before are told.
        """
        told = Told()
        for part in _parts(labels):
            answer = self._send(part)
            for refusal in answer.refusals:
                if len(told.reasons) < _MOST_REASONS:
                    told.reasons[told.total + refusal.index] = refusal.reason
            told.counts.update({name: getattr(answer, f"{name}_count") for name in told.counts})
            progress(told)
        return told

    def _send(self, part: Sequence[pb.Label]) -> pb.RecordFeedbackResponse:
        request = pb.RecordFeedbackRequest(labels=part)
        for attempt in range(_ATTEMPTS):
            try:
                return self._channel.call(self._monitor.RecordFeedback, request)
            except (errors.ResourceExhaustedError, errors.UnavailableError):
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_FIRST_PAUSE_S * 2**attempt)
        raise AssertionError("the last attempt raises")

    def quality(self, model: str = "") -> Sequence[pb.VersionQuality]:
        """How good the versions of a model are, or of all models."""
        return self._channel.pages(self._monitor.ListQuality, pb.ListQualityRequest(model=model), "versions")


def _parts(labels: Iterable[pb.Label]) -> Iterator[list[pb.Label]]:
    rest = iter(labels)
    while part := list(islice(rest, MOST_AT_ONCE)):
        yield part
