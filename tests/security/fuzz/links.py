"""What follows from which answer, where Schemathesis does not infer it: nothing in the names gives these away."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

START_RUN = "POST /api/outbound_calls/runs"
LIST_RUNS = "GET /api/outbound_calls/runs"
CANCEL_RUN = "POST /api/outbound_calls/jobs/{job_id}/cancel"
FORCE_CANCEL_RUN = "POST /api/outbound_calls/jobs/{job_id}/force-cancel"
TASKS = (
    "GET /api/tasks/{task_id}",
    "GET /api/tasks/{task_id}/errors.csv",
    "POST /api/tasks/{task_id}/cancel",
    "POST /api/tasks/{task_id}/ticket",
)


@dataclass(frozen=True)
class Link:
    """A request that follows from an answer.

    Attributes:
        source: operation that answers, as method and path.
        status: of the answer.
        target: operation that follows.
        parameters: its parameters, as expressions of OpenAPI.
        body: its whole body, whose texts may be such expressions.
    """

    source: str
    status: str
    target: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    def described(self, operation_id: str) -> dict[str, Any]:
        """The link as OpenAPI writes it, with a body that is replaced rather than merged."""
        found: dict[str, Any] = {"operationId": operation_id, "parameters": dict(self.parameters)}
        if self.body is not None:
            found |= {"requestBody": self.body, "x-schemathesis": {"merge_body": False}}
        return found


def _run(**leads: Any) -> dict[str, Any]:
    return {"name": "chain", "message": "Hello.", "leads": leads}


_JOB = {"path.job_id": "$response.body#/job_id"}
_FIRST_JOB = {"path.job_id": "$response.body#/items/0/job_id"}
_JOB_AS_TASK = {"path.task_id": "$response.body#/job_id"}
_DELETION = {"task_id": "$response.body#/id"}
_OPT_OUT = {"path.entry_id": "$response.body#/items/0/id", "path.channel": "$response.body#/items/0/channel"}
_REMOVE_OPT_OUT = "DELETE /api/opt-outs/{channel}/{entry_id}"

LINKS = (
    Link("GET /api/leads", "200", START_RUN, body=_run(ids=["$response.body#/items/0/id"])),
    Link("GET /api/business", "200", START_RUN, body=_run(all=True) | {"caller_ids": "$response.body#/caller_ids"}),
    *(Link(START_RUN, "201", target, _JOB) for target in (CANCEL_RUN, FORCE_CANCEL_RUN)),
    *(Link(LIST_RUNS, "200", target, _FIRST_JOB) for target in (CANCEL_RUN, FORCE_CANCEL_RUN)),
    *(Link(START_RUN, "201", target, _JOB_AS_TASK) for target in TASKS),
    Link("POST /api/leads/bulk-delete", "202", "POST /api/leads/restore", body=_DELETION),
    Link("POST /api/leads/imports/{import_id}/delete", "202", "POST /api/leads/restore", body=_DELETION),
    Link("POST /api/opt-outs", "201", _REMOVE_OPT_OUT, _OPT_OUT),
    Link("GET /api/opt-outs", "200", _REMOVE_OPT_OUT, _OPT_OUT),
    Link("GET /api/keys", "200", "DELETE /api/keys/{key_id}", {"path.key_id": "$response.body#/items/0/id"}),
)


def with_links(document: dict[str, Any]) -> dict[str, Any]:
    """A copy of an OpenAPI document that has the links too."""
    linked = deepcopy(document)
    for link in LINKS:
        answer = _operation(linked, link.source)["responses"][link.status]
        known = answer.setdefault("links", {})
        known[f"follow{len(known)}"] = link.described(_operation(linked, link.target)["operationId"])
    return linked


def _operation(document: dict[str, Any], label: str) -> dict[str, Any]:
    method, path = label.split(" ")
    found: dict[str, Any] = document["paths"][path][method.lower()]
    return found
