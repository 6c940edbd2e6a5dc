"""``penstock.monitor.v1.MonitorService``: what the monitor saw and what it thinks of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from itertools import islice
from typing import Any

from penstock.monitor.v1 import monitor_service_pb2 as pb
from penstock.monitor.v1 import monitor_service_pb2_grpc
from services.common import names
from services.common.errors import InvalidArgumentError, NotFoundError
from services.monitor import messages, paging
from services.monitor.adapters.incident_store import IncidentStore
from services.monitor.domain.blocks import NS
from services.monitor.domain.figures import PANE_S, PANES, Figures
from services.monitor.domain.foreign import ForeignServices
from services.monitor.domain.foreign_incidents import is_foreign
from services.monitor.domain.probe_book import ProbeBook
from services.monitor.domain.ring import TraceRing
from services.monitor.journal import Journal

_DEFAULT_WINDOW_S = 60
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_INCIDENT_ID = re.compile(r"[0-9a-f]{20}")


class MonitorServicer(monitor_service_pb2_grpc.MonitorServiceServicer):
    def __init__(
        self,
        *,
        figures: Figures,
        ring: TraceRing,
        services: ForeignServices,
        store: IncidentStore,
        journal: Journal,
        probes: ProbeBook,
        clock: Callable[[], int],
    ) -> None:
        self._figures = figures
        self._ring = ring
        self._services = services
        self._store = store
        self._journal = journal
        self._probes = probes
        self._clock = clock

    async def ListFigures(self, request: pb.ListFiguresRequest, _context: Any) -> pb.ListFiguresResponse:
        model, window_s = _model(request.model), _window_s(request)
        keys = self._figures.keys(model=model)
        page, following = paging.page(keys, tuple, request, "figures", model, window_s)
        response = pb.ListFiguresResponse(next_page_token=following)
        for key in page:
            window = self._figures.window(key, window_s=window_s, now_s=self._clock() / NS)
            if window is not None:
                response.figures.append(messages.figures(window))
            await asyncio.sleep(0)  # Spans come in meanwhile.
        return response

    async def ListServiceFigures(
        self, request: pb.ListServiceFiguresRequest, _context: Any
    ) -> pb.ListServiceFiguresResponse:
        service, window_s = request.service, _window_s(request)
        keys = self._services.keys(service=service)
        page, following = paging.page(keys, tuple, request, "services", service, window_s)
        response = pb.ListServiceFiguresResponse(next_page_token=following)
        for key in page:
            window = self._services.window(key, window_s=window_s, now_s=self._clock() / NS)
            if window is not None:
                response.figures.append(messages.service_figures(window))
            await asyncio.sleep(0)  # Spans come in meanwhile.
        return response

    async def ListTraces(self, request: pb.ListTracesRequest, _context: Any) -> pb.ListTracesResponse:
        model, size = _model(request.model), paging.size_of(request.page_size)
        question = ("traces", model, request.has_error)
        cursor = paging.cursor_of(request.page_token, *question)
        found = self._ring.newest(model=model, has_error=request.has_error, before=int(cursor) if cursor else None)
        traces = list(islice(found, size + 1))
        following = paging.token(str(traces[size - 1].number), *question) if len(traces) > size else ""
        return pb.ListTracesResponse(
            traces=[messages.trace(trace, with_spans=False) for trace in traces[:size]], next_page_token=following
        )

    async def GetTrace(self, request: pb.GetTraceRequest, _context: Any) -> pb.GetTraceResponse:
        trace_id = _id(request.name, "traces/*", _TRACE_ID, "32 hexadecimal digits in lower case")
        trace = self._ring.get(bytes.fromhex(trace_id))
        if trace is None:
            raise NotFoundError(f"{request.name} never came, or was pushed out of the ring by newer ones")
        return pb.GetTraceResponse(trace=messages.trace(trace, with_spans=True))

    async def ListIncidents(self, request: pb.ListIncidentsRequest, _context: Any) -> pb.ListIncidentsResponse:
        model, size = _subject(request.model), paging.size_of(request.page_size)
        question = ("incidents", model, request.is_open)
        before = paging.cursor_of(request.page_token, *question)
        incidents = await asyncio.to_thread(
            self._store.newest, model=model, is_open=request.is_open, before=before, limit=size + 1
        )
        following = paging.token(incidents[size - 1].incident_id, *question) if len(incidents) > size else ""
        return pb.ListIncidentsResponse(incidents=map(messages.incident, incidents[:size]), next_page_token=following)

    async def GetIncident(self, request: pb.GetIncidentRequest, _context: Any) -> pb.GetIncidentResponse:
        incident_id = _id(request.name, "incidents/*", _INCIDENT_ID, "20 hexadecimal digits in lower case")
        incident = await asyncio.to_thread(self._store.get, incident_id)
        if incident is None:
            raise NotFoundError(f"there is no {request.name}")
        return pb.GetIncidentResponse(incident=messages.incident(incident))

    async def ListProbes(self, request: pb.ListProbesRequest, _context: Any) -> pb.ListProbesResponse:
        model = _model(request.model)
        page, following = paging.page(self._probes.states(model=model), lambda one: one.key, request, "probes", model)
        return pb.ListProbesResponse(probes=map(messages.probe, page), next_page_token=following)

    async def WatchIncidents(
        self, request: pb.WatchIncidentsRequest, context: Any
    ) -> AsyncIterator[pb.WatchIncidentsResponse]:
        model = _subject(request.model)
        await context.send_initial_metadata(())  # Tells the watcher at once that its watch stands.
        async with aclosing(self._journal.watch(model)) as incidents:
            async for incident in incidents:
                yield pb.WatchIncidentsResponse(incident=messages.incident(incident))


def _model(text: str) -> str:
    return names.model_id(text) if text else ""


def _subject(text: str) -> str:
    """Whose incidents are asked for."""
    return text if is_foreign(text) else _model(text)


def _id(name: str, form: str, pattern: re.Pattern[str], expected: str) -> str:
    (found,) = names.split(name, form)
    if pattern.fullmatch(found) is None:
        raise InvalidArgumentError(f"got {name[:128]!r}, expected {form} with {expected}")
    return found


def _window_s(request: pb.ListFiguresRequest | pb.ListServiceFiguresRequest) -> int:
    if not request.HasField("window"):
        return _DEFAULT_WINDOW_S
    seconds = request.window.seconds + request.window.nanos / 1e9
    if not 1 <= seconds <= PANES * PANE_S:
        raise InvalidArgumentError(f"got a window of {seconds:g} s, expected 1 s to {PANES * PANE_S} s")
    return -(-int(-(-seconds // 1)) // PANE_S) * PANE_S
