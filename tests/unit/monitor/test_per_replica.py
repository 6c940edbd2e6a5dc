"""What is kept of each replica: as much of each in a large fleet, and never more than there is room for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.monitor.domain.blocks import Block, Exemplar
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.per_replica import SILENT_S, PerReplica
from services.monitor.domain.phases import Phase
from services.monitor.domain.replica import MAX_REPLICAS
from services.monitor.domain.showcase import Showcase


class Seen(NamedTuple):
    second: int


def names(count: int, *, first: int = 0) -> list[str]:
    return [f"node.{number}" for number in range(first, first + count)]


def test_the_last_of_each_is_kept() -> None:
    kept = PerReplica[Seen]()
    for second in range(100):
        for name in names(3):
            kept.add(name, Seen(second), most=5)
    assert [one.second for one in kept] == sorted([*range(95, 100)] * 3)
    assert {name: len(several) for name, several in kept.by_replica(since=98).items()} == dict.fromkeys(names(3), 2)
    assert kept.by_replica(since=100) == {}


def test_only_who_is_silent_makes_room() -> None:
    kept = PerReplica[Seen]()
    for name in names(MAX_REPLICAS):
        kept.add(name, Seen(0), most=5)
    kept.add("new", Seen(SILENT_S - 1), most=5)
    assert (len(kept), "new" in kept.by_replica(since=0)) == (MAX_REPLICAS, False)
    kept.add("node.0", Seen(SILENT_S), most=5)
    kept.add("new", Seen(SILENT_S), most=5)
    assert (len(kept), set(kept.by_replica(since=SILENT_S))) == (MAX_REPLICAS, {"node.0", "new"})


def test_a_large_fleet_shows_traces_of_a_minute_ago() -> None:
    showcase = Showcase()
    for second in range(60):
        for name in names(MAX_REPLICAS):
            trace = f"{second:03}{name:>13}".encode()
            block = Block("digits", "1", second, np.zeros(len(Outcome), np.int64), instance=name)
            block.ordinary = {Phase.TOTAL: Exemplar(trace, 1_000)}
            showcase.add(block)
    shown = showcase.innocent(Phase.TOTAL, before=10)
    assert {trace[:3] for trace in shown} == {b"009"}
