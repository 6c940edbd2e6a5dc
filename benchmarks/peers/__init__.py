"""Penstock beside the servers that people run today: same machine, same models, same client, in turns."""

from __future__ import annotations

from benchmarks.peers.bentoml import BentoML
from benchmarks.peers.kserve import KServe
from benchmarks.peers.litserve import LitServe
from benchmarks.peers.mlserver import BatchingMLServer, MLServer
from benchmarks.peers.peer import Peer
from benchmarks.peers.pytriton import PyTriton
from benchmarks.peers.ray import RayServe
from benchmarks.peers.torchserve import TorchServe
from benchmarks.peers.triton import Triton

PEERS: dict[str, type[Peer]] = {
    "triton": Triton,
    "torchserve": TorchServe,
    "kserve": KServe,
    "pytriton": PyTriton,
    "mlserver": MLServer,
    "mlserver-batching": BatchingMLServer,
    "litserve": LitServe,
    "bentoml": BentoML,
    "ray": RayServe,
}
