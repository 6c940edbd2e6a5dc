"""What this node has for model processes, as the registry is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable

import psutil

from penstock.registry.v1.resources_pb2 import DeviceCapacity, NodeCapacity
from services.common import names
from services.inference.adapters.devices import Hardware
from services.inference.inference_servicer import resident_bytes
from services.inference.instance import Instance
from services.inference.settings import InferenceSettings

_MIB = 1 << 20
_ANSWER_S = 10.0
_GPU_MEMORY = ("nvidia-smi", "--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits")


class Capacity:
    """Looked up in two paces: what every heartbeat tells, and what :meth:`refresh` asks processes and GPUs for."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._gpu = Hardware.gpu(settings.device)
        self._driver_id = "" if self._gpu is None else settings.driver_id(self._gpu)
        self._known = NodeCapacity(
            memory_bytes=psutil.virtual_memory().total,
            processors=len(os.sched_getaffinity(0)),
            max_instances=settings.max_instances,
        )

    def message(self) -> NodeCapacity:
        """What there is now."""
        self._known.free_memory_bytes = psutil.virtual_memory().available
        return self._known

    async def refresh(self, instances: Iterable[Instance]) -> None:
        """See what the processes that serve take, and what the GPU has left."""
        self._known.resident_memory.clear()
        for one in instances:
            if one.is_ready and (size := resident_bytes(one.pid)):
                version = names.version_name(one.slot.model, one.slot.version)
                self._known.resident_memory[version] = max(size, self._known.resident_memory[version])
        if self._gpu is not None:
            del self._known.devices[:]
            self._known.devices.extend(await _gpu_memory(self._gpu, self._driver_id))


async def _gpu_memory(number: int, driver_id: str) -> list[DeviceCapacity]:
    """That of one GPU, by the driver's own tool: a library would take hundreds of MiB of it to say so."""
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        asked = await asyncio.create_subprocess_exec(*_GPU_MEMORY, f"--id={driver_id}", stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(_ANSWER_S):
            answer, _ = await asked.communicate()
        total, free = (int(figure) * _MIB for figure in answer.decode().split(","))
        return [DeviceCapacity(device=f"cuda:{number}", memory_bytes=total, free_memory_bytes=free)]
    return []
