"""Who makes room for whom: for any fleet, and in the cases that people think of first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.registry.domain.eviction import LEAST_IDLE_S, LEAST_STAY_S, LEAST_WAIT_S, TURN_S
from services.registry.domain.fleet import Fleet, Health, Process, Room, Use, Wanted
from services.registry.domain.placement import decide
from services.registry.domain.resources import Placement

NODES = ("a", "b")
VERSIONS = tuple("stuvwxyz")
ASKED = Use(unsettled=1, idle_s=0.0, asked_s=LEAST_WAIT_S)
BUSY = Use(unsettled=1, idle_s=0.0)


def loaded(version: str, node: str = "a", *, need: int = 1, is_pinned: bool = False) -> Wanted:
    """One that takes requests on a node."""
    place = Placement(version, 0, node)
    return Wanted(version, 1, need, [place], {(0, node)}, is_pinned=is_pinned)


def unloaded(version: str, *, need: int = 1, is_pinned: bool = False) -> Wanted:
    return Wanted(version, 1, need, is_pinned=is_pinned)


def node(
    *versions: str, most: int = 0, free: int = 0, ready_s: float | None = 60.0, draining: Sequence[str] = ()
) -> Room:
    """One with a process of each version."""
    processes = {(version, 0): Process(ready_s) for version in versions}
    processes |= {(version, 0): Process(is_draining=True) for version in draining}
    return Room(Health.ALIVE, free, most, processes=processes)


def fleet(uses: Mapping[str, Use], **nodes: Room) -> Fleet:
    return Fleet(nodes, uses=uses)


def nodes_of(decided: Mapping[str, Sequence[Placement]]) -> dict[str, str]:
    return {version: place.node for version, (place,) in decided.items()}


def test_without_a_request_nothing_makes_room() -> None:
    decided = decide([loaded("u"), unloaded("v")], fleet({}, a=node("u", most=1)))

    assert nodes_of(decided) == {"u": "a", "v": ""}
    assert decided["v"][0].is_asleep


def test_what_was_idle_for_longest_makes_room_and_is_replaced_once_its_process_has_ended() -> None:
    uses = {"u": Use(idle_s=20.0), "w": Use(idle_s=30.0), "v": ASKED}
    decided = decide([loaded("u"), loaded("w"), unloaded("v")], fleet(uses, a=node("u", "w", most=2, free=9)))
    assert nodes_of(decided) == {"u": "a", "w": "", "v": ""}

    wishes = [loaded("u"), unloaded("w"), unloaded("v")]
    still_there = decide(wishes, fleet(uses, a=node("u", most=2, free=9, draining="w")))
    assert nodes_of(still_there) == {"u": "a", "w": "", "v": ""}, "nobody else goes meanwhile"

    gone = decide(wishes, fleet(uses, a=node("u", most=2, free=9)))
    assert nodes_of(gone) == {"u": "a", "w": "", "v": "a"}


def test_what_was_never_used_goes_before_what_was() -> None:
    uses = {"u": Use(idle_s=3000.0), "v": ASKED}
    decided = decide([loaded("u"), loaded("w"), unloaded("v")], fleet(uses, a=node("u", "w", most=2)))
    assert nodes_of(decided)["w"] == ""


def test_what_is_pinned_never_makes_room() -> None:
    wishes = [loaded("u", is_pinned=True), unloaded("v")]
    (place,) = decide(wishes, fleet({"v": ASKED}, a=node("u", most=1, free=9)))["v"]

    assert (place.node, place.is_asleep) == ("", False), "no request would wake it"
    assert "one more process" in place.reason


def test_what_is_pinned_is_loaded_unasked() -> None:
    wishes = [loaded("u"), unloaded("v", is_pinned=True)]
    assert nodes_of(decide(wishes, fleet({}, a=node("u", most=1)))) == {"u": "", "v": ""}
    assert nodes_of(decide([unloaded("u"), wishes[1]], fleet({}, a=node(most=1, free=9)))) == {"u": "", "v": "a"}


@pytest.mark.parametrize(
    ("use", "ready_s", "goes"),
    [
        (Use(idle_s=LEAST_IDLE_S), LEAST_STAY_S, True),
        (Use(idle_s=LEAST_IDLE_S / 2), LEAST_STAY_S, False),
        (Use(idle_s=60.0), LEAST_STAY_S / 2, False),
        (Use(idle_s=60.0), None, False),
        (BUSY, TURN_S, True),
        (BUSY, TURN_S / 2, False),
    ],
)
def test_what_is_used_stays_for_its_turn_and_what_loads_is_not_disturbed(
    use: Use, ready_s: float | None, goes: bool
) -> None:
    wishes = [loaded("u"), unloaded("v")]
    decided = decide(wishes, fleet({"u": use, "v": ASKED}, a=node("u", most=1, ready_s=ready_s)))
    assert (nodes_of(decided)["u"] == "") is goes


def test_who_just_came_takes_the_place_of_what_is_idle_but_of_nothing_that_is_used() -> None:
    new = replace(ASKED, asked_s=0.0)
    for use, goes in ((Use(idle_s=9.0), True), (BUSY, False)):
        decided = decide([loaded("u"), unloaded("v")], fleet({"u": use, "v": new}, a=node("u", most=1)))
        assert (nodes_of(decided)["u"] == "") is goes


def test_who_lost_its_turn_takes_nobody_elses_at_once() -> None:
    uses = {"u": BUSY, "w": BUSY, "v": ASKED}
    decided = decide([loaded("u"), loaded("w"), unloaded("v")], fleet(uses, a=node("u", "w", most=2)))
    assert sorted(nodes_of(decided).values()) == ["", "", "a"]


def test_those_who_have_waited_longest_come_first() -> None:
    uses = {"v": replace(ASKED, asked_s=1.0), "w": replace(ASKED, asked_s=3.0), "u": Use(asked_s=9.0, idle_s=2.0)}
    decided = decide([unloaded("u"), unloaded("v"), unloaded("w")], fleet(uses, a=node(most=1, free=9)))
    assert nodes_of(decided)["w"] == "a"


def test_who_asked_but_waits_no_more_takes_only_what_was_idle_for_longer() -> None:
    uses = {"u": Use(idle_s=3.0), "v": Use(idle_s=4.0, asked_s=4.0)}
    assert nodes_of(decide([loaded("u"), unloaded("v")], fleet(uses, a=node("u", most=1))))["u"] == "a"
    uses["v"] = Use(idle_s=2.0, asked_s=4.0)
    assert nodes_of(decide([loaded("u"), unloaded("v")], fleet(uses, a=node("u", most=1))))["u"] == ""


def test_a_further_replica_of_what_is_used_makes_room_but_takes_none() -> None:
    places = [Placement("u", 0, "a"), Placement("u", 1, "a")]
    twice = Wanted("u", 2, 1, places, {(0, "a"), (1, "a")})
    room = Room(Health.ALIVE, 9, 2, processes={("u", 0): Process(2.0), ("u", 1): Process(2.0)})
    decided = decide([twice, unloaded("v")], fleet({"u": BUSY, "v": ASKED}, a=room))
    assert sorted(one.node for one in decided["u"]) == ["", "a"]

    back = Wanted("u", 2, 1, [Placement("u", 0, "a")], {(0, "a")})
    uses = {"u": BUSY, "v": Use(idle_s=60.0)}
    decided = decide([back, loaded("v")], fleet(uses, a=node("u", "v", most=2)))
    assert nodes_of({"v": decided["v"]}) == {"v": "a"}


def test_as_many_go_as_a_large_one_needs() -> None:
    wishes = [*(loaded(version, need=10) for version in "uwx"), unloaded("v", need=25)]
    uses = {"u": Use(idle_s=10.0), "w": Use(idle_s=20.0), "x": Use(idle_s=30.0), "v": ASKED}

    decided = decide(wishes, fleet(uses, a=node("u", "w", "x", free=5)))

    assert nodes_of(decided) == {"u": "a", "w": "", "x": "", "v": ""}


def test_where_too_little_would_be_gained_nobody_goes() -> None:
    wishes = [loaded("u", need=10), unloaded("v", need=100)]
    decided = decide(wishes, fleet({"v": ASKED}, a=node("u", free=5)))
    assert nodes_of(decided)["u"] == "a"
    assert not decided["v"][0].is_asleep


def test_what_a_lost_node_had_takes_the_place_of_others_when_it_is_asked_for() -> None:
    wishes = [loaded("u", "b"), loaded("v", "a")]
    nodes = {"a": Room(Health.SILENT), "b": node("u", most=1)}
    assert nodes_of(decide(wishes, fleet({}, **nodes)))["u"] == "b"
    assert nodes_of(decide(wishes, fleet({"v": ASKED}, **nodes)))["u"] == ""


uses = st.builds(
    Use,
    st.integers(0, 2),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0, 100.0]),
    st.one_of(st.none(), st.sampled_from([0.1, 1.0, 6.0])),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Wanted], Fleet]:
    """Versions on two nodes, with processes that load, serve, drain or are left over, and any use."""
    wishes, processes = [], {name: dict[tuple[str, int], Process]() for name in NODES}
    used = {}
    for version in draw(st.sets(st.sampled_from(VERSIONS), min_size=1)):
        replicas = draw(st.integers(1, 2))
        places, ready, failing = [], set(), set()
        for number in range(replicas):
            at = draw(st.sampled_from(["", *NODES]))
            process = draw(st.sampled_from([None, Process(), Process(0.5), Process(60.0), Process(is_draining=True)]))
            if process is not None:
                processes[at or draw(st.sampled_from(NODES))][version, number] = process
            if at:
                places.append(Placement(version, number, at))
                if process is not None and process.ready_s is not None:
                    ready.add((number, at))
                elif process is not None and draw(st.booleans()):
                    failing.add((number, at))
        use = draw(uses)
        is_homeless = not places
        used[version] = use if is_homeless else replace(use, asked_s=None)
        wishes.append(
            Wanted(version, replicas, draw(st.integers(0, 4)), places, ready, failing, is_pinned=draw(st.booleans()))
        )
    rooms = {
        name: Room(
            draw(st.sampled_from([Health.ALIVE, Health.ALIVE, Health.SILENT])),
            draw(st.integers(0, 8)),
            draw(st.integers(0, 4)),
            processes=processes[name],
        )
        for name in NODES
    }
    return wishes, Fleet(rooms, uses=used)


@given(situations())
def test_asked_again_it_decides_the_same(situation: tuple[list[Wanted], Fleet]) -> None:
    wishes, nodes = situation
    decided = decide(wishes, nodes)

    assert decide([replace(want, placements=decided[want.version]) for want in wishes], nodes) == decided


@given(situations())
def test_what_is_pinned_or_loads_stays_and_no_node_runs_more_than_it_may(
    situation: tuple[list[Wanted], Fleet],
) -> None:
    wishes, nodes = situation
    decided = decide(wishes, nodes)

    for want in wishes:
        kept = {(one.replica, one.node) for one in decided[want.version]}
        for place in want.placements:
            process = nodes.nodes[place.node].processes.get((want.version, place.replica))
            loads = (place.replica, place.node) not in {*want.ready, *want.failing}
            if nodes.health(place.node) is Health.ALIVE and (want.is_pinned or (process is None or loads)):
                assert (place.replica, place.node) in kept
    before = {(one.version, one.replica, one.node) for want in wishes for one in want.placements}
    for name, room in nodes.nodes.items():
        placed = {(one.version, one.replica) for found in decided.values() for one in found if one.node == name}
        new = {one for one in placed if (*one, name) not in before}
        ending = {at for at, process in room.processes.items() if process.is_draining}
        if new and room.max_instances:
            assert len(placed | room.processes.keys()) + len(placed & ending) <= room.max_instances


@given(situations())
def test_only_what_is_asked_for_or_pinned_makes_others_go(situation: tuple[list[Wanted], Fleet]) -> None:
    wishes, nodes = situation
    quiet = [replace(want, is_pinned=False) for want in wishes]
    decided = decide(quiet, replace(nodes, uses={name: replace(use, asked_s=None) for name, use in nodes.uses.items()}))

    for want in quiet:
        numbers = {one.replica for one in want.placements if one.node}
        assert numbers == {one.replica for one in decided[want.version] if one.node} & numbers


@given(situations())
def test_everyone_who_asks_is_loaded_in_the_end(situation: tuple[list[Wanted], Fleet]) -> None:
    """Decisions are carried out, time passes, nobody's requests leave: each version that could run gets its turn."""
    wishes, nodes = situation
    wishes = [replace(want, is_pinned=False, replicas=1, failing=()) for want in wishes]
    asked = {want.version for want in wishes if decide([want], _empty(nodes))[want.version][0].node}
    served: set[str] = set()
    state = {want.version: replace(want, placements=want.placements[:1]) for want in wishes}
    ready_s: dict[tuple[str, str], float] = {}
    asleep_s = dict.fromkeys(state, 0.0)
    for _ in range(4 * len(wishes) + 8):
        uses = {
            version: Use(1, 0.0, None if any(one.node for one in want.placements) else asleep_s[version])
            for version, want in state.items()
        }
        rooms = {
            name: replace(
                room,
                free_bytes=_empty(nodes).nodes[name].free_bytes
                - sum(want.need_bytes for want in state.values() for one in want.placements if one.node == name),
                processes={
                    (version, 0): Process(ready_s.get((version, name), 0.0))
                    for version, want in state.items()
                    for one in want.placements
                    if one.node == name
                },
            )
            for name, room in _empty(nodes).nodes.items()
        }
        decided = decide(list(state.values()), Fleet(rooms, uses=uses))
        for version, (place, *_) in decided.items():
            ready = {(0, place.node)} if place.node else set()
            state[version] = replace(state[version], placements=[place] if place.node else [], ready=ready)
            ready_s = {key: at for key, at in ready_s.items() if key[0] != version or key[1] == place.node}
            if place.node:
                served.add(version)
                ready_s[version, place.node] = ready_s.get((version, place.node), -TURN_S) + TURN_S
            asleep_s[version] = 0.0 if place.node else asleep_s[version] + TURN_S
    assert asked <= served


def _empty(nodes: Fleet) -> Fleet:
    return Fleet({name: replace(room, processes={}) for name, room in nodes.nodes.items()})
