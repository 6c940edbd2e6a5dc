"""W3C Trace Context, Level 1 and 2: https://www.w3.org/TR/trace-context/#traceparent-header"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.discovery.peers import Peers
from services.common.tracing import SpanExporter, SpanKind, TraceContext

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXTS = st.builds(
    TraceContext,
    trace_id=st.binary(min_size=16, max_size=16).filter(any),
    span_id=st.binary(min_size=8, max_size=8).filter(any),
    is_sampled=st.booleans(),
)


@given(CONTEXTS)
def test_a_context_survives_its_header(context: TraceContext) -> None:
    assert TraceContext.parse(context.traceparent) == context


@pytest.mark.parametrize(
    ("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("fe", False), ("ff", True)]
)
def test_the_lowest_flag_says_sampled_and_unknown_flags_are_ignored(flags: str, *, is_sampled: bool) -> None:
    assert TraceContext.parse(f"00-{TRACE}-{SPAN}-{flags}") == TraceContext(
        bytes.fromhex(TRACE), bytes.fromhex(SPAN), is_sampled
    )


@pytest.mark.parametrize("version", ["01", "cc", "fe"])
@pytest.mark.parametrize("rest", ["", "-", "-what-the-future-holds"])
def test_a_later_version_is_read_as_far_as_we_know_it(version: str, rest: str) -> None:
    context = TraceContext.parse(f"{version}-{TRACE}-{SPAN}-01{rest}")

    assert context is not None
    assert context.traceparent == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01.extra",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00_{TRACE}_{SPAN}_01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-٠١",
    ],
)
def test_a_malformed_header_is_ignored(header: str) -> None:
    assert TraceContext.parse(header) is None


@given(st.text(max_size=70))
def test_no_text_upsets_the_parser(header: str) -> None:
    TraceContext.parse(header)


@pytest.mark.parametrize("is_sampled", [True, False])
def test_a_child_stays_in_the_trace(*, is_sampled: bool) -> None:
    root = TraceContext.new_root(is_sampled=is_sampled)

    child = root.child()

    assert (child.trace_id, child.is_sampled) == (root.trace_id, is_sampled)
    assert child.span_id != root.span_id
    assert (len(child.trace_id), len(child.span_id)) == (16, 8)


def test_roots_begin_traces_of_their_own() -> None:
    assert len({TraceContext.new_root(is_sampled=True).trace_id for _ in range(100)}) == 100


async def test_an_exporter_without_an_endpoint_drops_everything() -> None:
    exporter = SpanExporter(receivers=Peers(), service="s", instance="i", version="0")

    assert not exporter.is_enabled
    exporter.export("x", TraceContext.new_root(is_sampled=True), kind=SpanKind.SERVER, start_ns=1, end_ns=2)
    await exporter.close()
