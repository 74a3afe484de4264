"""Reading a create call: every parameter checked as the carrier checks it, with its error codes."""

import re
from urllib.parse import parse_qs, urlsplit

from switchboard_simulator import errors
from switchboard_simulator.calls import CallRequest, MachineDetection
from switchboard_simulator.errors import TwilioError
from switchboard_simulator.messages import MessageRequest

LONGEST_TWIML = 4000
LONGEST_URL = 4000
LONGEST_BODY = 1600
CALL_EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})
RECORDING_EVENTS = frozenset({"in-progress", "completed", "absent"})
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class Form:
    """The fields of a form-encoded body; a field may be there more than once.

    Args:
        body: the request's body.

    Raises:
        TwilioError: it is not UTF-8.
    """

    def __init__(self, body: bytes) -> None:
        try:
            self._fields = parse_qs(body.decode(), keep_blank_values=True)
        except UnicodeDecodeError as error:
            raise TwilioError(400, errors.INVALID_PARAMETER, "The body must be form-encoded UTF-8.") from error

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> str | None:
        """Return a field's value, or nothing if it is absent or empty."""
        return self._fields.get(name, [""])[-1] or None

    def values(self, name: str) -> frozenset[str]:
        """Return all values of a repeated field."""
        return frozenset(value for value in self._fields.get(name, []) if value)

    def flag(self, name: str) -> bool:
        """Return a truth value, false by default."""
        return (self.text(name) or "").lower() == "true"

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number.

        Raises:
            TwilioError: it is none, or not between ``low`` and ``high``.
        """
        text = self.text(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise _invalid(f"{name} must be a whole number from {low} to {high}.")
        return int(text)

    def method(self, name: str) -> str:
        """Return an HTTP method, ``POST`` by default.

        Raises:
            TwilioError: it is neither GET nor POST.
        """
        method = (self.text(name) or "POST").upper()
        if method not in {"GET", "POST"}:
            raise _invalid(f"{name} must be GET or POST.")
        return method

    def url(self, name: str, code: int) -> str | None:
        """Return an absolute http(s) URL, if there is one.

        Raises:
            TwilioError: it is not such a URL; with the code given.
        """
        text = self.text(name)
        if text is None:
            return None
        if not _is_url(text):
            raise TwilioError(400, code, f"{name} is not a valid URL: {text[:200]}")
        return text


def parse_create(form: Form) -> CallRequest:
    """Check the parameters of a create call.

    Raises:
        TwilioError: the first thing that is wrong, with the carrier's code.
    """
    to = _number(form, "To", errors.TO_REQUIRED, errors.INVALID_TO)
    from_ = _number(form, "From", errors.FROM_REQUIRED, errors.INVALID_FROM)
    url, twiml = form.url("Url", errors.INVALID_URL), form.text("Twiml")
    if url is None and twiml is None:
        raise TwilioError(400, errors.INVALID_URL, "Url or Twiml is required; the simulator knows no applications.")
    if twiml is not None and len(twiml) > LONGEST_TWIML:
        raise TwilioError(400, errors.TWIML_TOO_LARGE, f"Twiml must be at most {LONGEST_TWIML} characters.")
    return CallRequest(
        to=to,
        from_=from_,
        url=url,
        method=form.method("Method"),
        twiml=twiml,
        fallback_url=form.url("FallbackUrl", errors.INVALID_URL),
        fallback_method=form.method("FallbackMethod"),
        status_callback=form.url("StatusCallback", errors.INVALID_STATUS_CALLBACK),
        status_callback_method=form.method("StatusCallbackMethod"),
        status_events=_events(form, "StatusCallbackEvent", CALL_EVENTS),
        timeout=form.whole("Timeout", 60, 1, 600),
        time_limit=form.whole("TimeLimit", 14_400, 1, 86_400),
        record=form.flag("Record"),
        recording_track=_choice(form, "RecordingTrack", ("both", "inbound", "outbound")),
        recording_callback=form.url("RecordingStatusCallback", errors.INVALID_STATUS_CALLBACK),
        recording_callback_method=form.method("RecordingStatusCallbackMethod"),
        recording_events=_events(form, "RecordingStatusCallbackEvent", RECORDING_EVENTS),
        machine_detection=_detection(form),
        async_amd=form.flag("AsyncAmd"),
        amd_callback=form.url("AsyncAmdStatusCallback", errors.INVALID_STATUS_CALLBACK),
        amd_callback_method=form.method("AsyncAmdStatusCallbackMethod"),
    )


def parse_message(form: Form) -> MessageRequest:
    """Check the parameters of a request for a message.

    Raises:
        TwilioError: the first thing that is wrong, with the carrier's code.
    """
    to = _number(form, "To", errors.TO_REQUIRED, errors.INVALID_TO)
    from_ = _number(form, "From", errors.FROM_REQUIRED, errors.INVALID_FROM)
    body = form.text("Body")
    if body is None:
        raise TwilioError(400, errors.BODY_REQUIRED, "Message body is required.")
    if len(body) > LONGEST_BODY:
        raise TwilioError(
            400, errors.BODY_TOO_LONG, f"The concatenated message body exceeds the {LONGEST_BODY} character limit."
        )
    return MessageRequest(
        to=to,
        from_=from_,
        body=body,
        status_callback=form.url("StatusCallback", errors.INVALID_STATUS_CALLBACK),
    )


def _number(form: Form, name: str, missing: int, invalid: int) -> str:
    text = form.text(name)
    if text is None:
        raise TwilioError(400, missing, f"No '{name}' number is specified.")
    if not _E164.fullmatch(text):
        raise TwilioError(400, invalid, f"The '{name}' number {text[:40]} is not a valid phone number.")
    return text


def _is_url(text: str) -> bool:
    if len(text) > LONGEST_URL or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _events(form: Form, name: str, known: frozenset[str]) -> frozenset[str]:
    events = form.values(name)
    # The carrier accepts unknown events with a warning and then never calls back; said at once, it is found sooner.
    if unknown := events - known:
        wrong = ", ".join(sorted(unknown))[:200]
        raise TwilioError(
            400, errors.INVALID_CALLBACK_EVENT, f"{name} knows {', '.join(sorted(known))}, each a field; not {wrong}."
        )
    return events or frozenset({"completed"})


def _choice(form: Form, name: str, known: tuple[str, ...]) -> str:
    text = form.text(name) or known[0]
    if text not in known:
        raise _invalid(f"{name} must be one of {', '.join(known)}.")
    return text


def _detection(form: Form) -> MachineDetection | None:
    text = form.text("MachineDetection")
    if text is None or text == "none":
        return None
    return MachineDetection(_choice(form, "MachineDetection", tuple(MachineDetection)))


def _invalid(sentence: str) -> TwilioError:
    return TwilioError(400, errors.INVALID_PARAMETER, sentence)
