"""``python -m services.inference.search``: tries the variants of a model in a process of its own.

One JSON line in; out come ``{"count": …}``, then ``{"trying": …}`` and ``{"trial": …}`` for each variant. A variant may
crash or hang this process: the agent starts another one, which goes on behind what was tried. Variants are measured in
turns with the original, so that what else happens on the machine hits both alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from services.common import priority
from services.inference import backends, sandbox
from services.inference.backends import Arrays, LoadError, Model, ModelFiles, Placement, RunError
from services.inference.backends.samples import examples_of, sample, working_sizes
from services.inference.domain.agreement import Agreement, compare
from services.inference.domain.manifest import NOTHING_SAID, Manifest
from services.inference.domain.signature import Signature
from services.inference.domain.variants import ORIGINAL, Level, Measurement, Trial, Variant, best, combined, slowness
from services.inference.environment import move_home
from services.inference.model_process.control import end_with_agent, take_standard_output

_TURN_S = 0.02
_MEASURE_S = 0.3
_FEWEST_TURNS, _MOST_TURNS = 3, 15
_WARM_UP_RUNS = 3
_FEW_ROWS = 4
_LARGE_FILE = 256 * 2**20
_LOWEST = 19
WORKSHOP = "made"
"""The folder, in that of a search, for what is made of the model."""


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """What to search, and what is known already.

    ``rows`` is the batch size that matters besides 1; ``scratch`` a folder for what compilers leave behind and what is
    made of the model. ``is_confined``: the process gives up what it has no need of.
    """

    path: str
    format: str
    signature: Signature
    device: str
    threads: int
    level: Level
    rows: int
    niceness: int = _LOWEST
    scratch: str = ""
    trials: tuple[Trial, ...] = ()
    manifest: Manifest = NOTHING_SAID
    is_confined: bool = False

    @property
    def workshop(self) -> Path | None:
        """Where native code is made of the model, for the agent to keep; None: beside the model."""
        return Path(self.scratch, WORKSHOP) if self.scratch else None

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "trials": [trial.to_json() for trial in self.trials]})

    @classmethod
    def from_json(cls, text: str | bytes) -> SearchSpec:
        fields: dict[str, Any] = json.loads(text)
        return cls(
            **{
                **fields,
                "signature": Signature.from_json(fields["signature"]),
                "manifest": Manifest.from_json(fields["manifest"]),
                "level": Level(fields["level"]),
                "trials": tuple(map(Trial.from_json, fields["trials"])),
            }
        )


@dataclass(frozen=True, slots=True)
class _Probe:
    """Inputs and what the original makes of them."""

    inputs: Arrays
    outputs: Arrays


class Search:
    """Compares variants with the original.

    Raises:
        LoadError: the original can't be loaded, or differs from itself.
    """

    def __init__(self, spec: SearchSpec) -> None:
        self._spec = spec
        self._files = ModelFiles(Path(spec.path), workshop=spec.workshop)
        self._original = self._load(ORIGINAL)
        self._probes = list(self._make_probes())

    def variants(self) -> list[Variant]:
        """All that is worth a try with the threads given."""
        return backends.variants(self._files, self._spec.format, self._original, level=self._spec.level)

    def combinations(self, trials: Sequence[Trial]) -> list[Variant]:
        """What the figures so far suggest. A second copy takes its memory: of a large file only with FULL."""
        is_small = self._files.size_bytes <= _LARGE_FILE or self._spec.level is Level.FULL
        return [found] if is_small and (found := combined(trials)) is not None else []

    def fewer_threads(self, trials: Sequence[Trial]) -> list[Variant]:
        """The best so far, with fewer threads: more of them don't make a small model faster."""
        base = found.variant if (found := best(trials)) else ORIGINAL
        counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count < self._spec.threads]
        if self._spec.level is not Level.FULL:
            counts = sorted({1, counts[-1]}) if counts else []
        return [base.with_option("threads", str(count)) for count in counts]

    def try_out(self, variant: Variant) -> Trial:
        """Load, compare, measure."""
        try:
            model = self._load(variant)
            agreement = self._compare(model)
            if agreement.difference:
                return Trial(variant, agreement.difference, (), agreement.relative_error, agreement.top_agreement)
            measurements = tuple(self._measure(model, variant, rows) for rows in self._batches())
        except (LoadError, RunError) as error:
            return Trial(variant, str(error))
        return Trial(variant, slowness(measurements), measurements, agreement.relative_error, agreement.top_agreement)

    def _load(self, variant: Variant) -> Model:
        spec = self._spec
        return backends.load(
            self._files, spec.format, Placement(spec.device, spec.threads), variant, manifest=spec.manifest
        )

    def _batches(self) -> list[int]:
        """The batch sizes to measure: one row, a few, and as many as there are under load."""
        rows = self._spec.rows if self._spec.signature.is_batchable else 1
        return sorted({1, min(_FEW_ROWS, rows), rows})

    def _make_probes(self) -> Iterator[_Probe]:
        """Random inputs of several batch sizes, and of several free sizes where the model takes them."""
        signature = self._spec.signature
        sizes = working_sizes(self._original, signature, limit=2)
        for seed, rows in enumerate(sorted({*self._batches(), 2, 3}) if signature.is_batchable else [1, 1]):
            for size in sizes:
                for integers_below in (8, 1):  # indices that are too large, or else zeros
                    inputs = sample(
                        signature,
                        rows=rows,
                        free_size=size,
                        seed=seed,
                        integers_below=integers_below,
                        examples=examples_of(self._original),
                    )
                    with contextlib.suppress(RunError):
                        yield self._probe(inputs)
                        break

    def _probe(self, inputs: Arrays) -> _Probe:
        probe = _Probe(inputs, self._original.run(inputs))
        again = self._agreement(self._original.run(inputs), probe.outputs)
        if again.difference:
            raise LoadError(f"the model doesn't repeat itself: {again.difference}")
        return probe

    def _compare(self, model: Model) -> Agreement:
        agreement = Agreement()
        for probe in self._probes:
            agreement &= self._agreement(model.run(probe.inputs), probe.outputs)
        return agreement

    def _agreement(self, got: Arrays, expected: Arrays) -> Agreement:
        agreement = Agreement()
        for spec in self._spec.signature.outputs:
            agreement &= compare(spec.name, spec.datatype, got[spec.name], expected[spec.name])
        return agreement

    def _measure(self, model: Model, variant: Variant, rows: int) -> Measurement:
        """Time both in turns: first one, then the other begins."""
        fitting = (one.inputs for one in self._probes if _rows_of(one.inputs, self._spec.signature) == rows)
        if (inputs := next(fitting, None)) is None:
            raise RunError(f"the original itself fails on {rows} made-up rows")
        original, candidate = self._runner(self._original, ORIGINAL), self._runner(model, variant)
        clock = self._clock()
        for _ in range(_WARM_UP_RUNS):
            candidate(inputs, 1)
            original(inputs, 1)
        once_s = max(_seconds(clock, original, inputs, 1), 1e-6)
        runs = max(1, round(_TURN_S / once_s))
        turns = min(_MOST_TURNS, max(_FEWEST_TURNS, round(_MEASURE_S / (2 * runs * once_s))))
        times: dict[Any, list[float]] = {original: [], candidate: []}
        for turn in range(turns):
            for one in (original, candidate) if turn % 2 else (candidate, original):
                times[one].append(max(_seconds(clock, one, inputs, runs), 1e-9))
        return Measurement(
            rows,
            rows / statistics.median(times[candidate]),
            rows / statistics.median(times[original]),
            statistics.median(old / new for old, new in zip(times[original], times[candidate], strict=True)),
        )

    def _runner(self, model: Model, variant: Variant) -> Callable[[Arrays, int], None]:
        threads = int(dict(variant.options).get("threads", self._spec.threads))

        def run(inputs: Arrays, count: int) -> None:
            backends.use_threads(self._spec.format, threads)
            for _ in range(count):
                model.run(inputs)

        return run

    def _clock(self) -> Callable[[], float]:
        """CPU time where one thread does all the work, so that it doesn't count when others have the processor."""
        is_alone = self._spec.threads == 1 and self._original.device == "cpu"
        return time.process_time if is_alone else time.perf_counter


