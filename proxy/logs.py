"""Log lines: `time level message key=value …`, one line each, for people and for machines.

Not the access log, which the workers write. `configure` is called once, by the command line.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TextIO

_BARE = re.compile(r"[\w.:/@+,\[\]-]+\Z", re.ASCII)


class KeyValueFormatter(logging.Formatter):
    """Formats a record whose `fields` (a dict) become `key=value`; what could break the line is quoted as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, object] = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        pairs = "".join(f" {key}={_value(value)}" for key, value in fields.items())
        message = record.getMessage().replace("\n", "\\n")
        return f"{moment}.{int(record.msecs):03d}Z {record.levelname.lower()} {message}{pairs}"


def _value(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _BARE.match(text) else json.dumps(text)


def configure(stream: TextIO, level: int = logging.INFO) -> None:
    """Send all `proxy.*` loggers to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(KeyValueFormatter())
    logger = logging.getLogger("proxy")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def say(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log `message` with fields."""
    logger.log(level, message, extra={"fields": fields})
