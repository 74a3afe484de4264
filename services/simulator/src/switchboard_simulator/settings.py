"""The simulator's settings, read from ``SIMULATOR_*`` in the environment."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict

from switchboard_simulator.faults import Faults
from switchboard_simulator.outcomes import Habits, Seconds

AccountSid = Annotated[str, Field(pattern=r"^AC[0-9a-f]{32}$")]
AuthToken = Annotated[str, Field(min_length=1)]

DEMO_ACCOUNT_SID = "AC00000000000000000000000000000001"
# Opens nothing but this simulator.
DEMO_AUTH_TOKEN = "simulator0000000000000000000001"  # noqa: S105


class SimulatorSettings(Habits, BaseSettings):
    """Where to listen, who may call, and how callees behave unless a script says otherwise.

    Attributes:
        port: 0 picks a free one.
        public_url: how clients reach the API, the base of ``RecordingUrl``; left out, it is taken from their requests.
        accounts: further accounts, sid to auth token.
        message_webhook: where messages to the customer's numbers are reported, as the carrier's console would say.
        cps: calls started a second for each account; the rest queues.
        mps: messages sent a second for each sending number; the rest queues.
        message_seconds: from one status of a message to the next.
        dial_seconds: from the start of a call to its ringing.
        detection_seconds: how long machine detection listens.
        faults: what goes wrong from the start; JSON, or one by one as ``SIMULATOR_FAULTS__CALLBACK_LOSE=0.1``.
    """

    model_config = SettingsConfigDict(
        env_prefix="SIMULATOR_",
        env_nested_delimiter="__",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65_535)
    public_url: HttpUrl | None = None
    account_sid: AccountSid = DEMO_ACCOUNT_SID
    auth_token: AuthToken = Field(default=DEMO_AUTH_TOKEN, repr=False)
    accounts: Mapping[AccountSid, AuthToken] = Field(default_factory=dict, repr=False)
    message_webhook: HttpUrl | None = None
    cps: float = Field(default=1.0, gt=0, le=10_000)
    mps: float = Field(default=10.0, gt=0, le=10_000)
    message_seconds: Seconds = 0.05
    dial_seconds: Seconds = 0.05
    detection_seconds: Seconds = 0.2
    faults: Faults = Faults()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", validation_alias=AliasChoices("LOG_LEVEL", "log_level")
    )
    log_format: Literal["json", "text"] = Field(
        default="json", validation_alias=AliasChoices("LOG_FORMAT", "log_format")
    )

    @property
    def auth_tokens(self) -> dict[str, str]:
        """Auth token of every account."""
        return {**self.accounts, self.account_sid: self.auth_token}
