"""Which variant is chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.variants import (
    ORIGINAL,
    Level,
    Measurement,
    Trial,
    Variant,
    best,
    combined,
    slowness,
)
from services.inference.search import SearchSpec

FIRST, SECOND = Variant.of({"graph": "frozen"}), Variant.of({"layout": "channels_last"})


def trial(variant: Variant, *speedups: float, refusal: str = "") -> Trial:
    rows = (1, 4, 16)
    measurements = tuple(
        Measurement(size, 100 * speedup, 100, speedup) for size, speedup in zip(rows, speedups, strict=False)
    )
    return Trial(variant, refusal or slowness(measurements), measurements)


def test_the_fastest_on_the_whole_wins() -> None:
    assert best([trial(FIRST, 1.2, 1.2), trial(SECOND, 2.0, 1.0)]) == trial(SECOND, 2.0, 1.0)


def test_of_equals_the_first_wins_for_it_is_the_simplest() -> None:
    assert best([trial(FIRST, 1.50), trial(SECOND, 1.54)]) == trial(FIRST, 1.50)


@pytest.mark.parametrize("speedups", [(1.04, 1.04), (3.0, 0.94)], ids=["hardly faster", "slower at one size"])
def test_what_is_no_gain_everywhere_is_not_chosen(speedups: tuple[float, ...]) -> None:
    slow = trial(FIRST, *speedups)
    assert slow.refusal
    assert best([slow]) is None


def test_what_was_refused_is_never_chosen_however_fast() -> None:
    assert best([trial(FIRST, 9.0, refusal="output 'y' differs"), trial(SECOND, 1.1)]) == trial(SECOND, 1.1)


def test_without_trials_the_original_stays() -> None:
    assert best([]) is None
    assert combined([]) is None


def test_single_rows_and_batches_may_run_in_different_ways() -> None:
    found = combined([trial(FIRST, 1.1, 1.3, 1.2), trial(SECOND, 2.0, 0.8, 1.0)])
    assert found == Variant.of({"graph": "frozen", "alone.layout": "channels_last"})
    assert found.split() == (FIRST, SECOND)


def test_batches_stay_as_they_are_where_nothing_is_faster_at_them() -> None:
    found = combined([trial(SECOND, 2.0, 0.8, 0.9)])
    assert found is not None
    assert found.split() == (ORIGINAL, SECOND)


def test_one_that_is_best_at_both_is_not_combined_with_itself() -> None:
    assert combined([trial(FIRST, 2.0, 2.0), trial(SECOND, 1.1, 1.1)]) is None


def test_what_gave_other_outputs_takes_no_part_in_a_combination() -> None:
    assert combined([trial(FIRST, 1.1, 1.3), Trial(SECOND, "output 'y' differs")]) is None


def test_a_search_survives_the_way_to_its_process() -> None:
    signature = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1,)),), is_batchable=True)
    spec = SearchSpec("/m", "onnx", signature, "cpu", 2, Level.FULL, 16)
    spec = replace(spec, trials=(trial(FIRST, 1.5, 1.25), Trial(SECOND, "died of SIGSEGV")))
    assert SearchSpec.from_json(spec.to_json()) == spec
