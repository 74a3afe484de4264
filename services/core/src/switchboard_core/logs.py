"""Structured logging for every service: JSON for machines, one readable line for people.

``LOG_FORMAT=json`` prints one JSON object a line; ``text`` prints
``[2026-01-26 11:05:20] INFO [module] [EVENT] key=value …``. The event words are part of the contract: people search
for them, so they are never reformatted.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# Loggers that LOG_LEVEL=DEBUG opens up; everything else stays at INFO so that a debug run remains readable.
DEBUG_LOGGERS = (
    "switchboard_api.routes.outbound_calls",
    "switchboard_api.webhooks",
    "switchboard_core.calls",
    "switchboard_core.calls.semaphore",
    "switchboard_worker",
    "rq.worker",
)

_E164 = re.compile(r"(\+\d{1,4})\d{3,8}(\d{2})(?!\d)")
_SECRET_KEYS = frozenset({"authorization", "password", "token", "auth_token", "secret", "api_key", "credentials_json"})


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; pass ``__name__``."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def mask_number(number: str) -> str:
    """Mask the middle of an E.164 number: ``+14155551267`` becomes ``+1415*****67``."""
    if len(number) < 8:
        return "*" * len(number)
    return f"{number[:5]}{'*' * (len(number) - 7)}{number[-2:]}"


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401
    """Keep secrets and whole phone numbers out of every line, also those of third-party libraries."""
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS:
            event[key] = "[redacted]"
        elif isinstance(value, str) and "+" in value:
            event[key] = _E164.sub(lambda match: f"{match[1]}*****{match[2]}", value)
    return event


def _service_name(service: str | None) -> structlog.types.Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401
        if service:
            event["service"] = service
        return event

    return add


def _text_renderer(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:  # noqa: ANN401
    timestamp = event.pop("timestamp", "")
    level = str(event.pop("level", "info")).upper()
    module = event.pop("logger", "-")
    words = event.pop("event", "")
    exception = event.pop("exception", None)
    fields = " ".join(f"{key}={_one_line(value)}" for key, value in event.items())
    line = f"[{timestamp}] {level} [{module}] [{_one_line(words)}] {fields}".rstrip()
    return f"{line}\n{_indented(exception)}" if exception else line


def _one_line(value: object) -> str:
    """A value with line breaks and terminal codes escaped, so that nobody can forge a log line or paint over one."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(value))


def _indented(traceback: object) -> str:
    """A traceback whose lines cannot be taken for log lines: what an error says may come from outside."""
    return "\n".join(f"  {_one_line(line)}" for line in str(traceback).splitlines())


def configure_logging(level: str = "INFO", log_format: str = "json", service: str | None = None) -> None:
    """Route structlog and the standard library through one renderer on standard output.

    Args:
        level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``; ``DEBUG`` only opens ``DEBUG_LOGGERS``.
        log_format: ``json`` or ``text``.
        service: name added to every JSON line (api, worker, …).
    """
    json_format = log_format == "json"
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _service_name(service if json_format else None),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(
            fmt="iso" if json_format else "%Y-%m-%d %H:%M:%S", utc=json_format, key="timestamp"
        ),
        structlog.processors.format_exc_info,
        _redact,
    ]
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer() if json_format else _text_renderer
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("INFO" if level == "DEBUG" else level)
    for name in DEBUG_LOGGERS:
        logging.getLogger(name).setLevel(level)
    # RQ's own account of each job repeats JOB PICKED.
    logging.getLogger("rq.worker").setLevel("DEBUG" if level == "DEBUG" else "WARNING")
    # Their INFO lines repeat, request by request, what the access log and the metrics already say.
    for name in ("httpx", "httpcore", "twilio", "imapclient", "uvicorn.access", "alembic.runtime.plugins"):
        logging.getLogger(name).setLevel("WARNING")
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
