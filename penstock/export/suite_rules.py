"""Alerting rules for the suite itself: what its own metrics say is wrong, whatever the models do."""

from __future__ import annotations

from typing import Any

from penstock.export.slo_rules import TARGET

JOBS = "penstock-.*"
"""What deploy/prometheus/prometheus.yml calls its jobs."""

_DECLARED = "max by (model, objective) (penstock_slo_target)"

Rule = dict[str, Any]

_DURATIONS = "penstock_phase_duration_seconds"


def suite_groups() -> list[dict[str, Any]]:
    return [
        {"name": "penstock-serving", "rules": _serving()},
        {"name": "penstock-control", "rules": _control()},
        {"name": "penstock-monitor", "rules": _monitor()},
    ]


def incident_group() -> dict[str, Any]:
    """For those whose monitor doesn't push its incidents to an Alertmanager itself."""
    rules = [
        _alert(
            "PenstockIncidentOpen",
            "max by (model, signal) (penstock_incidents_open) > 0",
            "The monitor has an open incident of {{ $labels.model }}: {{ $labels.signal }}",
            "penstock incidents --open --model {{ $labels.model }} says what it is.",
            severity="page",
        ),
        _alert(
            "PenstockServiceIncidentOpen",
            "max by (service, signal) (penstock_service_incidents_open) > 0",
            "The monitor has an open incident of service {{ $labels.service }}: {{ $labels.signal }}",
            "penstock incidents --open --model services/{{ $labels.service }} says what it is.",
            severity="page",
        ),
    ]
    return {"name": "penstock-incidents", "rules": rules}


def queue_rule(model: str, limit: int) -> Rule:
    """Of a model whose requests are refused when so many wait at one gateway."""
    return _alert(
        "PenstockModelQueueNearLimit",
        f'nv_inference_pending_request_count{{model="{model}"}} > {0.8 * limit:.10g}',
        "{{ $value }} requests for {{ $labels.model }} wait or run",
        f"At {limit} at one gateway the next are refused. It needs more replicas, or has lost some.",
        lasts="1m",
    )


def _serving() -> list[Rule]:
    return [
        _alert(
            "PenstockDown",
            f'up{{job=~"{JOBS}"}} == 0',
            "{{ $labels.job }} at {{ $labels.instance }} does not answer",
            "Its /metrics could not be scraped for a minute.",
            lasts="1m",
            severity="page",
        ),
        _alert(
            "PenstockNoLiveProcess",
            'sum by (model, version) (increase(penstock_gateway_refusals_total{reason="NO_LIVE_PROCESS"}[2m])) > 0',
            "Requests for {{ $labels.model }} are refused: no process serves it",
            "penstock status and penstock nodes say where its replicas are, or why they are nowhere.",
            lasts="30s",
            severity="page",
        ),
        _alert(
            "PenstockModelDoesNotLoad",
            'sum by (model, version) (increase(penstock_gateway_refusals_total{reason="LOAD_FAILED"}[5m])) > 0',
            "{{ $labels.model }} version {{ $labels.version }} is asked for and doesn't load",
            "Its requests fail with the reason.",
            severity="page",
        ),
        _alert(
            "PenstockModelCrashes",
            "sum by (model, version) (increase(penstock_instance_restarts_total[10m])) >= 3",
            "Processes of {{ $labels.model }} version {{ $labels.version }} crash again and again",
            "{{ $value | humanize }} starts in ten minutes. Its last words are in the agent's log.",
            severity="page",
        ),
        _alert(
            "PenstockRequestsRefused",
            "sum by (model, reason) (increase(penstock_gateway_refusals_total"
            '{reason=~"QUEUE_FULL|DEADLINE_UNREACHABLE|PENDING_BYTES_FULL"}[5m])) > 0',
            "Requests for {{ $labels.model }} are refused: {{ $labels.reason }}",
            "More comes in than its processes can do: {{ $value | humanize }} were refused in five minutes.",
            lasts="2m",
        ),
        _alert(
            "PenstockDeadLetters",
            "sum by (model, version) (increase(penstock_instance_dead_letters_total[10m])) > 0",
            "Requests kill processes of {{ $labels.model }} version {{ $labels.version }}",
            "They were given up after several attempts, and are in the dead-letter stream.",
        ),
        _alert(
            "PenstockGatewayNotReady",
            "penstock_gateway_ready == 0",
            "The gateway at {{ $labels.instance }} takes no requests",
            "Its log says what it waits for.",
            lasts="1m",
            severity="page",
        ),
        _alert(
            "PenstockRedisDown",
            "penstock_gateway_redis_up == 0",
            "The gateway at {{ $labels.instance }} can't reach Redis",
            "Requests wait or take the direct way meanwhile.",
            lasts="30s",
            severity="page",
        ),
        _alert(
            "PenstockRedisMayEvict",
            "penstock_gateway_redis_may_evict == 1",
            "Redis may drop waiting requests when its memory is full",
            "Its maxmemory-policy must be noeviction.",
            lasts="5m",
        ),
    ]


