"""Logging: structlog to standard error, as colored text or as JSON lines.

Logs of uvicorn, Litestar and the driver, which use the standard library, are rendered in the same format. Our own
events bypass the standard library, which would be the most expensive part of a log line. Control characters are escaped
(in JSON those below U+0020), so that a value cannot forge a log line.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog

from todo_service.settings import Settings

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# local variables of a frame may hold a password or a body
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_QUIET: Final = ("uvicorn", "motor", "pymongo", "asyncio")


def configure_logging(settings: Settings) -> None:
    """Configure logging for this process from `LOG_LEVEL` and `LOG_FORMAT`."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor]
    if settings.log_format == "json":
        rendering = [_TRACEBACKS, structlog.processors.JSONRenderer(serializer=_json)]
    else:
        rendering = [
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            ),
        ]
    structlog.configure(
        processors=[*shared, *rendering, _encode],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=LineWriter,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class LineWriter:
    """Writes each log line to standard error at once, in one piece.

    A line that cannot be written, as on a full disk, is dropped without an error.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self._lines = structlog.BytesLogger(sys.stderr.buffer)

    def msg(self, line: bytes) -> None:
        """Write a line."""
        with suppress(OSError):
            self._lines.msg(line)

    debug = info = warning = error = critical = exception = msg


def _json(event: dict[str, Any], **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _encode(_: Any, __: str, line: Any) -> bytes:
    return str(line).encode(errors="backslashreplace")


def _escape(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", value)
    return event
