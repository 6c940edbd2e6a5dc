"""What versions and rollouts came to, written where people keep such results: MLflow's runs, TensorBoard's event files.

Records that are written already, and have not changed, are not written again: it may be done as often as one likes.
"""

from __future__ import annotations

from penstock.records.collecting import collect
from penstock.records.record import Figure, Record, RecordsError

__all__ = ["Figure", "Record", "RecordsError", "collect"]
