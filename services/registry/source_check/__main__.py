"""Answers one question."""

from __future__ import annotations

import os
import sys

from services.registry.source_check.looking import look
from services.registry.source_check.messages import Question


def main() -> None:
    answer_to = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no part of the answer
    answer = look(Question.from_json(sys.stdin.buffer.read()))
    with open(answer_to, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(answer.to_json())
    sys.stdout.flush()
    os._exit(0)  # libraries leave threads behind that would hold the process


if __name__ == "__main__":
    main()
