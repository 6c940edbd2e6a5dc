"""A made-up request with a known answer: what this process answered right after it loaded the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from services.inference.backends import Array, LoadError, Model, RunError
from services.inference.backends.samples import examples_of, sample, working_sizes
from services.inference.domain.agreement import Agreement, compare
from services.inference.domain.answer_digest import AnswerDigest, digest_of
from services.inference.domain.signature import Signature

MOST_BYTES = 64 * 2**20
"""Of the answer, which is kept."""
_INTEGERS_BELOW = 8


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


class GoldenProbe:
    """Runs one row through a loaded model, and compares all of its answer with the first one. It blocks."""

    def __init__(self, model: Model, signature: Signature) -> None:
        self._model = model
        self._signature = signature
        self._inputs: dict[str, Array] = {}
        self._golden: dict[str, Array] = {}
        self._is_repeatable = False
        self._why_not = ""

    def run(self) -> ProbeResult | None:
        """Probe once; None where that only gave the answer to compare with, and the next one is due at once.

        Never raises because of the model: that is the outcome.
        """
        if self._why_not:
            return ProbeResult(Outcome.SKIP, detail=self._why_not)
        try:
            return self._compared() if self._golden else self._learn()
        except (RunError, LoadError) as error:
            return ProbeResult(Outcome.ERROR, detail=str(error))
        except Exception as error:  # noqa: BLE001 - whatever the model provokes ends here, as an outcome
            return ProbeResult(Outcome.ERROR, detail=f"the model fails: {type(error).__name__}")

    def _learn(self) -> ProbeResult | None:
        self._inputs, self._golden = self._first_answer()
        if not self._golden:
            return self._gives_up("it has no outputs")
        size = sum(array.nbytes for array in self._golden.values())
        if size > MOST_BYTES:
            return self._gives_up(f"its answer has {size} bytes, at most {MOST_BYTES} are compared")
        return None

    def _compared(self) -> ProbeResult:
        result = self._judged(self._answer(self._inputs))
        if result.outcome is Outcome.FAIL and not self._is_repeatable:
            return self._gives_up(f"it doesn't repeat itself: {result.detail}")
        self._is_repeatable = True
        return result

    def _first_answer(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """The inputs, which are the same in all processes, and the answer to them.

        Indices may be too large for the model: then what it was warmed up with.
        """
        size, examples = self._free_size(), examples_of(self._model)
        try:
            inputs = sample(self._signature, rows=1, free_size=size, integers_below=_INTEGERS_BELOW, examples=examples)
            return inputs, self._answer(inputs)
        except RunError:
            inputs = sample(self._signature, rows=1, free_size=size, examples=examples)
            return inputs, self._answer(inputs)

    def _free_size(self) -> int:
        shapes = [spec.shape[int(self._signature.is_batchable) :] for spec in self._signature.inputs]
        return working_sizes(self._model, self._signature)[0] if any(-1 in shape for shape in shapes) else 1

    def _answer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Copies: a model may write to its inputs, and use the memory of its outputs again."""
        outputs = self._model.run({name: array.copy() for name, array in inputs.items()})
        return {spec.name: np.array(outputs[spec.name]) for spec in self._signature.outputs}

    def _gives_up(self, why: str) -> ProbeResult:
        self._why_not, self._golden = why, {}
        return ProbeResult(Outcome.SKIP, detail=why)

    def _judged(self, answer: Mapping[str, Array]) -> ProbeResult:
        found, output = self._difference(answer)
        return ProbeResult(
            Outcome.FAIL if output else Outcome.PASS,
            output=output,
            worst_error=found.relative_error,
            detail=found.difference,
            answer=digest_of(answer, self._signature),
        )

    def _difference(self, answer: Mapping[str, Array]) -> tuple[Agreement, str]:
        """How far an answer agrees with the golden one, and the first output that differs, if any does."""
        total, worst = Agreement(), ""
        for spec in self._signature.outputs:
            found = compare(spec.name, spec.datatype, answer[spec.name], self._golden[spec.name])
            total &= found
            worst = worst or (spec.name if found.difference else "")
        return total, worst
