"""Reading a config: text with positions in, Settings or every mistake at once out.

`docs/config.md` is the language. Used by the command line and by the reload; workers never load this package.
"""

from __future__ import annotations

from proxy.config.loader import load, loads
from proxy.config.mistakes import ConfigError, Mistake

__all__ = ["ConfigError", "Mistake", "load", "loads"]
