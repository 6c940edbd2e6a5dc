"""PromQL that several panels are made of."""

from __future__ import annotations

RATE = "$__rate_interval"
"""Grafana puts a window here that holds enough scrapes."""


def selector(*parts: str) -> str:
    """Label matchers as one selector; empty parts are left out."""
    return ",".join(part for part in parts if part)


def rate(metric: str, matchers: str = "", *, by: str) -> str:
    """A counter's growth per second, summed up to the labels ``by``."""
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[{RATE}]))"


def failed(matchers: str = "", *, by: str, metric: str = "penstock_requests_total") -> str:
    """Share of requests that failed by the server's fault; no value without traffic."""
    bad = rate(metric, selector(matchers, 'outcome="server_error"'), by=by)
    total = rate(metric, selector(matchers, 'outcome!="client_error"'), by=by)
    return f"{bad} / ({total} > 0)"


def quantile(level: float, metric: str, matchers: str, *, by: str) -> str:
    """Of a histogram."""
    return f"histogram_quantile({level:g}, {rate(f'{metric}_bucket', matchers, by=f'{by}, le')})"


def mean(metric: str, matchers: str, *, by: str) -> str:
    """Of a histogram; no value without traffic."""
    return f"{rate(f'{metric}_sum', matchers, by=by)} / ({rate(f'{metric}_count', matchers, by=by)} > 0)"
