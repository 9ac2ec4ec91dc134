"""The gateway's log: JSON lines on stderr, one event each; coloured lines where stderr is a terminal.

What may be said: at info and above no tag value, no traceback for what a peer did wrong. ``bound`` puts
an association's or instance's identifier on every line logged inside it. Lines of libraries that use the
standard library's logging come out in the same form.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger, Processor, WrappedLogger

Logger = FilteringBoundLogger

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_TO_JSON = msgspec.json.Encoder(enc_hook=str, order=None)

# Libraries that log what peers do wrong as errors of their own, with tracebacks (design.md, trap 8).
_SILENCED = ("pynetdicom", "pydicom")


def get_logger(name: str) -> Logger:
    """The logger of a part of the gateway; ``name`` appears as ``part`` on its lines."""
    logger: Logger = structlog.get_logger(part=name)
    return logger


@contextmanager
def bound(**values: object) -> Iterator[None]:
    """Put ``values`` on every line that is logged inside, in this task and those it starts."""
    with structlog.contextvars.bound_contextvars(**values):
        yield


def configure(level: str = "info", *, console: bool | None = None) -> None:
    """Set logging up for the process. ``console`` None: coloured lines where stderr is a terminal."""
    on_console = sys.stderr.isatty() if console is None else console
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor]
    if on_console:
        render = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        factory: Callable[..., WrappedLogger] = structlog.PrintLoggerFactory(sys.stderr)
    else:
        render = [structlog.processors.format_exc_info, _render_json]
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=max(_LEVELS[level], logging.WARNING), force=True)
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _render_json(_logger: object, _method: str, event: MutableMapping[str, object]) -> bytes:
    return _TO_JSON.encode(event)


class _Bridge(logging.Handler):
    """Takes what libraries log with the standard library into our form."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            get_logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # as logging itself does: a log line must not cost what it speaks of
            self.handleError(record)
