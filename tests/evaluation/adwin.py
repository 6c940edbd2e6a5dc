"""A program for the Python that has river: reads runs, one a line, and writes where ADWIN saw drifts.

A run is a list of rows of figures, each of which has a detector of its own, with river's defaults. What is written are
the numbers of rows, for each figure.
"""

from __future__ import annotations

import json
import sys

from river import drift  # type: ignore[import-not-found]


def main() -> None:
    for line in sys.stdin:
        rows = json.loads(line)
        detectors = [drift.ADWIN() for _ in rows[0]] if rows else []
        found: list[list[int]] = [[] for _ in detectors]
        for place, row in enumerate(rows):
            for detector, value, drifts in zip(detectors, row, found, strict=True):
                detector.update(value)
                if detector.drift_detected:
                    drifts.append(place)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
