"""Structured logging on standard output: JSON for machines, or readable lines for people.

The operator imports no service, so this is its own small version of what the services do.
"""

import logging
import sys

import structlog


def configure_logging(level: str, log_format: str) -> None:
    """Route structlog and the standard library, kopf included, through one renderer."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer()
    if log_format == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # kopf tells about every event that it has handled, which is every event.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # That KEDA's kinds are not there is no news; that Switchboards are is seen to before kopf starts.
    logging.getLogger("kopf._core.reactor.observation").setLevel(logging.ERROR)
