"""What may be told of callers' inputs."""

from __future__ import annotations

from typing import Literal

SketchInputs = Literal["all", "projections", "off"]
"""Which inputs are sketched: ``projections`` leaves out rows of at most 32 elements, whose sketches give them away."""
