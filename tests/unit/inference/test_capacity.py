"""What a node says that it has left."""

from __future__ import annotations

from pathlib import Path

import psutil

from services.inference.capacity import _memory

MIB = 1 << 20


def test_a_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{64 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{48 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {4 * MIB}\nactive_file 7\n")

    assert _memory(tmp_path) == (64 * MIB, 20 * MIB)

    (tmp_path / "memory.current").write_text(f"{80 * MIB}\n")
    assert _memory(tmp_path) == (64 * MIB, 0)


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    total = psutil.virtual_memory().total
    assert _memory(tmp_path / "none")[0] == total
    (tmp_path / "memory.max").write_text("max\n")
    size, free = _memory(tmp_path)
    assert (size, 0 < free < total) == (total, True)
