"""The log lines of requests.

Every request logs a line. In JSON, these lines bypass structlog's processors, which are several times slower. They have
the keys that the processors would write, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from todo_service.observability.logs import LineWriter
from todo_service.settings import Settings

_EVENT: Final = "request"
_NAME: Final = "todo_service.requests"
_encode: Final = msgspec.json.Encoder().encode
logger = structlog.get_logger(_NAME)


class RequestLog:
    """Logs requests.

    Args:
        settings: `LOG_LEVEL` and `LOG_FORMAT`.
    """

    def __init__(self, settings: Settings) -> None:
        is_fast = settings.log_format == "json" and settings.log_level in ("debug", "info")
        self._lines = LineWriter(_NAME) if is_fast else None

    def write(self, values: Mapping[str, Any], ids: Mapping[str, str]) -> None:
        """Log a request that has ended.

        Args:
            values: The values of the line, of JSON types.
            ids: The ids that all log lines of the request have. They are bound to structlog's context.
        """
        if self._lines is None:
            logger.info(_EVENT, **values)
            return
        line = {"event": _EVENT, **ids, "logger": _NAME, "level": "info", "timestamp": datetime.now(UTC)}
        self._lines.msg(_encode({**values, **line}))
