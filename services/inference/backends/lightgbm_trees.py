"""What LightGBM doesn't check: that the numbers in a booster are of nodes, features and classes that there are.

It follows them as they are, out of its memory or for ever. The names are those of the text that it writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from services.inference.backends.backend import Array

_MOST_LINES = 22
"""Of a tree, that LightGBM reads."""
_TREES = re.compile(r"^(?=Tree=)", re.MULTILINE)
_PARAMETERS = re.compile(r"^parameters:\n(.*?)(?:^end of parameters$|\Z)", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"\[\w+: .*\]|")
_PLAIN = re.compile(r"[ -~\n]*")
_NUMBERS = re.compile(r"[-0-9 ]*")
_CATEGORICAL = 1
_KINDS_OF_DECISION = 16
_OF_NODES = (
    "left_child",
    "right_child",
    "split_feature",
    "threshold",
    "split_gain",
    "decision_type",
    "internal_value",
    "internal_weight",
    "internal_count",
)
_OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count", "leaf_const", "num_features")


def check_booster(text: str) -> None:
    """Check the text of a booster.

    Raises:
        ValueError, KeyError, OverflowError: it is cut off, or its numbers lead elsewhere.
    """
    begin = text.find("\nTree=") + 1
    end = text.find("\nend of trees\n", begin) + 1
    if not (begin and end):
        raise ValueError("it is cut off, or its trees have no end")
    head, body = _fields(text[:begin].split("\n")), text[begin:end]
    if "\0" in text or "\r" in text or not _PLAIN.fullmatch(body):
        raise ValueError("it has characters that LightGBM doesn't write")
    trees = _TREES.split(body)[1:]
    if "tree_sizes" in head:
        _check(_integers(head["tree_sizes"]).tolist() == [len(one) for one in trees], "the sizes of its trees")
    features = _integer(head["max_feature_idx"]) + 1
    _check(features > 0, "its features")
    _check_classes(head, len(trees))
    for one in trees:
        lines = one.rstrip("\n").split("\n")[1:]
        _check(len(lines) <= _MOST_LINES and all("=" in line for line in lines), "a tree's lines")
        _check_tree(_fields(lines), features)
    for section in _PARAMETERS.findall(text, end):
        _check(all(_PARAMETER.fullmatch(line) for line in section.split("\n")), "its parameters")


def _fields(lines: list[str]) -> dict[str, str]:
    pairs = [(name, value) for name, _, value in (line.partition("=") for line in lines if line)]
    fields = dict(pairs)
    _check(len(fields) == len(pairs) and "" not in fields, "its lines")
    return fields


def _check_classes(head: Mapping[str, str], trees: int) -> None:
    classes = _integer(head["num_class"])
    _check(classes > 0 and classes == _integer(head.get("num_tree_per_iteration", str(classes))), "its classes")
    _check(trees % classes == 0, "the trees of its iterations")
    # An objective writes so many numbers for each row, wherever these are to go.
    kind, *settings = head.get("objective", "").split(" ")
    said = [one for one in settings if "num_class" in one]
    _check(set(said) <= {f"num_class:{classes}"} and (bool(said) or not kind.startswith("multi")), "its classes")


def _check_tree(tree: Mapping[str, str], features: int) -> None:
    leaves = _integer(tree["num_leaves"])
    inner = leaves - 1
    for names, count in ((_OF_NODES, inner), (_OF_LEAVES, leaves)):
        found = {len(tree[name].split()) for name in names if name in tree}
        # It leaves the line of weights empty in a tree of one leaf.
        _check(found <= ({0, 1} if count == 1 == leaves else {count}), "a tree's nodes")
    children = np.concatenate([_integers(tree[name]) for name in ("left_child", "right_child")])
    # With each node and each leaf one's child, and the root nobody's, no way goes round.
    expected = [*range(-leaves, 0), *range(1, inner)]
    _check(leaves == 1 or np.array_equal(np.sort(children), expected), "a tree's nodes")
    _check(_within(_integers(tree["split_feature"]), features), "a tree's features")
    _check_categories(tree)
    if _integer(tree.get("is_linear", "0")):
        counts, used = _integers(tree.get("num_features", "")), _integers(tree.get("leaf_features", ""))
        _check(bool((counts >= 0).all()) and _within(used, features), "a tree's linear features")
        _check(counts.sum() == len(used) == len(tree.get("leaf_coeff", "").split()), "a tree's linear features")


def _check_categories(tree: Mapping[str, str]) -> None:
    kinds, count = _integers(tree.get("decision_type", "")), _integer(tree["num_cat"])
    _check(_within(kinds, _KINDS_OF_DECISION) and count >= 0, "a tree's decisions")
    thresholds = tree["threshold"].split()
    sets = _integers(" ".join(thresholds[node] for node in np.flatnonzero(kinds & _CATEGORICAL)))
    _check(_within(sets, count), "a tree's categories")
    if count:
        bounds, words = _integers(tree["cat_boundaries"]), len(tree["cat_threshold"].split())
        _check(len(bounds) == count + 1 and bounds[0] >= 0 and bounds[-1] == words, "a tree's categories")
        _check(bool((np.diff(bounds) >= 0).all()), "a tree's categories")


def _integer(text: str) -> int:
    (number,) = _integers(text)
    return int(number)


def _integers(text: str) -> Array:
    _check(_NUMBERS.fullmatch(text) is not None, "its numbers of nodes")
    words = text.split()
    return np.fromiter(map(int, words), np.int64, len(words))


def _within(numbers: Array, end: int) -> bool:
    return bool(((numbers >= 0) & (numbers < end)).all())


def _check(is_right: bool, what: str) -> None:
    if not is_right:
        raise ValueError(f"{what} don't fit together")
