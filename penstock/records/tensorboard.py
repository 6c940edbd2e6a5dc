"""Records as TensorBoard's event files, by TensorBoard's own writer: a folder for each record."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from penstock.records.record import Record, RecordsError

_DIGEST = "penstock.sha256"
_TEXT = "text"


def write(records: Iterable[Record], folder: Path) -> list[Path]:
    """Write what isn't there yet, or has changed. Returns the folders that were written.

    A folder appears as a whole, so that TensorBoard never reads one that is half-written.

    Raises:
        OSError: there is no room, or no right to.
        RecordsError: TensorBoard isn't installed.
    """
    try:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise RecordsError(
            f"TensorBoard's files need its package: pip install 'penstock[tensorboard]' ({error})"
        ) from None
    written = []
    for record in records:
        target = folder / record.place
        if _digest(target) == record.digest:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as scratch:
            made = Path(scratch) / target.name
            made.mkdir()
            writer = EventFileWriter(str(made))
            try:
                for event in _events(record):
                    writer.add_event(event)
            finally:
                writer.close()
            (made / _DIGEST).write_text(record.digest)
            shutil.rmtree(target, ignore_errors=True)
            made.rename(target)
        written.append(target)
    return written


def _digest(folder: Path) -> str:
    try:
        return (folder / _DIGEST).read_text()
    except OSError:
        return ""


def _events(record: Record) -> Iterable[Any]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    for one in sorted(record.figures, key=lambda figure: (figure.time_ms, figure.step)):
        value = Summary.Value(tag=one.name, simple_value=one.value)
        yield Event(wall_time=one.time_ms / 1e3, step=one.step, summary=Summary(value=[value]))
    lines = [*(f"- {name}: {value}" for name, value in {**record.parameters, **record.tags}.items()), "", record.text]
    yield Event(wall_time=record.end_ms / 1e3, step=0, summary=Summary(value=[_text("\n".join(lines))]))


def _text(text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=_TEXT), data_class=2)
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
    return Summary.Value(tag="summary", tensor=tensor, metadata=metadata)
