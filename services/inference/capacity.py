"""What this node has for model processes, as the registry is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import psutil

from penstock.registry.v1.resources_pb2 import DeviceCapacity, NodeCapacity
from services.inference import backends, processing
from services.inference.adapters.artifacts import ArtifactCache
from services.inference.adapters.devices import Hardware
from services.inference.inference_servicer import resident_bytes
from services.inference.instance import Instance
from services.inference.settings import InferenceSettings

_MIB = 1 << 20
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_ANSWER_S = 10.0
_GPU_MEMORY = ("nvidia-smi", "--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits")


class Capacity:
    """Looked up in two paces: what every heartbeat tells, and what :meth:`refresh` asks processes and GPUs for."""

    def __init__(self, settings: InferenceSettings, cache: ArtifactCache) -> None:
        self._cache = cache
        self._gpu = Hardware.gpu(settings.device)
        self._driver_id = "" if self._gpu is None else settings.driver_id(self._gpu)
        self._known = NodeCapacity(
            memory_bytes=_memory()[0],
            processors=len(os.sched_getaffinity(0)),
            max_instances=settings.max_instances,
            formats=backends.installed_formats(),
            libraries=processing.installed_libraries(),
        )

    def message(self, instances: Iterable[Instance]) -> NodeCapacity:
        """What there is now."""
        self._known.free_memory_bytes = _memory()[1]
        del self._known.versions_without_room[:]
        self._known.versions_without_room.extend(sorted({one.version for one in instances if one.lacks_room}))
        return self._known

    async def refresh(self, instances: Iterable[Instance]) -> None:
        """See what the processes that serve take, and what disk and GPU have left."""
        cache = await asyncio.to_thread(lambda: (self._cache.limit_bytes, self._cache.free_bytes))
        self._known.cache_bytes, self._known.free_cache_bytes = cache
        self._known.resident_memory.clear()
        for one in instances:
            if one.is_ready and (size := resident_bytes(one.pid)):
                self._known.resident_memory[one.version] = max(size, self._known.resident_memory[one.version])
        if self._gpu is not None:
            del self._known.devices[:]
            self._known.devices.extend(await _gpu_memory(self._gpu, self._driver_id))


def _memory(control_group: Path = _CONTROL_GROUP) -> tuple[int, int]:
    """All of it, and what is free, in bytes: the machine's, or what this container may take of it."""
    machine = psutil.virtual_memory()
    try:
        limit = int((control_group / "memory.max").read_text())  # "max" where there is none
        taken = int((control_group / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (control_group / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return machine.total, machine.available
    free = limit - taken + (int(cached[1]) if cached else 0)
    return min(machine.total, limit), max(0, min(machine.available, free))


async def _gpu_memory(number: int, driver_id: str) -> list[DeviceCapacity]:
    """That of one GPU, by the driver's own tool: a library would take hundreds of MiB of it to say so."""
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        asked = await asyncio.create_subprocess_exec(*_GPU_MEMORY, f"--id={driver_id}", stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer, _ = await asked.communicate()
        finally:
            if asked.returncode is None:
                asked.kill()
        total, free = (int(figure) * _MIB for figure in answer.decode().split(","))
        return [DeviceCapacity(device=f"cuda:{number}", memory_bytes=total, free_memory_bytes=free)]
    return []
