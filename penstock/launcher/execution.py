"""Run as a file: tie this process to the life of the launcher, then become the command.

It is a file of its own, without imports of ours, because ``preexec_fn`` must not be used in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(launcher: int, command: list[str]) -> None:
    if sys.platform == "linux":
        # Sent when the *thread* that started us ends: the launcher starts its children from its main thread.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:
        sys.exit("the launcher is gone")
    if "LISTEN_FDS" in os.environ:
        os.environ["LISTEN_PID"] = str(os.getpid())  # the descriptors are meant for this process
    os.execv(command[0], command)  # noqa: S606 - that is what it is for


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
