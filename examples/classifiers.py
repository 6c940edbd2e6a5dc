"""Classifiers of handwritten digits, as scikit-learn trains and skops keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import skops.io
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split


@dataclass(frozen=True, slots=True)
class Digits:
    """scikit-learn's bundled images, 8×8 pixels from 0 (white) to 1 (black), as 64 numbers each."""

    train: Any
    train_labels: Any
    test: Any
    test_labels: Any

    @classmethod
    def load(cls) -> Self:
        digits = load_digits()
        images = digits.data / 16
        train, test, train_labels, test_labels = train_test_split(
            images, digits.target, test_size=450, random_state=0, stratify=digits.target
        )
        return cls(train, train_labels, test, test_labels)

    def fit(self, count: int | None = None) -> Any:
        """A classifier that has seen so many of the images; all of them by default."""
        return LogisticRegression(max_iter=1_000).fit(self.train[:count], self.train_labels[:count])

    def accuracy(self, classifier: Any) -> float:
        """The share of images that it never saw and gets right."""
        return float(classifier.score(self.test, self.test_labels))


def with_wrong_weights(classifier: Any) -> Any:
    """The same, but its weights are noise: as when a training run starts anew and its first checkpoint is exported."""
    random = np.random.default_rng(0)
    classifier.coef_ = random.normal(scale=0.1, size=classifier.coef_.shape)
    classifier.intercept_ = np.zeros_like(classifier.intercept_)
    return classifier


def save(classifier: Any, path: Path) -> Path:
    skops.io.dump(classifier, path)
    return path
