"""What a version is to its model, by the names that spans use; one without a name serves as any other."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.queue.v1.envelope_pb2 import Arm

CANARY = "canary"
SHADOW = "shadow"

NAMES: Mapping[int, str] = {Arm.ARM_CANARY: CANARY, Arm.ARM_SHADOW: SHADOW}
"""By what an envelope says."""
NUMBERS: Mapping[str, Arm] = {"": Arm.ARM_UNSPECIFIED, CANARY: Arm.ARM_CANARY, SHADOW: Arm.ARM_SHADOW}
"""What an envelope says, by name."""
