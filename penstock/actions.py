"""The part of the Python client that tells what the monitor did by itself, and of retrainings.

>>> with Client() as client:  # doctest: +SKIP
...     for action in client.actions.list(model="digits"):
...         print(action.reason, action.detail)
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.channels import Channel
from penstock.monitor.v1 import action_service_pb2 as pb
from penstock.monitor.v1.action_service_pb2_grpc import ActionServiceStub


class ActionClient:
    """Asks the monitor what it did. Names are those of resources: "actions/{action}", "retrainings/{retraining}"."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._monitor = ActionServiceStub(channel.grpc)

    def list(self, *, model: str = "", incident: str = "") -> Sequence[pb.Action]:
        """Actions, newest first: those of one model, and because of one incident, by its name."""
        request = pb.ListActionsRequest(model=model, incident=incident)
        return self._channel.pages(self._monitor.ListActions, request, "actions")

    def get(self, name: str) -> pb.Action:
        """One action."""
        return self._channel.call(self._monitor.GetAction, pb.GetActionRequest(name=name)).action

    def policies(self) -> Sequence[pb.Policy]:
        """The policies in force: of each action, the first that matches an incident is followed."""
        return self._channel.pages(self._monitor.ListPolicies, pb.ListPoliciesRequest(), "policies")

    def check_policies(self, content: str) -> Sequence[pb.Policy]:
        """What would be in force with a file of this content.

        Raises:
            InvalidArgumentError: the monitor would refuse it; the message says where.
        """
        return self._channel.call(self._monitor.CheckPolicies, pb.CheckPoliciesRequest(content=content)).policies

    def retrainings(self, *, model: str = "") -> Sequence[pb.Retraining]:
        """Retrainings, newest first, without what they printed."""
        request = pb.ListRetrainingsRequest(model=model)
        return self._channel.pages(self._monitor.ListRetrainings, request, "retrainings")

    def retraining(self, name: str) -> pb.Retraining:
        """One retraining."""
        return self._channel.call(self._monitor.GetRetraining, pb.GetRetrainingRequest(name=name)).retraining

    def report_retraining(
        self, name: str, token: str, *, detail: str = "", model_version: str = "", is_failed: bool = False
    ) -> pb.Retraining:
        """Say how far a retraining is that a webhook was asked for; with a version, that it is done.

        Raises:
            FailedPreconditionError: it is over, or the token is another.
        """
        progress = pb.ReportRetrainingRequest.PROGRESS_RUNNING
        if model_version:
            progress = pb.ReportRetrainingRequest.PROGRESS_DONE
        elif is_failed:
            progress = pb.ReportRetrainingRequest.PROGRESS_FAILED
        request = pb.ReportRetrainingRequest(
            name=name, token=token, progress=progress, detail=detail, model_version=model_version
        )
        return self._channel.call(self._monitor.ReportRetraining, request).retraining

    def cancel_retraining(self, name: str, *, reason: str = "") -> pb.Retraining:
        """End a retraining that goes on.

        Raises:
            FailedPreconditionError: it is over.
        """
        request = pb.CancelRetrainingRequest(name=name, reason=reason)
        return self._channel.call(self._monitor.CancelRetraining, request).retraining
