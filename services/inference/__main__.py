"""``python -m services.inference``: the agent of one node."""

from __future__ import annotations

import sys

from services.common import logs, serving
from services.common.settings import load
from services.inference.server import serve
from services.inference.settings import InferenceSettings

if __name__ == "__main__":
    try:
        suite, settings = load(InferenceSettings)
    except ValueError as error:
        sys.exit(str(error))
    logs.configure("penstock-inference", suite.log_level, suite.log_format)
    serving.run(lambda stop: serve(suite, settings, stop))
