"""What a model is asked changes, it is trained again, and the new version is tried and promoted, with nobody watching.

Trains a classifier of digits on dark ink on light paper and deploys it. When it has been watched for a while, the paper
turns dark and the ink light: the model guesses. The monitor notices that its inputs have moved, and runs
`retrain_digits.py` as its policy says; what that trains becomes a version, is tried by canary, and promoted. Meanwhile
requests go on at a steady pace; not one may fail. Starts a suite of its own; takes three to six minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from classifiers import Digits
from digits_rollout import follow, in_service, load_of, number, summary
from own_suite import running_suite
from steady_load import SteadyLoad

from penstock import Client
from penstock.monitor.v1.action_service_pb2 import Retraining
from penstock.registry.v1.rollout_service_pb2 import Rollout

MODEL = "digits-drifting"
PER_SECOND = 100.0
LEARN_S = 75.0
"""The monitor takes a minute and 500 requests to learn what a model is usually asked."""
NOTICE_S = 180.0

# What is looked at while the new version is tried: not its answers, as those of the old one are wrong.
POLICIES = """
[[policy]]
name = "retrain-digits"
action = "retrain"
models = ["{model}"]
signals = ["inputs", "class_mix", "confidence", "entropy"]
causes = ["inputs"]
cool_down = "1d"

[policy.retraining]
command = {command}
folder = "{folder}"
deadline = "5m"

[policy.retraining.rollout]
strategy = "canary"
steps = [{{ share = 0.25, duration = "10m" }}, {{ share = 0.5, duration = "10m" }}]
guardrails = [
  {{ signal = "error_rate", margin = 0.01 }},
  {{ signal = "latency", phase = "total", level = 0.5, margin = 0.25, margin_duration = "20ms" }},
  {{ signal = "latency", phase = "total", level = 0.9, margin = 0.5, margin_duration = "100ms" }},
]
"""


def main() -> None:
    digits = Digits.load()
    first = digits.fit()
    accuracy = digits.accuracy(first)
    with tempfile.TemporaryDirectory(prefix="penstock-drift-") as folder:
        store = Path(folder)
        np.savez(store / "collected.npz", images=1 - digits.train, labels=digits.train_labels)
        with (
            running_suite(PENSTOCK_MONITOR__POLICIES=str(write_policies(store))) as client,
            in_service(client, MODEL, first, accuracy=accuracy) as old,
            load_of(client, MODEL, digits, per_second=PER_SECOND) as load,
        ):
            print(f"{old.name} is in service: {accuracy:.1%} right; its inputs are learnt …", flush=True)
            time.sleep(LEARN_S)
            load.show(1 - digits.test)
            changed = load.right[number(old)], load.answered[number(old)]
            print("the paper turns dark, and the ink light", flush=True)
            rollout = follow(client, retrained(client, load), load)
            load.ask_more(300)  # who answers now that it is over
            print(f"\n{Rollout.State.Name(rollout.state).removeprefix('STATE_')}: {rollout.state_reason}. Requests:")
            print(summary(load))
            print(since(load, number(old), changed))
    if rollout.state != Rollout.STATE_PROMOTED or load.failed:
        raise SystemExit(f"expected a promotion without a failed request: {rollout.state_reason}")


def write_policies(folder: Path) -> Path:
    """The file that says when the model is trained again, and how."""
    command = json.dumps([sys.executable, str(Path(__file__).with_name("retrain_digits.py"))])
    path = folder / "policies.toml"
    path.write_text(POLICIES.format(model=MODEL, command=command, folder=folder))
    return path


def retrained(client: Client, load: SteadyLoad) -> Rollout:
    """Wait until what was trained anew is rolled out, and say how it comes to that."""
    begun_s, told = time.monotonic(), ""
    while time.monotonic() - begun_s < NOTICE_S:
        for retraining in client.actions.retrainings(model=MODEL):
            state = Retraining.State.Name(retraining.state).removeprefix("STATE_").lower()
            if (words := f"{state}: {retraining.detail}") != told:
                told = words
                print(f"{time.monotonic() - begun_s:5.0f} s  retraining {words}", flush=True)
            if retraining.state == Retraining.STATE_FAILED:
                raise SystemExit(f"{retraining.detail}\n{client.actions.retraining(retraining.name).output_tail}")
            if retraining.rollout:
                print(f"         because: {json.loads(retraining.request_json)['reason']}", flush=True)
                return client.rollouts.get(retraining.rollout)
        time.sleep(0.5)
    raise SystemExit(f"nothing was trained anew in {NOTICE_S:.0f} s: {load}")


def since(load: SteadyLoad, version: str, before: Any) -> str:
    """How the old version did once what it was asked had changed."""
    right, answered = load.right[version] - before[0], load.answered[version] - before[1]
    return f"  version {version} since the change: {answered} answers, {right / max(1, answered):.1%} of them right"


if __name__ == "__main__":
    main()
