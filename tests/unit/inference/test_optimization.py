"""Which versions are searched at all. No search is started here: that would call what isn't there."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from penstock.registry.v1 import resources_pb2 as pb
from services.common.errors import UnavailableError
from services.common.watch import ResourceCache
from services.inference.adapters.devices import Hardware
from services.inference.admission import Admission
from services.inference.domain.content import Content
from services.inference.domain.signature import Signature, TensorSpec
from services.inference.domain.variants import Level
from services.inference.optimization import Bounds, Optimizer
from services.inference.resources import signature_message

NAME = "models/m/versions/1"
CPU = Hardware("some processor", is_gpu=False, threads=1)
GPU = Hardware("some GPU", is_gpu=True, threads=1)
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 4)),), (TensorSpec("y", "FP32", (-1,)),), is_batchable=True)


class Artifacts:
    """Asked for a file when a search begins."""

    def hold(self, _content: Content) -> AbstractContextManager[None]:
        return nullcontext()

    async def fetch(self, _sha256: str, _on_progress: Any) -> Path:
        raise UnavailableError("a search would begin")


class Registry:
    async def report_optimization(self, _version: str, _found: pb.Optimization) -> None:
        raise AssertionError("nothing is to be reported")


def optimizer(
    entry: Callable[[], pb.Optimization] | None = None,
    *,
    asked: pb.OptimizationLevel = pb.OPTIMIZATION_LEVEL_FAST,
    limit: Level = Level.FULL,
    hardware: Hardware = CPU,
    serving_s: float | None = 1.0,
    is_other_asleep: bool = False,
    pinned: bool = False,
    has_product: bool = False,
) -> Optimizer:
    resources = ResourceCache(lambda: None)
    version = pb.ModelVersion(name=NAME, format="onnx", signature=signature_message(SIGNATURE))
    if entry is not None:
        known = entry()
        known.hardware = hardware.key("onnx")
        version.optimizations.append(known)
    resources.versions[NAME] = version
    resources.deployments["deployments/m"] = pb.Deployment(
        versions=[NAME, "models/m/versions/2"], optimization=asked, pinned=pinned
    )
    resources.deployments["deployments/other"] = pb.Deployment(placements=[pb.Placement(is_asleep=is_other_asleep)])
    return Optimizer(
        Registry(),
        Artifacts(),
        resources,
        Admission(resources),
        node="nodes/here",
        device="cpu",
        hardware=hardware,
        bounds=Bounds(limit, 19, 0.5),
        is_confined=True,
        serving_s=lambda _: serving_s,
        has_product=lambda _: has_product,
    )


def entry(state: pb.Optimization.State, *, node: str = "nodes/there", age_s: float = 1.0) -> pb.Optimization:
    made = pb.Optimization(state=state, level=pb.OPTIMIZATION_LEVEL_FAST, node=node)
    made.update_time.FromSeconds(int(time.time() - age_s))
    return made


def compiled(found: pb.Optimization) -> pb.Optimization:
    found.variant["compile"] = "ahead_of_time"
    return found


COMPLETE, SEARCHING, FAILED = (
    pb.Optimization.STATE_COMPLETE,
    pb.Optimization.STATE_SEARCHING,
    pb.Optimization.STATE_FAILED,
)


@pytest.mark.parametrize(
    "case",
    [
        {"asked": pb.OPTIMIZATION_LEVEL_OFF},
        {"limit": Level.OFF},
        {"serving_s": None},
        {"is_other_asleep": True},
        {"hardware": GPU},
        {"entry": lambda: entry(COMPLETE)},
        {"entry": lambda: entry(SEARCHING)},
        {"entry": lambda: compiled(entry(COMPLETE)), "has_product": True},
    ],
    ids=[
        "asked off",
        "forbidden here",
        "not serving",
        "takes turns with others",
        "fast on a GPU",
        "known",
        "another node is about it",
        "compiled here",
    ],
)
async def test_no_search(case: dict[str, Any]) -> None:
    await optimizer(**case).optimize_pending()


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"asked": pb.OPTIMIZATION_LEVEL_UNSPECIFIED},
        {"hardware": GPU, "asked": pb.OPTIMIZATION_LEVEL_FULL},
        {"entry": lambda: entry(COMPLETE), "asked": pb.OPTIMIZATION_LEVEL_FULL},
        {"entry": lambda: entry(SEARCHING, node="nodes/here")},
        {"entry": lambda: entry(SEARCHING, age_s=1_000)},
        {"entry": lambda: entry(FAILED)},
        {"entry": lambda: compiled(entry(COMPLETE))},
        {"is_other_asleep": True, "serving_s": 61.0},
        {"is_other_asleep": True, "pinned": True},
    ],
    ids=[
        "new",
        "by default",
        "full on a GPU",
        "only fast was done",
        "begun before our restart",
        "the other node is gone",
        "was broken off",
        "compiled elsewhere only",
        "stays loaded while others sleep",
        "pinned while others sleep",
    ],
)
async def test_a_search(case: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError, match="a search would begin"):
        await optimizer(**case).optimize_pending()
