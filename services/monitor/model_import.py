"""``python -m services.monitor.model_import REQUEST``: make files a version of a model, and wait until it is validated.

Run in a process of its own. Of one retraining it makes one version, however often it is run. It prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from penstock import manifests
from penstock.client import Client
from penstock.errors import PenstockError

LABEL = "retraining"
"""Names the retraining that a version came of."""


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    try:
        with Client(registry=request["registry"]) as client:
            name = _imported(client, request)
    except (PenstockError, OSError, ValueError) as error:
        sys.exit(str(error))
    Path(request["result"]).write_text(json.dumps({"model_version": name}))


def _imported(client: Client, request: dict[str, Any]) -> str:
    model, path = request["model"], Path(request["path"])
    labels, metrics = request["labels"], request["metrics"]
    for version in client.versions(model):
        if version.labels.get(LABEL) == labels[LABEL]:
            return str(client.wait_validated(version.name).name)
    declared = manifests.find(path)
    version = client.create_version(
        model,
        client.upload(path),
        is_trusted=request["is_trusted"],
        manifest=manifests.read(declared) if declared else None,
        metrics=metrics,
        labels=labels,
    )
    return str(client.wait_validated(version.name).name)


if __name__ == "__main__":
    main()