def _rows_of(inputs: Arrays, signature: Signature) -> int:
    return len(next(iter(inputs.values()))) if signature.is_batchable and inputs else 1


def _seconds(clock: Callable[[], float], run: Callable[[Arrays, int], None], inputs: Arrays, count: int) -> float:
    start = clock()
    run(inputs, count)
    return (clock() - start) / count


def search(spec: SearchSpec, tell: Callable[[Mapping[str, Any]], None]) -> None:
    """Try all that was not tried yet; then measure the best again, which may have been the luckiest only.

    Raises:
        LoadError: see :class:`Search`.
    """
    process = Search(spec)
    trials = {trial.variant: trial for trial in spec.trials}

    def try_out(variants: Sequence[Variant]) -> None:
        for variant in variants:
            if variant not in trials:
                tell({"trying": dict(variant.options)})
                trials[variant] = process.try_out(variant)
                tell({"trial": trials[variant].to_json()})

    first = process.variants()
    fewer = len(process.fewer_threads(()))
    tell({"count": len(first) + fewer})
    try_out(first)
    try_out(process.combinations(list(trials.values())))
    try_out(process.fewer_threads(list(trials.values())))
    while (found := best(list(trials.values()))) is not None:
        tell({"trying": dict(found.variant.options)})
        again = process.try_out(found.variant)
        if not again.refusal:
            tell({"trial": again.to_json()})
            break
        trials[found.variant] = replace(again, refusal=f"measured again, {again.refusal}")
        tell({"trial": trials[found.variant].to_json()})


def _step_back(niceness: int) -> None:
    priority.step_back(niceness)
    with contextlib.suppress(OSError):
        if niceness == _LOWEST:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _retreat(spec: SearchSpec) -> None:
    """Keep to the folder that was given, and, if so told, to the model: no other file, and no network."""
    if spec.workshop is None:
        return
    work = Path(spec.scratch, "work")
    for folder in (work, spec.workshop):
        folder.mkdir(exist_ok=True)
    move_home(work)
    tempfile.tempdir = str(work)
    if spec.is_confined:
        files = ModelFiles(Path(spec.path))
        sandbox.restrict(read=[files.root, *files.products], write=[spec.workshop], scratch=work)
        if not backends.recognise(files).is_elsewhere:
            sandbox.disconnect()


def main() -> None:
    end_with_agent()
    events = take_standard_output()
    spec = SearchSpec.from_json(sys.stdin.readline())
    _step_back(spec.niceness)

    def tell(event: Mapping[str, Any]) -> None:
        events.write(json.dumps(event).encode() + b"\n")

    try:
        _retreat(spec)
        search(spec, tell)
    except (LoadError, RunError) as error:
        tell({"failure": str(error)})


if __name__ == "__main__":
    main()