def _control() -> list[Rule]:
    return [
        _alert(
            "PenstockNoRegistryWrites",
            "max(penstock_registry_writer) == 0",
            "No registry has the right to write",
            "Nothing can be deployed, and no replica moves.",
            lasts="1m",
            severity="page",
        ),
        _alert(
            "PenstockConsulDown",
            "penstock_discovery_consul_up == 0",
            "{{ $labels.job }} at {{ $labels.instance }} can't use Consul",
            "It goes on with the addresses it knew last.",
            lasts="5m",
        ),
        _alert(
            "PenstockSloRulesOutdated",
            f"({_DECLARED} unless on (model, objective) {TARGET})\n"
            f'or ({TARGET} unless on (model, objective) {_DECLARED} and on () up{{job="penstock-monitor"}} == 1)\n'
            f"or ({_DECLARED} != on (model, objective) {TARGET})",
            "The rules for {{ $labels.model }} aren't those of its promise",
            "Write them anew: penstock export rules.",
            lasts="15m",
        ),
    ]


def _monitor() -> list[Rule]:
    return [
        _alert(
            "PenstockMonitorDown",
            'absent(up{job="penstock-monitor"} == 1)',
            "No monitor runs: nobody watches the models",
            "Serving goes on. Spans are dropped, incidents are neither opened nor closed.",
            lasts="1m",
            severity="page",
        ),
        _alert(
            "PenstockSpansDropped",
            'sum(increase(penstock_monitor_spans_total{result=~"dropped|refused"}[5m])) > 0',
            "The monitor does not take all spans",
            "{{ $value | humanize }} in five minutes were too many at once, or came while its queue was full. Its "
            "figures miss those that are not sent again.",
        ),
        _alert(
            "PenstockSpansMalformed",
            'sum(increase(penstock_monitor_spans_total{result="malformed"}[15m])) > 0',
            "The monitor gets spans that it can't read",
            "{{ $value | humanize }} in a quarter of an hour. Its answers to the sender say what is wrong with them.",
        ),
        _alert(
            "PenstockSpansLostBySenders",
            '(sum(increase(penstock_gateway_spans_total{result="dropped"}[5m])) or vector(0))\n'
            '+ (sum(increase(penstock_instance_spans_total{result="dropped"}[5m])) or vector(0)) > 0',
            "Gateways or model processes drop spans",
            "They reach no monitor, or one that refuses them. Serving is not affected.",
        ),
        _alert(
            "PenstockSpansNotForwarded",
            'sum(increase(penstock_monitor_forwarded_spans_total{result="dropped"}[5m])) > 0',
            "Spans don't reach the tracing backend",
            "Traces will be missing there. The monitor itself has them.",
        ),
        _alert(
            "PenstockMonitorQueueNearLimit",
            "penstock_monitor_queue_spans / penstock_monitor_queue_limit_spans > 0.8\n"
            "or penstock_monitor_queue_bytes / penstock_monitor_queue_limit_bytes > 0.8",
            "The monitor's queue is {{ $value | humanizePercentage }} full",
            "When it is full spans are refused.",
            lasts="1m",
        ),
        _alert(
            "PenstockMonitorLags",
            "penstock_monitor_lag_seconds > 30 and on (instance) sum by (instance) "
            "(rate(penstock_monitor_spans_total[2m])) > 0",
            "The monitor is {{ $value | humanizeDuration }} behind",
            "Incidents are opened so much later.",
            lasts="2m",
        ),
        _alert(
            "PenstockMonitorSeriesFull",
            f'sum(increase({_DURATIONS}_count{{model="_overflow",phase="total"}}[10m])) > 0',
            "Some model versions share one series at the monitor",
            "They have no detectors of their own: raise PENSTOCK_MONITOR__MAX_SERIES.",
            lasts="5m",
        ),
        _alert(
            "PenstockReceiverDown",
            "penstock_monitor_receiver_up == 0",
            "The monitor can't tell the {{ $labels.receiver }} at {{ $labels.address }} of incidents",
            "It keeps what is to be told. penstock incidents --open shows them meanwhile.",
            lasts="5m",
            severity="page",
        ),
        _alert(
            "PenstockNotificationsLost",
            'sum by (receiver, address) (increase(penstock_monitor_notifications_total{result="dropped"}[10m])) > 0',
            "The {{ $labels.receiver }} at {{ $labels.address }} was not told of incidents",
            "It refused them, or was away for so long that the oldest were dropped.",
        ),
    ]


def _alert(name: str, expr: str, summary: str, description: str, *, lasts: str = "", severity: str = "ticket") -> Rule:
    return {
        "alert": name,
        "expr": expr,
        **({"for": lasts} if lasts else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }
