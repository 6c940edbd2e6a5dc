"""``python -m services.inference.model_process``: started by an agent, not by people."""

from __future__ import annotations

import sys

from services.common import logs, serving
from services.inference.backends import LoadError
from services.inference.model_process.control import end_with_agent, take_standard_output
from services.inference.model_process.server import serve

if __name__ == "__main__":
    end_with_agent()
    events = take_standard_output()
    logs.configure("penstock-inference", "INFO")
    try:
        serving.run(lambda stop: serve(stop, events))
    except LoadError as error:
        sys.exit(str(error))
