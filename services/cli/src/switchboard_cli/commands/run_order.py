"""What ``switchboard run start`` sends: options as people write them, as the body of the request."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from switchboard_cli.commands.business import parse_hours
from switchboard_cli.errors import CliError
from switchboard_cli.output import Json


class Detection(StrEnum):
    """What to do about answering machines."""

    OFF = "off"
    DETECT = "detect"
    HANGUP = "hangup"


@dataclass(frozen=True, kw_only=True)
class RunOrder:
    """A campaign run to start; names and meanings are those of the api's ``RunCreate``."""

    name: str
    message: str
    every_lead: bool
    tags: list[str]
    import_id: int | None
    lead_ids: list[int]
    caller_ids: list[str]
    max_attempts: int
    retries: dict[str, float] | None
    detection: Detection
    record: bool
    ring_timeout_s: int
    hours: str | None

    def body(self) -> Json:
        """The body of the request.

        Raises:
            CliError: nobody was named to be called, or everybody and somebody.
        """
        body: Json = {
            "name": self.name,
            "message": self.message,
            "leads": self._leads(),
            "caller_ids": self.caller_ids,
            "max_attempts": self.max_attempts,
            "machine_detection": self.detection.value,
            "record": self.record,
            "ring_timeout_s": self.ring_timeout_s,
        }
        if self.retries is not None:
            body["retry_after_s"] = self.retries
        if self.hours is not None:
            opens, closes = parse_hours(self.hours)
            body["calling_hours"] = {"opens": opens, "closes": closes}
        return body

    def _leads(self) -> Json:
        wanted: dict[str, Any] = {"tags": self.tags, "import_id": self.import_id, "ids": self.lead_ids}
        narrowed = {name: value for name, value in wanted.items() if value}
        if self.every_lead and narrowed:
            raise CliError("--all means every lead: leave it out, or leave out --tag, --import-id and --lead.", 2)
        if not self.every_lead and not narrowed:
            raise CliError("Say whom to call: --tag, --import-id, --lead, or --all for every lead.", 2)
        return narrowed or {"all": True}


def parse_retries(written: list[str]) -> dict[str, float]:
    """Seconds until the next attempt by outcome, from ``busy=300`` and the like.

    Raises:
        CliError: one is written differently.
    """
    retries = {}
    for item in written:
        outcome, _, seconds = item.partition("=")
        try:
            retries[outcome.strip()] = float(seconds)
        except ValueError:
            raise CliError(f"{item!r} is no retry rule: write outcome=seconds, such as busy=300.", 2) from None
    return retries
