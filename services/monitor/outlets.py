"""The systems that are told of incidents, as the settings name them."""

from __future__ import annotations

from collections.abc import Callable

from services.monitor.adapters.alertmanager import Alertmanager
from services.monitor.adapters.grafana import Grafana
from services.monitor.adapters.outlet import Outlet
from services.monitor.adapters.web_api import WebApi
from services.monitor.domain.alerts import Links
from services.monitor.settings import MonitorSettings

_INCIDENT_DASHBOARD = (
    "/d/penstock-incident?var-model={model}&var-version={version}&var-incident={incident_id}&from={from_ms}&to={to_ms}"
)


def build(settings: MonitorSettings, *, clock: Callable[[], int]) -> list[Outlet]:
    """``clock`` gives Unix nanoseconds."""
    links = links_of(settings)
    authorization = settings.alertmanager_authorization.get_secret_value()
    outlets = [
        Outlet(
            Alertmanager(
                WebApi(url.strip(), authorization=authorization),
                links=links,
                every_s=settings.alertmanager_resend_s,
                clock=clock,
            )
        )
        for url in settings.alertmanager_url.split(",")
        if url.strip()
    ]
    if settings.grafana_url:
        token = settings.grafana_token.get_secret_value()
        api = WebApi(settings.grafana_url, authorization=f"Bearer {token}" if token else "")
        outlets.append(Outlet(Grafana(api, links=links)))
    return outlets


def links_of(settings: MonitorSettings) -> Links:
    """Where people look at traces and incidents."""
    incident = settings.incident_url_template
    if not incident and settings.grafana_url:
        incident = settings.grafana_url.rstrip("/") + _INCIDENT_DASHBOARD
    return Links(trace=settings.trace_url_template, incident=incident)
