"""Takes from a process that loads a foreign model what it has no need of, as far as the kernel lets it.

By Landlock (landlock(7), Linux 5.13 and later), which needs no rights: what was given up can't be had again, by this
thread or any that it starts from then on. Where there is none nothing happens, and functions return False.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.inference.environment import move_home

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""By the version of Landlock that has them first: each adds one."""
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
"""Those that a file can have; the others are of folders."""
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/etc", "/sys", "/run/systemd/resolve")
# Not those of other processes, whose environments have secrets.
_PROC = ("self", "cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys", "driver")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")  # noqa: S108
_YOUNG_S = 60.0
_GPUS = ("nvidia*", "dri", "kfd")


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of this process alone, which is its home and has its temporary files; gone at the end."""
    with folder() as path:
        move_home(path)
        tempfile.tempdir = str(path)
        yield path


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone at the end, or, if this process is killed, with one of the next."""
    common = _common_folder()
    _remove_left(common)
    with tempfile.TemporaryDirectory(dir=common, prefix="model-", ignore_cleanup_errors=True) as name:
        lock = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(lock)


def _remove_left(common: Path) -> None:
    """Remove what processes left that were killed: folders that nobody holds a lock on."""
    for left in common.glob("model-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime < _YOUNG_S:  # its owner may be about to lock it
                continue
            lock = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def _common_folder() -> Path:
    """Where all these folders are: an empty one may be removed from here by any of their processes."""
    folder = Path(tempfile.gettempdir(), f"penstock-models-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # somebody else was here before
        return Path(tempfile.mkdtemp(prefix="penstock-models-"))
    return folder


def restrict(*, read: Iterable[Path], scratch: Path, write: Iterable[Path] = ()) -> bool:
    """Let this thread read the system, Python and ``read``, write ``write`` and in its ``scratch``, and listen nowhere.

    No core is dumped, since it would hold callers' data. Call it before there are other threads. Whether the kernel
    sees to it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    version = _version()
    files = max((rights for since, rights in _ALL_FILE_RIGHTS.items() if since <= version), default=0)
    rules = [(path, files & _READ) for path in (*map(Path, _SYSTEM), *_proc(), *_python(), *read)]
    rules += [(path, files) for path in (*map(Path, _DEVICES), *_gpus(), *write, scratch)]
    rules += [(scratch.parent, _REMOVE_DIR)]
    return _give_up(version, _Ruleset(files, _BIND_TCP, _ABSTRACT_SOCKETS | _SIGNALS), rules)


def limit_files(size_bytes: int) -> None:
    """Let this process write no file that is larger."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def is_available() -> bool:
    """Whether the kernel has Landlock."""
    return _version() > 0


def disconnect() -> bool:
    """Let this thread connect to nobody by TCP, nor listen. Whether the kernel sees to it."""
    version = _version()
    return _give_up(version, _Ruleset(0, _BIND_TCP | _CONNECT_TCP, 0), []) and version >= _NETWORK_SINCE


def _give_up(version: int, wanted: _Ruleset, rules: Iterable[tuple[Path, int]]) -> bool:
    """Give up what is ``wanted``, but for the ``rules``, as far as this version of Landlock knows it."""
    if version < _NETWORK_SINCE:
        wanted.network = 0
    if version < _SCOPES_SINCE:
        wanted.scoped = 0
    if not version or not (wanted.files or wanted.network):
        return False
    size = 24 if version >= _SCOPES_SINCE else 16 if version >= _NETWORK_SINCE else 8
    ruleset = _call(_CREATE_RULESET, ctypes.byref(wanted), size, 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights)
        _library().prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _version() -> int:
    """Of the kernel's Landlock; 0 where it has none, or where it is switched off."""
    if sys.platform != "linux":
        return 0
    with contextlib.suppress(OSError):
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return 0


def _proc() -> list[Path]:
    return [Path("/proc", name) for name in _PROC]


def _python() -> list[Path]:
    """Where Python's own modules are, the libraries', and ours; the folder that it was started in isn't meant."""
    ours = Path(__file__).parents[2]
    searched = sys.path if sys.flags.safe_path else sys.path[1:]
    return [ours / "services", ours / "penstock", *map(Path, (sys.prefix, sys.base_prefix, *filter(None, searched)))]


def _gpus() -> list[Path]:
    return [path for pattern in _GPUS for path in Path("/dev").glob(pattern)]


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what isn't there can't be read either
        return
    try:
        rule = _PathBeneath(rights if path.is_dir() else rights & _OF_FILES, folder)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(folder)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    library = _library()
    library.syscall.restype = ctypes.c_long
    result = int(library.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
