"""A probe finds a model that answers otherwise than after its load, and nothing else."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.inference.backends import Array, Arrays, RunError
from services.inference.domain.answer_digest import MOST_VALUES, digest_of
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.model_process.golden_probe import (
    MOST_BYTES,
    SURE_AFTER,
    GoldenProbe,
    Outcome,
    ProbeResult,
)
from services.inference.model_process.weights_digest import digest_of_files

Infer = Callable[[Array], dict[str, Array]]

BF16 = np.uint16


def signature(datatype: str = "FP32", *, width: int = 4) -> Signature:
    return Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", datatype, (-1, width)),), is_batchable=True)


class Model:
    """Answers what it is told to, and writes to its input, as some do."""

    device = "cpu"

    def __init__(self, infer: Infer, datatype: str = "FP32", *, width: int = 4) -> None:
        self.signature = signature(datatype, width=width)
        self.infer = infer

    def run(self, inputs: Arrays) -> dict[str, Array]:
        outputs = self.infer(inputs["x"].copy())
        inputs["x"][...] = 0
        return outputs


def doubled(x: Array) -> dict[str, Array]:
    return {"y": 2 * x}


def made(model: Model, **options: Any) -> GoldenProbe:
    return GoldenProbe(model, model.signature, free_size=1, **options)


def probed(model: Model, **options: Any) -> GoldenProbe:
    """A probe that has passed so often that it knows the model to repeat itself."""
    probe = made(model, **options)
    assert [outcome(probe) for _ in range(SURE_AFTER)] == [Outcome.PASS] * SURE_AFTER
    return probe


def again(probe: GoldenProbe) -> ProbeResult:
    return probe.run()()


def outcome(probe: GoldenProbe) -> Outcome:
    return again(probe).outcome


def test_a_model_that_answers_as_before_passes() -> None:
    probe = probed(Model(doubled))
    results = [again(probe) for _ in range(3)]

    assert [(one.outcome, one.worst_error, one.detail) for one in results] == [(Outcome.PASS, 0.0, "")] * 3


def test_a_model_whose_weights_changed_fails_by_so_much() -> None:
    model = Model(doubled)
    probe = probed(model)
    model.infer = lambda x: {"y": 2 * x + np.array([0, 0, 0, 0.01], x.dtype) * np.abs(2 * x).max()}
    result = again(probe)

    assert (result.outcome, result.output) == (Outcome.FAIL, "y")
    assert result.worst_error == pytest.approx(0.01, rel=1e-3)
    assert "output 'y' differs by 1.0e-02 of its largest element" in result.detail
    assert result.answer is not None


@pytest.mark.parametrize(
    ("datatype", "dtype", "within", "beyond"),
    [("FP64", "f8", 1e-8, 1e-5), ("FP32", "f4", 1e-6, 1e-3), ("FP16", "f2", 1e-3, 5e-2)],
)
def test_floats_may_differ_as_much_as_their_type_explains(
    datatype: str, dtype: str, within: float, beyond: float
) -> None:
    model = Model(lambda x: {"y": np.ones_like(x, dtype)}, datatype)
    probe = probed(model)
    model.infer = lambda x: {"y": np.full_like(x, 1 + within, dtype)}
    assert outcome(probe) is Outcome.PASS
    model.infer = lambda x: {"y": np.full_like(x, 1 + beyond, dtype)}
    assert outcome(probe) is Outcome.FAIL


def test_bfloat16_is_compared_as_numbers() -> None:
    model = Model(lambda x: {"y": np.full(x.shape, 0x3F80, BF16)}, "BF16")  # 1.0
    probe = probed(model)
    model.infer = lambda x: {"y": np.full(x.shape, 0x3F81, BF16)}  # the next number
    assert outcome(probe) is Outcome.PASS
    model.infer = lambda x: {"y": np.full(x.shape, 0x3F90, BF16)}  # 1.125
    assert outcome(probe) is Outcome.FAIL


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [
        ("INT64", np.array([[1, 2]]), np.array([[1, 3]])),
        ("BOOL", np.array([[True, False]]), np.array([[True, True]])),
        ("BYTES", np.array([[b"a", b"bc"]], object), np.array([[b"ab", b"c"]], object)),
    ],
)
def test_other_types_must_be_equal(datatype: str, good: Array, bad: Array) -> None:
    model = Model(lambda _: {"y": good}, datatype, width=2)
    probe = probed(model)
    model.infer = lambda _: {"y": bad}

    assert outcome(probe) is Outcome.FAIL
    assert digest_of({"y": good}, model.signature).exact != digest_of({"y": bad}, model.signature).exact


def test_nan_is_equal_to_nan_and_to_nothing_else() -> None:
    model = Model(lambda x: {"y": np.full_like(x, np.nan)})
    probe = probed(model)
    assert outcome(probe) is Outcome.PASS
    model.infer = doubled
    assert outcome(probe) is Outcome.FAIL


def test_a_model_that_breaks_is_an_error_and_may_come_back() -> None:
    model = Model(doubled)
    probe = probed(model)

    def fail(_: Array) -> dict[str, Array]:
        raise RunError("out of memory")

    model.infer = fail
    assert (result := again(probe)).outcome is Outcome.ERROR
    assert result.detail == "out of memory"
    model.infer = lambda _: {}
    assert outcome(probe) is Outcome.ERROR
    model.infer = doubled
    assert outcome(probe) is Outcome.PASS


def test_a_model_that_does_not_repeat_itself_is_not_probed() -> None:
    ticks = itertools.count(1)
    probe = made(Model(lambda x: {"y": x + next(ticks)}))

    assert [outcome(probe) for _ in range(2)] == [Outcome.SKIP] * 2
    assert "doesn't repeat itself" in again(probe).detail
    seen = next(ticks)
    probe.run()
    assert next(ticks) == seen + 1, "it isn't run any more"


@pytest.mark.parametrize(("passes", "expected"), [(2, Outcome.SKIP), (3, Outcome.FAIL)])
def test_a_model_that_was_lucky_once_or_twice_is_no_fault(passes: int, expected: Outcome) -> None:
    probe = made(model := Model(doubled))
    for _ in range(passes):
        assert outcome(probe) is Outcome.PASS
    model.infer = lambda x: {"y": 3 * x}
    assert outcome(probe) is expected


def test_what_was_learnt_in_the_load_is_told_without_another_run() -> None:
    runs: list[Array] = []

    def infer(x: Array) -> dict[str, Array]:
        runs.append(x)
        return doubled(x)

    probe = made(Model(infer))
    probe.learn()
    assert len(runs) == 2
    first = again(probe)
    assert (first.outcome, len(runs)) == (Outcome.PASS, 2)
    assert first.answer is not None
    again(probe)
    assert len(runs) == 3


def test_a_model_that_breaks_while_it_is_learnt_is_learnt_later() -> None:
    def fail(_: Array) -> dict[str, Array]:
        raise RunError("out of memory")

    probe = made(model := Model(fail))
    probe.learn()
    model.infer = doubled
    assert [outcome(probe) for _ in range(2)] == [Outcome.ERROR, Outcome.PASS]


class Indexed(Model):
    """An embedding with so many rows, whose indices are its inputs."""

    def __init__(self, rows: int, device: str) -> None:
        super().__init__(doubled)
        self.device = device
        self.signature = Signature((TensorSpec("x", "INT64", (-1, 4)),), self.signature.outputs, is_batchable=True)
        self.rows = rows
        self.most = 0

    def run(self, inputs: Arrays) -> dict[str, Array]:
        largest = int(inputs["x"].max())
        self.most = max(self.most, largest)
        if largest >= self.rows:
            raise RunError("index out of range")
        return {"y": inputs["x"].astype(np.float32)}


def test_indices_that_are_too_large_for_a_model_are_zeros() -> None:
    many, few = Indexed(8, "cpu"), Indexed(2, "cpu")
    assert outcome(made(many)) is outcome(made(few)) is Outcome.PASS
    assert (many.most > 1, few.most > 1) == (True, True), "both were tried with more"


def test_a_gpu_gets_no_index_that_could_be_too_large() -> None:
    """It would be lost with one, and the process with it."""
    probe = made(model := Indexed(1_000, "cuda:0"))
    assert (outcome(probe), model.most) == (Outcome.PASS, 0)


def test_both_copies_of_a_split_model_are_probed_and_the_digest_is_that_of_single_rows() -> None:
    sizes: list[int] = []

    def infer(x: Array) -> dict[str, Array]:
        sizes.append(len(x))
        return doubled(x)

    model = Model(infer)
    alone, split = made(Model(doubled)), probed(model, is_split=True)
    assert sizes[:4] == [1, 2, 1, 2]
    assert again(split).answer.exact == again(alone).answer.exact
    model.infer = lambda x: {"y": (2 if len(x) == 1 else 3) * x}
    assert outcome(split) is Outcome.FAIL


def test_an_answer_that_is_too_large_is_not_kept() -> None:
    model = Model(lambda x: {"y": np.broadcast_to(x[:, :1], (1, MOST_BYTES // 4 + 1))}, width=MOST_BYTES // 4 + 1)
    assert f"has {MOST_BYTES + 4} bytes" in again(made(model)).detail


def test_the_length_of_texts_counts() -> None:
    model = Model(lambda _: {"y": np.array([[b"x" * (MOST_BYTES + 1)]], object)}, "BYTES", width=1)
    result = again(made(model))
    assert (result.outcome, f"has {MOST_BYTES + 1} bytes" in result.detail) == (Outcome.SKIP, True)


def test_an_answer_that_has_become_too_large_is_not_compared() -> None:
    probe = probed(model := Model(doubled))
    model.infer = lambda x: {"y": np.broadcast_to(x[:, :1], (1, MOST_BYTES // 4 + 1))}
    assert "at most" in again(probe).detail


def test_a_model_without_outputs_is_not_probed() -> None:
    model = Model(lambda _: {})
    model.signature = Signature(model.signature.inputs, (), is_batchable=True)
    assert "no outputs" in again(made(model)).detail


def test_every_element_counts_in_a_digest() -> None:
    random = np.random.default_rng(1)
    answer = random.standard_normal((1, 5_000)).astype(np.float32)
    first = digest_of({"y": answer}, signature(width=5_000))
    assert len(first.values) == len(first.slack) == MOST_VALUES

    for place in (0, 2_345, 4_999):
        other = answer.copy()
        other[0, place] += 4.0
        changed = digest_of({"y": other}, signature(width=5_000))
        distance = np.abs(changed.values - first.values)
        assert (distance > first.slack).sum() == 1
    swapped = answer.copy()
    swapped[0, [7, 8]] = answer[0, [8, 7]]
    assert (digest_of({"y": swapped}, signature(width=5_000)).values != first.values).any()


def test_what_rounding_does_is_within_the_slack_of_a_digest() -> None:
    random = np.random.default_rng(2)
    answer = random.standard_normal((1, 5_000)).astype(np.float32)
    rounded = (answer * (1 + random.uniform(-1e-4, 1e-4, answer.shape))).astype(np.float32)
    first, other = (digest_of({"y": one}, signature(width=5_000)) for one in (answer, rounded))

    assert (np.abs(first.values - other.values) <= first.slack).all()
    assert first.exact == other.exact


def test_a_digest_of_files_is_what_the_registry_makes_of_them(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    contents = {"model.py": b"code", "weights/0.bin": bytes(3 << 20)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    listed = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())

    assert digest_of_files(tmp_path, ["weights/0.bin", "model.py"]) == hashlib.sha256(listed.encode()).hexdigest()
