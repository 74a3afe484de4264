"""Settings of every service, read from the environment (names: docs/operations.md and ``.env.example``)."""

from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import AliasChoices, Field, PostgresDsn, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

WORKER_QUEUES = ("high", "default", "low", "receipts", "receipts_sync", "maintenance", "broadcasts")
RECORDER_QUEUES = ("recordings",)
ALL_QUEUES = (*WORKER_QUEUES, *RECORDER_QUEUES)


class ServiceRole(StrEnum):
    """What a process is; in Kubernetes it comes from the pod's label ``switchboard.dev/role``."""

    API = "api"
    WORKER = "worker"
    RECORDER = "recorder"
    MIGRATE = "migrate"


class SettingsError(Exception):
    """The environment is incomplete or wrong; the message lists each variable and what is wrong with it."""


class _Base(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", case_sensitive=False)


class LogSettings(_Base):
    """How a process logs."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"


class MigrationSettings(LogSettings):
    """What ``switchboard migrate`` needs: the owner's connection, never the application's."""

    migration_database_url: SecretStr
    app_database_role: str = Field(
        "switchboard_app", description="Role that the services connect as; migrations grant it access."
    )
    migration_lock_timeout_seconds: float = Field(60.0, ge=0, description="How long to try for the migration lock.")
    migration_statement_timeout_seconds: int = Field(120, ge=1)
    migration_table_lock_timeout_seconds: float = Field(3.0, gt=0, description="lock_timeout of each step.")


class Settings(LogSettings):
    """What api, worker and recorder share."""

    database_url: SecretStr = Field(description="The application's role: owns nothing, row-level security applies.")
    redis_url: SecretStr = SecretStr("redis://redis:6379/0")
    service_role: ServiceRole | None = None
    rq_queues: Annotated[tuple[str, ...], NoDecode] = ()
    run_migrations: bool = False
    public_url: str = "http://127.0.0.1:8000"

    database_pool_size: int = Field(5, ge=1, description="Connections a process keeps; pools x pods is the budget.")
    database_pool_overflow: int = Field(5, ge=0)
    database_pool_timeout_seconds: float = Field(10.0, gt=0)

    twilio_account_sid: str = "AC" + "0" * 32
    twilio_auth_token: SecretStr = SecretStr("")
    twilio_base_url: str = "https://api.twilio.com"
    twilio_media_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    carrier_calls_per_second: float = Field(1.0, gt=0, description="Create requests a second on the carrier account.")
    carrier_connect_timeout_seconds: float = Field(3.0, gt=0)
    carrier_read_timeout_seconds: float = Field(10.0, gt=0)

    dial_deadline_seconds: float = Field(5.0, gt=0, description="An attempt not sent by then is never sent.")
    settle_after_seconds: float = Field(10.0, gt=0, description="Ask the carrier about calls silent for so long.")
    unknown_outcome_after_seconds: float = Field(
        120.0, gt=0, description="An unanswered create call ends as outcome_unknown after this."
    )
    dead_worker_after_seconds: float = Field(300.0, gt=0, description="No heartbeat for so long: the worker is dead.")
    lease_seconds: float = Field(10.0, gt=1)
    sweep_interval_seconds: float = Field(1.0, gt=0)
    heartbeat_interval_seconds: float = Field(30.0, gt=0)
    jobs_admitted_per_business: int = Field(16, ge=1, description="Jobs of one business in one queue of Redis.")
    task_retention_days: int = Field(30, ge=1)
    lead_undo_days: int = Field(30, ge=1, description="Deleted leads can be restored for so long.")

    recordings_url: str = "file:///var/lib/switchboard/recordings"
    recordings_per_business: int = Field(3, ge=1)
    recording_retention_days: int = Field(365, ge=1)
    recording_max_bytes: int = Field(500 * 1024 * 1024, ge=1024)
    s3_endpoint_url: str | None = None
    transcription_engine: Literal["pocketsphinx", "whisper", "none"] = "pocketsphinx"
    transcription_timeout_seconds: float = Field(
        300.0, gt=0, le=420, description="Hard limit for one recording; the stage around it has 600."
    )

    max_body_bytes: int = Field(1024 * 1024, ge=1024, description="Largest JSON or form body.")
    max_import_bytes: int = Field(512 * 1024 * 1024, ge=1024, description="Largest CSV of leads.")
    rate_limit_per_minute: int = Field(1200, ge=1, description="Requests a minute for one API key.")
    failed_keys_per_minute: int = Field(30, ge=1, description="Wrong API keys a minute from one address.")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses or networks of proxies whose X-Forwarded-For counts; empty: it never does."
    )
    idempotency_hours: int = Field(24, ge=1)
    internal_token: SecretStr = Field(
        SecretStr(""), description="What an autoscaler shows to the api; empty: there is no autoscaler."
    )

    sms_per_minute: float = Field(60.0, gt=0, description="SMS of broadcasts a minute, for each business.")
    broadcast_mails_per_minute: float = Field(
        300.0, gt=0, description="Mails of broadcasts a minute, for each business."
    )

    credentials_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Keys that seal what businesses entrust to us, newest first; empty: nothing can be entrusted."
    )
    smtp_timeout_seconds: float = Field(15.0, gt=0, le=20, description="All that comes before the end of a mail.")
    smtp_answer_timeout_seconds: float = Field(25.0, gt=0, le=30, description="The answer to the end of a mail.")
    receipt_fonts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Further font files for receipts, for scripts that the built-in font lacks."
    )
    outbox_max_tries: int = Field(12, ge=1, description="Tries of a message that the server puts off.")
    outbox_retry_seconds: float = Field(30.0, gt=0, description="First wait between them; doubled up to an hour.")
    outbox_archive_grace_seconds: float = Field(
        300.0, gt=0, description="A mail's copy that is not in the archive after so long did not arrive."
    )
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts, addresses or networks of the inside that businesses may name (mail, ledger)."
    )

    host: str = Field("127.0.0.1", validation_alias=AliasChoices("SWITCHBOARD_HOST", "HOST"))
    port: int = Field(8000, ge=0, le=65535, validation_alias=AliasChoices("SWITCHBOARD_PORT", "PORT"))
    metrics_port: int = Field(9100, ge=0, le=65535, description="Health and metrics of worker and recorder.")

    @field_validator(
        "rq_queues",
        "twilio_media_hosts",
        "trusted_proxies",
        "trusted_hosts",
        "credentials_keys",
        "receipt_fonts",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("rq_queues")
    @classmethod
    def _known_queues(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in ALL_QUEUES]
        if unknown:
            msg = f"unknown queue {', '.join(unknown)}; known are {', '.join(ALL_QUEUES)}"
            raise ValueError(msg)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            try:
                ip_network(entry, strict=False)
            except ValueError:
                msg = f"{entry} is neither an address nor a network such as 10.0.0.0/8"
                raise ValueError(msg) from None
        return value

    @field_validator("credentials_keys")
    @classmethod
    def _usable_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in value:
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                msg = "each key is 32 bytes in URL-safe base64; make one with `switchboard credentials new-key`"
                raise ValueError(msg) from None
        return value

    @field_validator("public_url", "twilio_base_url")
    @classmethod
    def _absolute_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            msg = "must be an absolute http(s) URL such as https://calls.example.com"
            raise ValueError(msg)
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr) -> SecretStr:
        PostgresDsn(value.get_secret_value().replace("postgresql+psycopg://", "postgresql://", 1))
        try:
            make_url(value.get_secret_value())
        except (ArgumentError, ValueError):
            # SQLAlchemy quotes what it cannot read, which may be a piece of a badly escaped password.
            msg = "must look like postgresql+psycopg://user:password@host:5432/database, its password percent-encoded"
            raise ValueError(msg) from None
        return value

    def queues_for(self, role: ServiceRole) -> tuple[str, ...]:
        """Queues of a worker or recorder, highest priority first.

        A recorder always consumes ``recordings`` and nothing else: no setting can switch its loop off, and an
        environment that it shares with workers does not hand it jobs whose code it does not have. Nor the other way.
        """
        if role is ServiceRole.RECORDER:
            return RECORDER_QUEUES
        return tuple(name for name in self.rq_queues if name not in RECORDER_QUEUES) or WORKER_QUEUES


def describe(error: ValidationError) -> str:
    """One line per wrong variable, without the value (it may be a secret)."""
    return "; ".join(f"{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors())


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a variable is missing or wrong; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        msg = f"Settings are wrong. {describe(error)}. See .env.example for every variable."
        raise SettingsError(msg) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
