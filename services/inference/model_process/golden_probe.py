"""A made-up request with a known answer: what this process answered right after it loaded the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from services.inference.backends import Array, Model, RunError
from services.inference.backends.samples import examples_of, sample
from services.inference.domain.agreement import Agreement, compare
from services.inference.domain.answer_digest import AnswerDigest, digest_of
from services.inference.domain.signature import Signature

MOST_BYTES = 4 * 2**20
"""Of an answer, which is kept. Comparing takes many times as much for a moment."""
SURE_AFTER = 3
"""Passes after which a model is known to repeat itself: a difference is a fault then."""
_INTEGERS_BELOW = 8
_ROWS, _BATCH_ROWS = 1, 2


class Outcome(StrEnum):
    """What came of a probe; the values are those of ``penstock.probe.outcome``."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"
    """The model can't be probed."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``detail`` says what is wrong with ``output``, whose largest difference is a share of its largest element."""

    outcome: Outcome
    output: str = ""
    worst_error: float = 0.0
    detail: str = ""
    answer: AnswerDigest | None = None


Judge = Callable[[], ProbeResult]
"""Judges what a model answered, in any thread. Never raises because of that: it is the outcome."""


class _TooLargeError(Exception):
    """An answer isn't worth the memory."""


class GoldenProbe:
    """Runs one row through a loaded model, and compares all of its answer with the first one.

    Where another copy of the model runs batches, two more rows go through that one.
    """

    def __init__(self, model: Model, signature: Signature, *, free_size: int, is_split: bool = False) -> None:
        """``free_size`` is that of free dimensions besides the batch; ``is_split``: single rows have their own copy."""
        self._model = model
        self._signature = signature
        self._free_size = free_size
        self._rows = (_ROWS, _BATCH_ROWS) if is_split and signature.is_batchable else (_ROWS,)
        self._questions: list[dict[str, Array]] = []
        self._golden: list[dict[str, Array]] = []
        self._passes = 0
        self._why_not = "" if signature.outputs else "it has no outputs"
        self._told_later: ProbeResult | None = None

    def learn(self) -> None:
        """Ask for the answers to compare with, and again. What comes of it is what :meth:`run` gives first."""
        self._told_later = self.run()()

    def run(self) -> Judge:
        """Probe once; it blocks. Judge before the next one. Never raises because of the model: that is the outcome."""
        first, self._told_later = self._told_later, None
        if first is not None:
            return lambda: first
        if self._why_not:
            return partial(ProbeResult, Outcome.SKIP, detail=self._why_not)
        try:
            if not self._golden:
                self._ask_first()
            answers = [self._answer(one) for one in self._questions]
        except _TooLargeError as error:
            return partial(self._give_up, str(error))
        except Exception as error:  # noqa: BLE001 - whatever the model provokes ends here, as an outcome
            return partial(ProbeResult, Outcome.ERROR, detail=_said(error))
        return partial(self._judged, answers)

    def _ask_first(self) -> None:
        """Make the inputs, the same in all processes, and keep the answers to them.

        Indices may be too large for the model: then they are 0, as when it was warmed up. A GPU is lost with such an
        index, and the process with it: there they are 0 from the start.
        """
        below = _INTEGERS_BELOW if self._model.device == "cpu" else 1
        try:
            self._ask(integers_below=below)
        except RunError:
            if below == 1:
                raise
            self._ask(integers_below=1)

    def _ask(self, *, integers_below: int) -> None:
        size, examples = self._free_size, examples_of(self._model)
        self._questions = [
            sample(self._signature, rows=rows, free_size=size, integers_below=integers_below, examples=examples)
            for rows in self._rows
        ]
        self._golden = [self._answer(one) for one in self._questions]

    def _answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Copies: a model may write to its inputs, and use the memory of its outputs again."""
        outputs = self._model.run({name: array.copy() for name, array in inputs.items()})
        size = sum(_bytes_of(outputs[spec.name]) for spec in self._signature.outputs)
        if size > MOST_BYTES:
            raise _TooLargeError(f"its answer has {size} bytes, at most {MOST_BYTES} are compared")
        return {spec.name: np.array(outputs[spec.name]) for spec in self._signature.outputs}

    def _judged(self, answers: Sequence[Mapping[str, Array]]) -> ProbeResult:
        try:
            found, output = self._difference(answers)
            digest = digest_of(answers[0], self._signature)
        except Exception as error:  # noqa: BLE001 - answers may be anything: comparing them ends as an outcome too
            return ProbeResult(Outcome.ERROR, detail=_said(error))
        if output and self._passes < SURE_AFTER:
            return self._give_up(f"it doesn't repeat itself: {found.difference}")
        self._passes += not output
        outcome = Outcome.FAIL if output else Outcome.PASS
        return ProbeResult(outcome, output, found.relative_error, found.difference, digest)

    def _give_up(self, why: str) -> ProbeResult:
        self._why_not, self._golden = why, []
        return ProbeResult(Outcome.SKIP, detail=why)

    def _difference(self, answers: Sequence[Mapping[str, Array]]) -> tuple[Agreement, str]:
        """How far answers agree with the golden ones, and the first output that differs, if any does."""
        total, worst = Agreement(), ""
        for answer, golden in zip(answers, self._golden, strict=True):
            for spec in self._signature.outputs:
                found = compare(spec.name, spec.datatype, answer[spec.name], golden[spec.name])
                total &= found
                worst = worst or (spec.name if found.difference else "")
        return total, worst


def _bytes_of(array: Array) -> int:
    """What its elements take; of texts, not only what points to them."""
    return sum(map(len, array.ravel())) if array.dtype == object else array.nbytes


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RunError) else f"the model fails: {type(error).__name__}"
