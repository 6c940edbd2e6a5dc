"""``python -m tests.support.obedient_child``: prints the lines that it is told, its environment if it
is told to, then ends by the signal it is told."""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    told = json.loads(sys.stdin.readline())
    sys.stdout.writelines(f"{line}\n" for line in told["lines"])
    if told.get("environ"):
        sys.stdout.write(json.dumps(dict(os.environ)) + "\n")
    sys.stdout.flush()
    os.kill(os.getpid(), told["signal"])


if __name__ == "__main__":
    main()
