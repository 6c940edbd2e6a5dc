"""What a process that loads a model can't do, tried by models that try."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.inference import sandbox

pytestmark = pytest.mark.skipif(not sandbox.is_available(), reason="this kernel has no Landlock")

TRY = """
import json, os, socket, subprocess, sys, threading
from pathlib import Path
from services.inference import sandbox

model, secret, port, kind = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
found = {}

def attempt(name, action):
    try:
        action()
        found[name] = "done"
    except OSError as error:
        found[name] = type(error).__name__

def all_of_it():
    attempt("read model", lambda: (model / "weights").read_text())
    attempt("write model", lambda: (model / "weights").write_text("other"))
    attempt("add to model", lambda: (model / "more").write_text("other"))
    attempt("read secret", secret.read_text)
    attempt("list", lambda: os.listdir(secret.parent))
    attempt("link", lambda: os.symlink(secret, Path(os.environ["TMPDIR"], "link")))
    attempt("through link", lambda: Path(os.environ["TMPDIR"], "link").read_text())
    attempt("write scratch", lambda: Path(os.environ["TMPDIR"], "a").write_text("x"))
    attempt("listen", lambda: socket.socket().bind(("127.0.0.1", 0)))
    attempt("connect", lambda: socket.create_connection(("127.0.0.1", port), 1).close())
    attempt("signal", lambda: os.kill(os.getppid(), 0))
    attempt("environment of others", lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes())

with sandbox.scratch() as folder:
    assert sandbox.restrict(read=[model], scratch=folder)
    if kind == "alone":
        assert sandbox.disconnect()
    thread = threading.Thread(target=all_of_it)
    thread.start()
    thread.join()
    child = subprocess.run(["cat", str(secret)], capture_output=True, text=True)
    found["child"] = child.stdout or child.stderr.strip().rpartition(": ")[2]
print(json.dumps(found | {"scratch": folder.exists()}))
"""
DONE, DENIED = "done", "PermissionError"


@pytest.mark.parametrize(("kind", "connect"), [("alone", DENIED), ("serving", DONE)])
def test_a_confined_process_has_its_model_and_a_folder_of_its_own(kind: str, connect: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("weights")
    (tmp_path / "secret").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = [str(tmp_path / "model"), str(tmp_path / "secret"), str(server.getsockname()[1]), kind]
        done = subprocess.run([sys.executable, "-c", TRY, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "read model": DONE,
        "write model": DENIED,
        "add to model": DENIED,
        "read secret": DENIED,
        "list": DENIED,
        "link": DONE,
        "through link": DENIED,
        "write scratch": DONE,
        "listen": DENIED,
        "connect": connect,
        "signal": DENIED,
        "environment of others": DENIED,
        "child": "Permission denied",
        "scratch": False,
    }
    assert (tmp_path / "model" / "weights").read_text() == "weights"


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    folders = {name: tmp_path / f"model-{name}" for name in ("left", "young", "in use")}
    for name, folder in folders.items():
        folder.mkdir()
        (folder / "weights").write_text("large")
        os.utime(folder, None if name == "young" else (0, 0))
    owner = os.open(folders["in use"], os.O_RDONLY)
    fcntl.flock(owner, fcntl.LOCK_EX)

    sandbox._remove_left(tmp_path)

    assert [name for name, folder in folders.items() if folder.exists()] == ["young", "in use"]
    os.close(owner)
