"""The examples that need no suite, as whoever clones this runs them: each ends by itself, and says how it went."""

from __future__ import annotations

import importlib.util

import pytest

from tests.support.examples import answers, run, start


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_better_version_is_promoted_under_load() -> None:
    shown = run("canary_promotion.py")
    assert "PROMOTED after" in shown
    assert "failed requests: 0\n" in shown
    (_, before), (count, after) = answers(shown, 1), answers(shown, 2)
    assert count > 1_000
    assert after > before


@pytest.mark.long
@pytest.mark.timeout(600)
def test_wrong_weights_are_rolled_back_under_load() -> None:
    shown = run("canary_rollback.py")
    assert "ROLLED_BACK: version 2 is worse" in shown
    assert "failed requests: 0\n" in shown
    count, right = answers(shown, 2)
    assert 0 < count <= 200
    assert right < 50


@pytest.mark.long
@pytest.mark.timeout(600)
def test_drift_has_a_model_trained_again_and_the_new_version_promoted_under_load() -> None:
    shown = run("drift_retraining.py")
    assert "PROMOTED: " in shown
    assert "failed requests: 0\n" in shown
    (_, before), (count, after) = answers(shown, 1), answers(shown, 2)
    assert count > 1_000
    assert after > 90 > before


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="make test-records runs it with MLflow")
def test_without_mlflow_its_example_says_what_to_install() -> None:
    ended = start("mlflow_to_production.py")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "penstock[mlflow,sklearn]" in line
    assert ended.stdout == ""
