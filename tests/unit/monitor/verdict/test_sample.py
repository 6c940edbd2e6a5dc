"""What shares a fate counts as one, in however many parts it comes."""

from __future__ import annotations

import pytest

from services.monitor.domain.blocks import NS, Rejection
from services.monitor.domain.gathering import gather
from services.monitor.domain.outcomes import Outcome
from services.monitor.domain.verdict.comparison import Comparison
from services.monitor.domain.verdict.guardrails import Guardrail, Kind
from services.monitor.domain.verdict.sample import Sample, sample_of
from tests.support.traffic import START_S, batch
from tests.support.verdict_traffic import question

GATEWAYS = 8


def refused(requests: int, *, version: str = "1", second: int = 0) -> Sample:
    """What one gateway refused in a second."""
    end_ns = (START_S + second) * NS
    rejection = Rejection("digits", version, b"r" * 16, end_ns, Outcome.SERVER_ERROR, requests)
    (block,) = gather([], [rejection], now_ns=end_ns)
    return sample_of(block)


def test_what_gateways_refuse_in_a_second_adds_up_and_batches_do_not() -> None:
    whole = Sample()
    for _ in range(GATEWAYS):
        whole.add(refused(100))
    sent = [batch(status=[0] * size, wait_us=[9] * size, total_us=[99] * size) for size in (32, 4)]
    (block,) = gather(sent, [], now_ns=START_S * NS)
    whole.add(sample_of(block))
    assert (whole.largest, whole.refused) == (32, 100 * GATEWAYS)

    whole.close()

    assert (whole.largest, whole.refused) == (100 * GATEWAYS, 0)


def test_refusals_of_different_seconds_share_no_fate() -> None:
    both = Sample()
    for second, requests in enumerate((300, 200)):
        one = refused(requests, second=second)
        one.close()
        both.add(one)

    assert (both.largest, both.refused) == (300, 0)


@pytest.mark.parametrize("gateways", [1, GATEWAYS])
def test_a_second_of_refusals_is_one_unit_of_evidence_however_many_gateways_there_are(gateways: int) -> None:
    comparison = Comparison(question(weight=0.0, guardrails=(Guardrail(Kind.ERROR_RATE, 0.01),)))
    served = Sample(requests=800)
    for version, sample in (("1", served), *[("2", refused(800 // gateways, version="2")) for _ in range(gateways)]):
        comparison.add(version, START_S, sample)

    comparison.advance(START_S + 10)

    assert comparison.progress.candidate.requests == 800
    (measure,) = comparison.dump()["measures"]
    assert measure["arms"][0] == [800.0, 800.0, 1.0]
