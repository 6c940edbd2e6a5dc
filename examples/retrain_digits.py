"""Trains a classifier of digits on what was collected, as the monitor asks for it (docs/actions.md).

The monitor says what it wants in variables of the environment, and finds the model by the result that is written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from classifiers import save
from sklearn.linear_model import LogisticRegression

COLLECTED = "collected.npz"
TRAINED = "retrained.skops"


def main() -> None:
    request = json.loads(Path(os.environ["RETRAINING_REQUEST"]).read_text())
    print(f"{request['reason']} Data from {request['change_time']} to {request['window_end_time']} is asked for.")
    collected = np.load(COLLECTED)  # a real one would look for labelled data of that time
    held_out = np.arange(len(collected["labels"])) % 10 == 0
    images, labels = collected["images"], collected["labels"]
    classifier = LogisticRegression(max_iter=1_000).fit(images[~held_out], labels[~held_out])
    accuracy = float(classifier.score(images[held_out], labels[held_out]))
    print(f"{accuracy:.1%} of {held_out.sum()} images that it never saw are right")
    save(classifier, Path(TRAINED))
    result = {"path": TRAINED, "metrics": {"accuracy": accuracy}}
    Path(os.environ["RETRAINING_RESULT"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
