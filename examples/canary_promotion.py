"""A better version of a model is tried on a growing share of its requests, and promoted with nobody watching.

Trains a classifier of digits on few images and deploys it, trains another on all of them, and starts a rollout by
canary. Meanwhile requests go on at a steady pace; not one may fail. Runs against the suite that is up, or starts one.
Takes one to three minutes.
"""

from __future__ import annotations

from datetime import timedelta

from classifiers import Digits
from digits_rollout import add_version, follow, in_service, load_of, number, summary
from own_suite import running_suite

from penstock.monitor.v1.monitor_service_pb2 import PHASE_TOTAL
from penstock.monitor.v1.verdict_service_pb2 import Guardrail
from penstock.registry.v1.rollout_service_pb2 import Rollout

MODEL = "digits-canary"
PER_SECOND = 150.0
STEPS = (0.25, 0.5)

# What the new version must not be worse in, and by how much it may be all the same. Proof takes requests: the tighter
# the margin, the more. The monitor's own choice (docs/verdicts.md) is tighter about the slowest, and takes minutes.
GUARDRAILS = (
    Guardrail(signal=Guardrail.SIGNAL_ERROR_RATE, margin=0.01),
    Guardrail(
        signal=Guardrail.SIGNAL_LATENCY,
        phase=PHASE_TOTAL,
        level=0.5,
        margin=0.25,
        margin_duration=timedelta(milliseconds=20),
    ),
    Guardrail(
        signal=Guardrail.SIGNAL_LATENCY,
        phase=PHASE_TOTAL,
        level=0.9,
        margin=0.5,
        margin_duration=timedelta(milliseconds=100),
    ),
    Guardrail(signal=Guardrail.SIGNAL_CONFIDENCE, margin=0.05),
    Guardrail(signal=Guardrail.SIGNAL_CLASS_MIX, margin=0.1),
)


def main() -> None:
    digits = Digits.load()
    first, better = digits.fit(150), digits.fit()
    with running_suite() as client, in_service(client, MODEL, first, accuracy=digits.accuracy(first)) as old:
        print(f"{old.name} is in service: {digits.accuracy(first):.1%} right", flush=True)
        new = add_version(client, MODEL, better, accuracy=digits.accuracy(better))
        print(f"{new.name} is to replace it: {digits.accuracy(better):.1%} right", flush=True)
        with load_of(client, MODEL, digits, per_second=PER_SECOND) as load:
            rollout = client.rollouts.start(
                MODEL, number(new), steps=STEPS, guardrails=GUARDRAILS, duration_s=600, reason="trained on all images"
            )
            rollout = follow(client, rollout, load)
            took_s = (rollout.update_time.ToNanoseconds() - rollout.create_time.ToNanoseconds()) / 1e9
            load.ask_more(300)  # who answers now that it is over
        print(f"\n{Rollout.State.Name(rollout.state).removeprefix('STATE_')} after {took_s:.0f} s. Requests:")
        print(summary(load))
    if rollout.state != Rollout.STATE_PROMOTED or load.failed:
        raise SystemExit(f"expected a promotion without a failed request: {rollout.state_reason}")


if __name__ == "__main__":
    main()
