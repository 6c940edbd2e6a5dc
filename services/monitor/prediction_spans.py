"""Reads the spans that tell what was answered to requests with ids, by the names in docs/telemetry.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.monitor.domain.blocks import STABLE
from services.monitor.domain.quality.predictions import NO_CLASS, Predictions
from services.monitor.domain.ring import KeptSpan
from services.monitor.span_values import MalformedSpanError, Values

MAX_ROWS = 65_536
MAX_PROBABILITIES = 64
_KEY_BYTES = 8


def predictions_of(span: KeptSpan, values: Values) -> Predictions:
    """What a span tells of answers.

    Raises:
        MalformedSpanError: it isn't as docs/telemetry.md says.
    """
    ids: bytes = values.read("penstock.requests.id", b"")
    rows, rest = divmod(len(ids), _KEY_BYTES)
    if rest or not 1 <= rows <= MAX_ROWS:
        raise MalformedSpanError(
            f"attribute penstock.requests.id has {len(ids)} bytes, expected {_KEY_BYTES} for each of 1 to {MAX_ROWS}"
        )
    if not span.model or not span.version:
        raise MalformedSpanError(f"span {span.span_id.hex()} tells of answers and names no model and version")
    classes = _packed(values, "penstock.requests.class", "<i4", rows=rows)
    if (classes < NO_CLASS).any():
        raise MalformedSpanError(f"attribute penstock.requests.class has {int(classes.min())}, expected -1 or more")
    probabilities: bytes = values.read("penstock.requests.probabilities", b"")
    width, rest = divmod(len(probabilities), 2 * rows)
    if rest or width > MAX_PROBABILITIES or (width and int(classes.max()) >= width):
        raise MalformedSpanError(
            f"attribute penstock.requests.probabilities has {len(probabilities)} bytes for {rows} answers and classes "
            f"up to {int(classes.max())}, expected 2 for each class of each, {MAX_PROBABILITIES} at most"
        )
    return Predictions(
        span.model,
        span.version,
        span.end_ns,
        np.frombuffer(ids, "<i8"),
        classes,
        _packed(values, "penstock.requests.confidence", "<f4", rows=rows),
        _packed(values, "penstock.requests.value", "<f8", rows=rows),
        np.frombuffer(probabilities, "<f2").reshape(rows, width),
        values.name("penstock.deployment.arm") or STABLE,
    )


def _packed(values: Values, name: str, dtype: str, *, rows: int) -> NDArray[Any]:
    array: bytes = values.read(name, b"")
    size = np.dtype(dtype).itemsize
    if len(array) != size * rows:
        raise MalformedSpanError(f"attribute {name} has {len(array)} bytes, expected {size} for each of {rows} answers")
    return np.frombuffer(array, dtype)
