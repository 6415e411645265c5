"""Single values: the YAML 1.2 core schema, and the environment variables that a value may name.

Both work on text that is already parsed, so the content of a variable can never become structure. The tree is built in
`tree`; what a value must look like for its key is said in `quantities`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMERIC = frozenset("+-.0123456789")
"""What a number may begin with; most texts do not, and need not be compared with all its forms."""
# No longer than any number that a config needs: int() and float() refuse or blur thousands of digits.
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_OCTAL = re.compile(r"0o[0-7]{1,30}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::([-?])([^}]*))?\})?")
"""`$${`, or `${` with what should follow it."""


class Substituted(str):
    """Text that came out of a `${…}`: where a key wants a number, this is one if it looks like one."""

    __slots__ = ()


class SubstitutionError(ValueError):
    """A `${…}` that has no value or is not well written."""


def resolve(text: str) -> Scalar:
    """What a plain (unquoted) scalar means in YAML 1.2: `no`, `12:30` and `2026-11-21` are text, `010` is ten."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Put variables in place of `${VAR}`, `${VAR:-default}` and `${VAR:?message}`; `$${` is a `${` that stays.

    What holds a variable comes back as Substituted, all else as it was.
    """
    if "${" not in text:
        return text
    found = False

    def value(match: re.Match[str]) -> str:
        nonlocal found
        if match[0] == "$${":
            return "${"
        found = True
        return _value(match, environ)

    result = _VARIABLE.sub(value, text)
    return Substituted(result) if found else result


def _value(match: re.Match[str], environ: Mapping[str, str]) -> str:
    name, kind, word = match.groups()
    if name is None:
        raise SubstitutionError("'${' does not begin a ${NAME}, ${NAME:-default} or ${NAME:?message}; for itself: $${")
    if word and "${" in word:
        raise SubstitutionError(f"a ${{…}} inside ${{{name}…}} is not supported")
    held = environ.get(name)
    # As in a shell, `:` makes empty count as unset.
    if held or (held is not None and kind is None):
        return held
    if kind == "-":
        return str(word)
    reason = f": {word}" if word else f"; write ${{{name}:-…}} to give a default"
    raise SubstitutionError(f"the environment variable {name} is not set{reason}")
