"""What XGBoost doesn't check: that the numbers in a booster are of nodes, features and outputs that there are.

It follows them as they are, out of its memory or for ever. The names are those of its JSON schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from services.inference.backends.backend import Array

_NONE = -1
_CATEGORICAL = 1
_MOST = 2**24
_OUTPUTS = ("num_class", "num_target")
_OF_NODES = (
    "left_children",
    "right_children",
    "parents",
    "split_indices",
    "split_conditions",
    "split_type",
    "default_left",
    "base_weights",
    "loss_changes",
    "sum_hessian",
)


def check_booster(booster: Mapping[str, Any]) -> bool:
    """Whether it is one of trees.

    Raises:
        ValueError, KeyError, TypeError: its numbers lead elsewhere.
    """
    learner = booster["learner"]
    ensemble, parameters = learner["gradient_booster"], learner["learner_model_param"]
    features, outputs = int(parameters["num_feature"]), max(1, *(int(parameters.get(one, 0)) for one in _OUTPUTS))
    _check(0 < features <= _MOST and outputs <= _MOST, "its features and outputs")
    if ensemble["name"] == "gblinear":
        _check(len(ensemble["model"]["weights"]) == (features + 1) * outputs, "its weights")
        return False
    if ensemble["name"] == "dart":
        _check(len(ensemble["weight_drop"]) == len(ensemble["gbtree"]["model"]["trees"]), "the weights of its trees")
        ensemble = ensemble["gbtree"]
    _check_model(ensemble["model"], features, outputs)
    return True


def _check_model(model: Mapping[str, Any], features: int, outputs: int) -> None:
    if len(model.get("cats", {}).get("enc", ())):
        raise ValueError("it keeps the names of categories: expected one that was trained on their numbers")
    trees, groups = model["trees"], _integers(model["tree_info"])
    _check(len(groups) == len(trees) and _within(groups, outputs), "the outputs of its trees")
    if "iteration_indptr" in model:  # since 1.7
        bounds = _integers(model["iteration_indptr"])
        ascends = len(bounds) > 0 and bounds[0] == 0 and bool((np.diff(bounds) >= 0).all())
        _check(ascends and bounds[-1] == len(trees), "the trees of its iterations")
    for tree in trees:
        _check_tree(tree, features)


def _check_tree(tree: Mapping[str, Any], features: int) -> None:
    if tree["tree_param"].get("size_leaf_vector", "1") not in ("0", "1"):
        raise ValueError("its trees have several outputs each (multi_output_tree): expected one_output_per_tree")
    count = int(tree["tree_param"]["num_nodes"])
    _check(count > 0 and all(len(tree.get(name, ())) == count for name in _OF_NODES), "a tree's nodes")
    left, right, parents, split = (_integers(tree[name]) for name in _OF_NODES[:4])
    inner = left != _NONE
    _check(bool((inner == (right != _NONE)).all()), "a tree's nodes")
    for children in (left[inner], right[inner]):
        # With each node the child of its own parent only, and the root of none, no way goes round.
        _check(_within(children, count), "a tree's nodes")
        _check(bool((parents[children] == np.flatnonzero(inner)).all()), "a tree's nodes")
    _check(not _within(parents[:1], count), "a tree's root")
    _check(_within(split[inner], features), "a tree's features")
    _check_categories(tree, count)


def _check_categories(tree: Mapping[str, Any], count: int) -> None:
    nodes, begins, sizes, categories = (
        _integers(tree.get(name, ()))
        for name in ("categories_nodes", "categories_segments", "categories_sizes", "categories")
    )
    _check(len(nodes) == len(begins) == len(sizes) and _within(nodes, count), "a tree's categories")
    _check(_within(sizes, len(categories) + 1) and _within(begins + sizes, len(categories) + 1), "a tree's categories")
    kinds = _integers(tree["split_type"])
    _check(set(np.flatnonzero(kinds == _CATEGORICAL)) <= set(nodes), "a tree's categories")


def _integers(numbers: Any) -> Array:
    array = np.asarray(numbers)
    _check(array.ndim == 1 and (not array.size or array.dtype.kind in "iu"), "its numbers of nodes")
    return array.astype(np.int64)


def _within(numbers: Array, end: int) -> bool:
    return bool(((numbers >= 0) & (numbers < end)).all())


def _check(is_right: bool, what: str) -> None:
    if not is_right:
        raise ValueError(f"{what} don't fit together")
