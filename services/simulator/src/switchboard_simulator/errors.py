"""The carrier's errors: a code, a sentence and an HTTP status, in the body that Twilio's client reads."""

MORE_INFO = "https://www.twilio.com/docs/errors"

AUTHENTICATE = 20003
NOT_FOUND = 20404
TOO_MANY_REQUESTS = 20429
INTERNAL_ERROR = 20500
UNAVAILABLE = 20503
INVALID_PARAMETER = 20001
TWIML_TOO_LARGE = 11750
TO_REQUIRED = 21201
INVALID_URL = 21205
INVALID_TO = 21211
INVALID_FROM = 21212
FROM_REQUIRED = 21213
NOT_IN_PROGRESS = 21220
BODY_REQUIRED = 21602
UNSUBSCRIBED = 21610
NOT_MOBILE = 21614
BODY_TOO_LONG = 21617
INVALID_STATUS_CALLBACK = 21609
INVALID_CALLBACK_EVENT = 21626
QUEUED_TOO_LONG = 22005
RECORDING_TOO_SHORT = 16101
RECORDING_SILENT = 16102


class TwilioError(Exception):
    """An answer of the API that is not a success.

    Args:
        status: HTTP status of the answer.
        code: Twilio's error code.
        message: one sentence for people.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, str | int]:
        """Return the JSON body, as the ``twilio`` package expects it."""
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"{MORE_INFO}/{self.code}",
            "status": self.status,
        }


def not_found(path: str) -> TwilioError:
    """Return the error for a resource that does not exist or belongs to another account."""
    return TwilioError(404, NOT_FOUND, f"The requested resource {path} was not found")
