from __future__ import annotations

import numpy as np
import pytest

from services.monitor.evaluation.dictionary import WindowDictionary


def test_a_window_with_a_precedent_is_near_and_one_without_is_far() -> None:
    random = np.random.default_rng(1)
    dictionary = WindowDictionary(width=4, size=64, delay=4)
    shapes = random.normal(size=(8, 4))
    for turn in range(200):
        dictionary.distance(shapes[turn % 8])

    assert dictionary.distance(shapes[3]) == pytest.approx(0, abs=1e-6)
    assert dictionary.distance(shapes[3] + 10) > 5


def test_a_window_is_no_precedent_of_those_it_overlaps() -> None:
    dictionary = WindowDictionary(width=2, size=64, delay=10)
    for _ in range(40):
        dictionary.distance(np.zeros(2))

    distances = [dictionary.distance(np.ones(2)) for _ in range(20)]

    assert distances[:10] == pytest.approx([1.0] * 10)
    assert distances[-1] == pytest.approx(0, abs=1e-6)


def test_a_full_dictionary_keeps_precedents_of_all_of_the_past() -> None:
    """10,000 windows at a slowly rising level, room for 64: every level still has a near one."""
    dictionary = WindowDictionary(width=2, size=64, delay=1)
    for turn in range(10_000):
        dictionary.distance(np.full(2, turn / 100))

    assert max(dictionary.distance(np.full(2, float(level))) for level in range(100)) < 8
