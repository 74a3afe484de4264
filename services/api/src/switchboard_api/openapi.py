"""The OpenAPI document: every request and response with an example, every error as the problem that it is."""

from collections.abc import Iterator
from typing import Any

from switchboard_api.problems import MEDIA_TYPE

Schema = dict[str, Any]

DESCRIPTION = """
Outbound call campaigns, call recordings and CRM background work.

**Authentication.** `Authorization: Bearer sbk_…`, a key of one business. A *viewer* reads, an *agent* also works, an
*owner* also manages keys and settings. What belongs to another business does not exist for you: 404.

**Errors** are `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, and `errors` with a field
and a message each where a request is not what a route takes.

**Idempotency.** Send `Idempotency-Key` with a POST and repeat the request as often as you need: it has one effect, and
the same answer, marked `Idempotency-Replayed: true`, for 24 hours. Another request with the same key: 422. The first
one still at work: 409. Only success is remembered.

**Pages.** Lists have `limit` and `cursor`; send the `next_cursor` of a page for the next one, until it is null.

**Live progress.** `POST /api/tasks/{id}/ticket`, then the WebSocket `/ws/tasks/{id}?ticket=…`.
"""

TAGS = [
    {"name": "campaigns", "description": "Runs of outbound calls."},
    {"name": "leads", "description": "People to call: import, list, change, delete."},
    {"name": "recordings", "description": "Recordings of calls and their transcripts."},
    {"name": "receipts", "description": "Users, their payments, and the receipts that they get by mail."},
    {"name": "mailbox", "description": "Connected mailboxes: sort, receipts in them, search by text or voice."},
    {"name": "ledger", "description": "Transactions and counterparties of an accounting system."},
    {"name": "broadcasts", "description": "Messages to many leads, by SMS or e-mail."},
    {"name": "tasks", "description": "Background jobs: progress, errors, cancel."},
    {"name": "business", "description": "Settings, API keys and the audit log."},
    {"name": "webhooks", "description": "What the carrier sends, signed."},
    {"name": "operations", "description": "Health and metrics, without a key."},
]

# (title, detail) of an example for each status that any route may answer.
_ERRORS = {
    400: ("Malformed JSON", "The body is not JSON at character 17: Expecting value."),
    401: ("Not authenticated", "Send your API key as `Authorization: Bearer sbk_…`."),
    403: ("Role too low", "This needs an API key with the role owner; yours has the role viewer."),
    404: ("Not found", "There is no task 123."),
    409: ("Request in flight", "The first request with this Idempotency-Key is still at work."),
    413: ("Body too large", "The body is larger than the 1,048,576 bytes that this path takes: send less at once."),
    415: ("Unsupported media type", "Send the body as JSON with `Content-Type: application/json`."),
    422: ("Invalid request", "body.name: Field required."),
    429: ("Too many requests", "This API key may send 1200 requests a minute: wait 3 s, then go on."),
    503: ("Database unavailable", "The database does not answer at the moment: nothing was changed."),
}

# The same where a path means something else by a status.
_ERRORS_OF = {
    ("/api/ready", 503): ("Not ready", "The database has not been migrated yet: run `switchboard migrate`."),
    ("/webhooks/twilio", 400): ("Malformed form", "The body is not a form in UTF-8."),
    ("/webhooks/twilio", 403): ("Wrong signature", "The signature is not the carrier's for this URL and body."),
}

# The carrier's side of a webhook. Its body is read as it came, for the signature, so FastAPI cannot see the form.
_CARRIER_FORM = {"CallSid": "CA" + "0" * 32, "CallStatus": "completed", "SequenceNumber": "3", "CallDuration": "12"}
_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response><Say>Hello Ada</Say></Response>'

