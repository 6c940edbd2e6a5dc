"""``penstock.monitor.v1.ActionService``: what the monitor does by itself, and the retrainings that it has done."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

from penstock.monitor.v1 import action_service_pb2 as pb
from penstock.monitor.v1 import action_service_pb2_grpc
from services.common import names
from services.common.errors import InvalidArgumentError, NotFoundError
from services.monitor import action_messages, paging
from services.monitor.adapters.action_store import ActionStore
from services.monitor.domain import policy_files
from services.monitor.domain.policies import Policy
from services.monitor.retrainings import Retrainings

MAX_POLICY_BYTES = 1 << 20
_MAX_REASON = 1_024
_ID = re.compile(r"[0-9a-f]{20}")
_ANY_JOB = json.dumps({"kind": "Job", "spec": {"template": {"spec": {"containers": [{"name": "any"}]}}}})


class ActionServicer(action_service_pb2_grpc.ActionServiceServicer):
    def __init__(self, store: ActionStore, retrainings: Retrainings, policies: Sequence[Policy]) -> None:
        self._store = store
        self._retrainings = retrainings
        self._policies = policies

    async def ListActions(self, request: pb.ListActionsRequest, _context: Any) -> pb.ListActionsResponse:
        model = names.model_id(request.model) if request.model else ""
        incident_id = _id(request.incident, "incidents/*") if request.incident else ""
        size, question = paging.size_of(request.page_size), ("actions", model, incident_id)
        before = paging.cursor_of(request.page_token, *question)
        found = await asyncio.to_thread(
            self._store.newest_actions, model=model, incident_id=incident_id, before=before, limit=size + 1
        )
        following = paging.token(found[size - 1].action_id, *question) if len(found) > size else ""
        return pb.ListActionsResponse(actions=map(action_messages.action, found[:size]), next_page_token=following)

    async def GetAction(self, request: pb.GetActionRequest, _context: Any) -> pb.GetActionResponse:
        action = await asyncio.to_thread(self._store.action, _id(request.name, "actions/*"))
        if action is None:
            raise NotFoundError(f"there is no {request.name}")
        return pb.GetActionResponse(action=action_messages.action(action))

    async def ListPolicies(self, request: pb.ListPoliciesRequest, _context: Any) -> pb.ListPoliciesResponse:
        size, at = paging.size_of(request.page_size), paging.cursor_of(request.page_token, "policies")
        start = int(at) if at else 0
        end = start + size
        following = paging.token(str(end), "policies") if end < len(self._policies) else ""
        page = map(action_messages.policy, self._policies[start:end])
        return pb.ListPoliciesResponse(policies=page, next_page_token=following)

    async def CheckPolicies(self, request: pb.CheckPoliciesRequest, _context: Any) -> pb.CheckPoliciesResponse:
        """Files that the policies name are not looked at: those where the monitor runs are none of a caller's."""
        if len(request.content) > MAX_POLICY_BYTES:
            raise InvalidArgumentError(f"got policies of {len(request.content)} bytes, expected {MAX_POLICY_BYTES}")
        found = policy_files.parse(request.content, read_file=lambda _: _ANY_JOB)
        return pb.CheckPoliciesResponse(policies=map(action_messages.policy, found))

    async def ListRetrainings(self, request: pb.ListRetrainingsRequest, _context: Any) -> pb.ListRetrainingsResponse:
        model = names.model_id(request.model) if request.model else ""
        size, question = paging.size_of(request.page_size), ("retrainings", model)
        before = paging.cursor_of(request.page_token, *question)
        found = await asyncio.to_thread(self._store.newest_retrainings, model=model, before=before, limit=size + 1)
        following = paging.token(found[size - 1].retraining_id, *question) if len(found) > size else ""
        page = [action_messages.retraining(one, is_whole=False) for one in found[:size]]
        return pb.ListRetrainingsResponse(retrainings=page, next_page_token=following)

    async def GetRetraining(self, request: pb.GetRetrainingRequest, _context: Any) -> pb.GetRetrainingResponse:
        retraining = await asyncio.to_thread(self._store.retraining, _id(request.name, "retrainings/*"))
        if retraining is None:
            raise NotFoundError(f"there is no {request.name}")
        return pb.GetRetrainingResponse(retraining=action_messages.retraining(retraining))

    async def ReportRetraining(self, request: pb.ReportRetrainingRequest, _context: Any) -> pb.ReportRetrainingResponse:
        retraining_id = _id(request.name, "retrainings/*")
        is_done = request.progress == request.PROGRESS_DONE
        if is_done != bool(request.model_version):
            raise InvalidArgumentError("got a model_version without PROGRESS_DONE, or the reverse, expected both")
        _check_words("detail", request.detail)
        now = await self._retrainings.report(
            retraining_id,
            token=request.token,
            detail=request.detail,
            failed=request.progress == request.PROGRESS_FAILED,
            version=request.model_version,
        )
        return pb.ReportRetrainingResponse(retraining=action_messages.retraining(now))

    async def CancelRetraining(self, request: pb.CancelRetrainingRequest, _context: Any) -> pb.CancelRetrainingResponse:
        _check_words("reason", request.reason)
        now = await self._retrainings.cancel(_id(request.name, "retrainings/*"), request.reason)
        return pb.CancelRetrainingResponse(retraining=action_messages.retraining(now))


def _check_words(what: str, text: str) -> None:
    if len(text) > _MAX_REASON or "\0" in text:
        raise InvalidArgumentError(
            f"got a {what} of {len(text)} characters, expected at most {_MAX_REASON} and none of them NUL"
        )


def _id(name: str, form: str) -> str:
    (found,) = names.split(name, form)
    if _ID.fullmatch(found) is None:
        raise InvalidArgumentError(f"got {name[:128]!r}, expected {form} with 20 hexadecimal digits in lower case")
    return found
