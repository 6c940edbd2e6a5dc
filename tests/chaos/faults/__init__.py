"""All faults by name, in the order of the page."""

from __future__ import annotations

from tests.chaos.fault import Fault
from tests.chaos.faults.changes import CHANGES
from tests.chaos.faults.clients import CLIENT_FAULTS
from tests.chaos.faults.fleet import FLEET_FAULTS
from tests.chaos.faults.processes import PROCESS_FAULTS
from tests.chaos.faults.shortages import SHORTAGES
from tests.chaos.faults.topologies import TOPOLOGY_FAULTS

FAULTS: dict[str, type[Fault]] = {
    fault.name: fault
    for fault in (*PROCESS_FAULTS, *SHORTAGES, *CLIENT_FAULTS, *CHANGES, *FLEET_FAULTS, *TOPOLOGY_FAULTS)
}
