"""A version with wrong weights is tried on a tenth of a model's requests, and rolled back with nobody watching.

Trains a classifier of digits and deploys it, then brings in one whose weights are noise: it loads, and passes its
probe, as nothing is broken about it but what it says. Meanwhile requests go on at a steady pace; not one may fail, and
the new version may have at most 200 of them. Runs against the suite that is up, or starts one. Takes about a minute.
"""

from __future__ import annotations

from classifiers import Digits, with_wrong_weights
from digits_rollout import add_version, follow, in_service, load_of, number, summary
from own_suite import running_suite

from penstock.registry.v1.rollout_service_pb2 import Rollout

MODEL = "digits-wrong"
PER_SECOND = 100.0
STEPS = (0.1, 0.5)
MOST = 200
"""Requests that the wrong version may answer."""


def main() -> None:
    digits = Digits.load()
    good = digits.fit()
    accuracy = digits.accuracy(good)
    wrong = with_wrong_weights(digits.fit())
    with running_suite() as client, in_service(client, MODEL, good, accuracy=accuracy) as old:
        print(f"{old.name} is in service: {accuracy:.1%} right", flush=True)
        new = add_version(client, MODEL, wrong, accuracy=digits.accuracy(wrong))
        print(
            f"{new.name} is to replace it: {digits.accuracy(wrong):.1%} right, which nobody has looked at", flush=True
        )
        with load_of(client, MODEL, digits, per_second=PER_SECOND) as load:
            rollout = client.rollouts.start(
                MODEL, number(new), steps=STEPS, duration_s=600, reason="a new training run"
            )
            rollout = follow(client, rollout, load)
            load.ask_more(300)  # who answers now that it is over
        print(f"\n{Rollout.State.Name(rollout.state).removeprefix('STATE_')}: {rollout.state_reason}. Requests:")
        print(summary(load))
        count = load.answered[number(new)]
    if rollout.state != Rollout.STATE_ROLLED_BACK or load.failed or count > MOST:
        raise SystemExit(f"expected a way back without a failed request, and at most {MOST} of version {number(new)}")


if __name__ == "__main__":
    main()
