"""Runs a program that dies before or after a step: ``python -m tests.support.doomed MODULE STEP before|after``.

A step is a function or method, ``module:name`` or ``module:class.name``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import runpy
import signal
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any


def doom(step: str, *, is_before: bool) -> None:
    """Have this process die at a step."""
    module_name, _, path = step.partition(":")
    owner_path, _, name = path.rpartition(".")
    module: Any = importlib.import_module(module_name)
    owner = attrgetter(owner_path)(module) if owner_path else module
    is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    wrapped = _fatal(getattr(owner, name), is_before=is_before)
    setattr(owner, name, staticmethod(wrapped) if is_static else wrapped)


def _fatal(work: Callable[..., Any], *, is_before: bool) -> Callable[..., Any]:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(work)
    def step(*args: Any, **options: Any) -> Any:
        if is_before:
            die()
        result = work(*args, **options)
        die()
        return result

    @functools.wraps(work)
    async def async_step(*args: Any, **options: Any) -> Any:
        if is_before:
            die()
        result = await work(*args, **options)
        die()
        return result

    return async_step if inspect.iscoroutinefunction(work) else step


if __name__ == "__main__":
    program, fatal_step, when, *arguments = sys.argv[1:]
    doom(fatal_step, is_before=when == "before")
    sys.argv = [program, *arguments]
    runpy.run_module(program, run_name="__main__")