PROBLEM: Schema = {
    "type": "object",
    "title": "Problem",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Names the kind of problem."},
        "title": {"type": "string", "description": "The kind in words."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened here, and what to do."},
        "errors": {
            "type": "array",
            "description": "Where a request is not what the route takes.",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "error_id": {"type": "string", "description": "Finds an unexpected error (500) in the log."},
    },
    "additionalProperties": True,
}


def describe(document: Schema) -> Schema:
    """Complete what FastAPI wrote.

    Args:
        document: changed in place.

    Returns:
        The same document.
    """
    components = document.setdefault("components", {})
    schemas: dict[str, Schema] = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    for path, operation in _operations(document):
        if "webhooks" in operation.get("tags", ()):
            _describe_webhook(operation)
        _add_errors(path, operation)
        for media in _bodies(operation):
            _add_example(media, schemas)
    return document


def _operations(document: Schema) -> Iterator[tuple[str, Schema]]:
    for path, item in document["paths"].items():
        for operation in item.values():
            yield path, operation


def _bodies(operation: Schema) -> Iterator[Schema]:
    """Each media type object of the request and of the responses."""
    for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from holder.get("content", {}).values()


def _describe_webhook(operation: Schema) -> None:
    """What the carrier sends, the 403 for everybody else, and TwiML where there is a body at all."""
    form = {"type": "object", "additionalProperties": {"type": "string"}, "description": "Signed: X-Twilio-Signature."}
    content = {"application/x-www-form-urlencoded": {"schema": form, "example": _CARRIER_FORM}}
    operation.setdefault("requestBody", {"required": True, "content": content})
    responses: dict[str, Schema] = operation["responses"]
    if "application/json" in responses.get("200", {}).get("content", {}):
        responses["200"] = {"description": "TwiML.", "content": {"text/xml": {"example": _TWIML}}}
    responses["403"] = {"description": "The signature is not the carrier's."}


def _add_errors(path: str, operation: Schema) -> None:
    responses: dict[str, Schema] = operation["responses"]
    statuses = {422, 503}
    if operation.get("security"):
        statuses |= {401, 403, 429}
    if "{" in path:
        statuses.add(404)
    if "requestBody" in operation:
        statuses |= {400, 413, 415}
    if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())):
        statuses.add(409)
    if not operation.get("security") and "422" not in responses:
        statuses = {503} if "503" in responses else set()
    for status in statuses | {int(code) for code in responses if code.isdecimal() and int(code) >= 400}:
        title, detail = _error(path, status)
        given = responses.get(str(status), {})
        described = given.get("description", title) if status != 422 else title
        slug = title.lower().replace(" ", "-")
        example = {"type": f"urn:switchboard:problem:{slug}", "title": title, "status": status, "detail": detail}
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
        pages = {kind: page for kind, page in given.get("content", {}).items() if kind == "text/html"}
        responses[str(status)] = {"description": described, "content": pages | content}
    operation["responses"] = dict(sorted(responses.items()))


def _error(path: str, status: int) -> tuple[str, str]:
    """Title and detail of an example."""
    special = (text for (prefix, code), text in _ERRORS_OF.items() if code == status and path.startswith(prefix))
    return next(special, _ERRORS.get(status, ("Error", "What happened, and what to do.")))


def _add_example(media: Schema, schemas: dict[str, Schema]) -> None:
    if "example" not in media and "examples" not in media and "schema" in media:
        media["example"] = example_of(media["schema"], schemas)


def example_of(schema: Schema, schemas: dict[str, Schema]) -> Any:  # noqa: ANN401 - JSON of any kind
    """An example of a schema, put together from those of its parts."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "example" in schema:
        return schema["example"]
    for source in ("examples", "enum"):
        if schema.get(source):
            return schema[source][0]
    for source in ("const", "default"):
        if schema.get(source) is not None:
            return schema[source]
    for source in ("anyOf", "oneOf", "allOf"):
        if schema.get(source):
            return example_of(schema[source][0], schemas)
    if "properties" in schema:
        return {name: example_of(part, schemas) for name, part in schema["properties"].items()}
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    plain = {"integer": 1, "number": 1.5, "boolean": True, "string": "text", "object": {}}
    return plain.get(str(schema.get("type")))
