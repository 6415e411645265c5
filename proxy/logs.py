"""Log lines: `time level message key=value …`, one line each, for people and for machines; or a JSON object each.

Not the access log, which the workers write. `configure` is called once in each process, by the command line and by
workers, which find in their environment what the command line was told.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from typing import TextIO

_BARE = re.compile(r"[\w.:/@+,\[\]-]+\Z", re.ASCII)


FORMAT = "FAILOVER_PROXY_LOG_FORMAT"
"""The variable that says how lines look: `text` or `json`."""
FORMATS = ("text", "json")


def _time(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


class KeyValueFormatter(logging.Formatter):
    """Formats a record whose `fields` (a dict) become `key=value`; what could break the line is quoted as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields: dict[str, object] = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        pairs = "".join(f" {key}={_value(value)}" for key, value in fields.items())
        message = record.getMessage().replace("\n", "\\n")
        return f"{_time(record)} {record.levelname.lower()} {message}{pairs}"


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object: `time`, `level`, `message`, `process`, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, object] = {"time": _time(record), "level": record.levelname.lower()}
        line |= {"message": record.getMessage(), "process": record.process}
        for key, value in getattr(record, "fields", {}).items():
            line[f"{key}_" if key in line else key] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _value(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _BARE.match(text) else json.dumps(text)


def configure(stream: TextIO, level: int = logging.INFO) -> None:
    """Send all `proxy.*` loggers to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if os.environ.get(FORMAT) == "json" else KeyValueFormatter())
    logger = logging.getLogger("proxy")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def say(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log `message` with fields."""
    logger.log(level, message, extra={"fields": fields})
