"""Where replicas go: for any fleet and any wishes, and in the cases that people think of first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from services.registry.domain.fleet import Fleet, Health, Room, Wanted
from services.registry.domain.placement import decide
from services.registry.domain.resources import Placement

ALIVE, LEAVING, SILENT, UNHEARD = Health.ALIVE, Health.LEAVING, Health.SILENT, Health.UNHEARD
NODES = ("a", "b", "c", "d")
VERSIONS = ("u", "v", "w")


def room(health: Health = ALIVE, *, free: int = 100, most: int = 0) -> Room:
    return Room(health, free, most)


def fleet(**nodes: Room) -> Fleet:
    return Fleet(nodes)


def place(number: int, node: str, *, version: str = "v", is_leaving: bool = False) -> Placement:
    return Placement(version, number, node, is_leaving=is_leaving)


def wanted(replicas: int, *places: Placement, version: str = "v", need: int = 1, ready: Sequence[str] = ()) -> Wanted:
    """``ready`` are the nodes whose replicas take requests."""
    served = [(one.replica, one.node) for one in places if one.node in ready]
    return Wanted(version, replicas, need, places, served)


def nodes_of(placements: Sequence[Placement]) -> list[str]:
    return [one.node for one in placements if not one.is_leaving]


def after(want: Wanted, placements: Sequence[Placement]) -> Wanted:
    """The same wish once everything runs where it was placed."""
    return replace(want, placements=placements, ready=[(one.replica, one.node) for one in placements], failing=())


def settled(wishes: Sequence[Wanted], nodes: Fleet) -> tuple[list[Wanted], int]:
    """What comes of decisions when each is carried out, and how many moves that took."""
    moves = 0
    for _ in range(100):
        decided = decide(wishes, nodes)
        moves += sum(one.is_leaving for places in decided.values() for one in places)
        following = [after(want, decided[want.version]) for want in wishes]
        if following == wishes:
            return following, moves
        wishes = following
    raise AssertionError(f"never settles: {wishes}")


rooms = st.builds(Room, st.sampled_from(Health), st.integers(0, 8), st.integers(0, 5))
fleets = st.builds(Fleet, st.dictionaries(st.sampled_from(NODES), rooms), st.sampled_from([SILENT, UNHEARD]))


@st.composite
def wishes(draw: st.DrawFn) -> list[Wanted]:
    """Any, with any history: placements may be doubled, of numbers that are no more, on nodes that are no more."""
    found = []
    for version in draw(st.sets(st.sampled_from(VERSIONS))):
        a_place = st.builds(Placement, st.just(version), st.integers(0, 5), st.sampled_from(NODES), st.booleans())
        places = draw(st.lists(a_place, max_size=8))
        pairs = [(one.replica, one.node) for one in places]
        some = st.sets(st.sampled_from(pairs)) if pairs else st.just(set())
        found.append(Wanted(version, draw(st.integers(1, 5)), draw(st.integers(0, 4)), places, draw(some), draw(some)))
    return found


@given(wishes(), fleets)
def test_every_replica_has_one_place_or_a_reason_or_moves_between_two(wishes: list[Wanted], nodes: Fleet) -> None:
    decided = decide(wishes, nodes)

    assert decided.keys() == {one.version for one in wishes}
    for want in wishes:
        for number in range(want.replicas):
            places = [one for one in decided[want.version] if one.replica == number]
            assert len([one for one in places if not one.is_leaving]) == 1
            assert len([one for one in places if one.is_leaving]) <= 1
            assert len({one.node for one in places}) == len(places)
            assert all(bool(one.node) != bool(one.reason) for one in places)
        assert {one.replica for one in decided[want.version]} == set(range(want.replicas))


DOUBLED = [Placement("u", 0, "b", is_leaving=True), Placement("u", 0, "a"), Placement("u", 0, "a")]


@given(wishes(), fleets)
@example([Wanted("u", 1, 0, DOUBLED, ready={(0, "b")})], Fleet({"b": Room(Health.ALIVE)}))
def test_asked_again_it_decides_the_same(wishes: list[Wanted], nodes: Fleet) -> None:
    decided = decide(wishes, nodes)
    again = [replace(want, placements=decided[want.version]) for want in wishes]

    assert decide(again, nodes) == decided


@given(wishes(), fleets)
def test_no_node_gets_more_than_it_has_room_for_and_only_those_that_are_alive_get_any(
    wishes: list[Wanted], nodes: Fleet
) -> None:
    decided = decide(wishes, nodes)

    before = {(want.version, one.replica, one.node) for want in wishes for one in want.placements}
    running = {(want.version, number, node) for want in wishes for number, node in want.ready}
    needs = {want.version: want.need_bytes for want in wishes}
    places = {(one.version, one.replica, one.node) for found in decided.values() for one in found if one.node}
    gets = {node for version, number, node in places - before}
    assert all(nodes.health(node) is ALIVE for node in gets)
    for node in gets:
        here = [one for one in places if one[2] == node]
        assert sum(needs[one[0]] for one in here if one not in running) <= nodes.nodes[node].free_bytes
        assert len(here) <= (nodes.nodes[node].max_instances or len(here))


@given(wishes(), fleets)
def test_what_serves_is_not_given_up_before_another_does(wishes: list[Wanted], nodes: Fleet) -> None:
    decided = decide(wishes, nodes)

    for want in wishes:
        kept = {(one.replica, one.node) for one in decided[want.version]}
        for number, node in want.ready:
            if number < want.replicas and nodes.health(node) is not SILENT:
                others = {place for at, place in want.ready if at == number and place != node}
                assert (number, node) in kept or any((number, place) in kept for place in others)


@given(wishes(), fleets)
def test_it_settles_with_few_moves_and_as_even_as_room_allows(wishes: list[Wanted], nodes: Fleet) -> None:
    final, moves = settled([after(want, want.placements) for want in wishes], nodes)

    assert moves <= 3 * sum(want.replicas for want in wishes)
    load = Counter(one.node for want in final for one in want.placements)
    for want in final:
        spread = Counter(one.node for one in want.placements)
        for here, there in ((here, there) for here in nodes.nodes for there in nodes.nodes):
            if nodes.health(here) is nodes.health(there) is ALIVE and spread[here] - spread[there] >= 2:
                is_full = 0 < nodes.nodes[there].max_instances <= load[there]
                assert is_full or want.need_bytes > nodes.nodes[there].free_bytes


def test_replicas_of_one_version_go_to_different_nodes_and_where_fewest_are() -> None:
    others = [wanted(1, place(0, "a", version=version), version=version, ready="a") for version in "uw"]

    decided = decide([*others, wanted(2)], fleet(a=room(), b=room(), c=room()))

    assert nodes_of(decided["v"]) == ["b", "c"]


def test_what_is_equal_goes_where_most_memory_is_free() -> None:
    assert nodes_of(decide([wanted(2)], fleet(a=room(free=5), b=room(free=7), c=room(free=6)))["v"]) == ["b", "c"]


def test_what_fits_nowhere_says_so() -> None:
    big = 3 << 30
    (place,) = decide([wanted(1, need=big)], fleet(a=room(free=1 << 30), b=room(SILENT, free=1 << 40)))["v"]
    assert (place.node, place.reason) == (
        "",
        "needs 3,072.0 MiB of memory, the most that a node has left is 1,024.0 MiB",
    )

    first, second = decide([wanted(2)], fleet(a=room(most=1)))["v"]
    assert (first.node, second.node) == ("a", "")
    assert "one more process" in second.reason

    (place,) = decide([wanted(1)], fleet())["v"]
    assert place.reason == "no node takes replicas"


def test_only_nodes_with_a_backend_for_its_format_get_a_version() -> None:
    nodes = fleet(a=Room(ALIVE, 100, formats=("onnx",)), b=Room(ALIVE, 10, formats=("onnx", "keras")))
    want = replace(wanted(2), format="keras")
    assert nodes_of(decide([want], nodes)["v"]) == ["b", "b"]

    (place,) = decide([replace(want, replicas=1)], fleet(a=nodes.nodes["a"]))["v"]
    assert place.reason == "no node has a backend for its format, and what its steps need"


def test_only_nodes_with_the_libraries_of_its_steps_get_a_version() -> None:
    nodes = fleet(
        a=Room(ALIVE, 100, formats=("onnx",)),
        b=Room(ALIVE, 10, formats=("onnx",), libraries=("pillow",)),
        c=Room(ALIVE, 20),  # it doesn't say what it has
    )
    want = replace(wanted(3), format="onnx", libraries=("pillow",))
    assert sorted(nodes_of(decide([want], nodes)["v"])) == ["b", "c", "c"]


def test_a_version_goes_where_there_is_room_for_its_files() -> None:
    full, empty = replace(room(free=100), free_cache_bytes=9), replace(room(free=50), free_cache_bytes=10)
    want = replace(wanted(1), size_bytes=10)
    assert nodes_of(decide([want], fleet(a=full, b=empty))["v"]) == ["b"]
    assert nodes_of(decide([want], fleet(a=full))["v"]) == ["a"], "it says itself what is in the way"


def test_a_version_leaves_a_node_that_has_no_room_for_its_files_if_another_has() -> None:
    full = replace(room(free=100), free_cache_bytes=99, without_room={"v"})
    want = replace(wanted(1, place(0, "a")), size_bytes=10, failing=[(0, "a")])
    for other, expected in ((10, "b"), (9, "a")):
        nodes = fleet(a=full, b=replace(room(free=50), free_cache_bytes=other))
        decided = decide([want], nodes)["v"]
        assert decided == (place(0, expected),)
        assert decide([replace(want, placements=decided, failing=())], nodes)["v"] == decided
    both = fleet(a=full, b=replace(full, free_bytes=1000))
    assert decide([want], both)["v"] == (place(0, "a"),)


def test_replicas_are_not_evened_out_to_a_node_without_room_for_their_files() -> None:
    want = replace(wanted(2, place(0, "a"), place(1, "a"), ready="a"), size_bytes=10)
    nodes = fleet(a=room(), b=replace(room(), free_cache_bytes=9))
    assert nodes_of(decide([want], nodes)["v"]) == ["a", "a"]


def test_memory_is_promised_once() -> None:
    decided = decide([wanted(3, need=40)], fleet(a=room(free=100)))["v"]
    assert nodes_of(decided) == ["a", "a", ""]

    serving = [place(0, "a"), place(1, "a")]
    decided = decide([wanted(3, *serving, need=40, ready="a")], fleet(a=room(free=45)))["v"]
    assert nodes_of(decided) == ["a", "a", "a"], "what the first two take is not free any more"


def test_a_node_that_falls_silent_loses_its_replicas_when_others_serve_them() -> None:
    nodes = fleet(a=room(SILENT), b=room())
    moving = decide([wanted(2, place(0, "a"), place(1, "b"), ready="ab")], nodes)["v"]
    assert moving == (place(0, "a", is_leaving=True), place(0, "b"), place(1, "b"))
    assert decide([wanted(2, *moving, ready="a")], nodes)["v"] == moving

    assert decide([wanted(2, *moving, ready="ab")], nodes)["v"] == (place(0, "b"), place(1, "b"))


def test_with_no_other_node_replicas_stay_where_they_are() -> None:
    for health in (SILENT, LEAVING, UNHEARD):
        assert decide([wanted(1, place(0, "a"))], fleet(a=room(health)))["v"] == (place(0, "a"),)
        assert decide([wanted(1, place(0, "a"))], fleet(a=room(health), b=room(free=0)))["v"] == (place(0, "a"),)
    assert decide([wanted(1, place(0, "a"))], fleet())["v"] == (place(0, "a"),)


def test_a_node_that_was_not_heard_yet_keeps_its_replicas_and_gets_none() -> None:
    nodes = Fleet({"b": room()}, UNHEARD)
    assert nodes_of(decide([wanted(2, place(0, "a"))], nodes)["v"]) == ["a", "b"]


def test_a_node_that_returns_before_its_successor_serves_goes_on() -> None:
    moving = [place(0, "a", is_leaving=True), place(0, "b"), place(1, "b")]
    assert decide([wanted(2, *moving, ready="a")], fleet(a=room(), b=room()))["v"] == (place(0, "a"), place(1, "b"))


def test_a_node_that_joins_takes_over_one_at_a_time_until_the_difference_is_less_than_two() -> None:
    nodes = fleet(a=room(), b=room())
    wishes = [wanted(1, place(0, "a", version=version), version=version, ready="a") for version in "uvw"]

    decided = decide(wishes, nodes)
    assert sum(one.is_leaving for places in decided.values() for one in places) == 1

    final, moves = settled(wishes, nodes)
    assert moves == 1
    assert sorted(Counter(one.node for want in final for one in want.placements).values()) == [1, 2]


def test_a_move_to_where_it_fails_keeps_nobody_else_waiting_and_is_not_tried_with_others_of_its_version() -> None:
    nodes = fleet(a=room(), b=room())
    stuck = replace(
        wanted(2, place(0, "a", is_leaving=True), place(0, "b"), place(1, "a"), ready="a"), failing=[(0, "b")]
    )
    others = [wanted(1, place(0, "a", version=version), version=version, ready="a") for version in "uw"]

    decided = decide([stuck, *others], nodes)

    assert set(decided["v"]) == set(stuck.placements)
    assert sum(one.is_leaving for name in "uw" for one in decided[name]) == 1


def test_fewer_replicas_end_the_last_ones() -> None:
    places = [place(0, "a"), place(1, "b"), place(2, "a")]
    assert decide([wanted(2, *places, ready="ab")], fleet(a=room(), b=room()))["v"] == (place(0, "a"), place(1, "b"))
