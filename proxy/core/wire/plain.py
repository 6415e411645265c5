"""The grammar of plain heads: one regular expression each that checks every byte and finds all that matters.

A plain request is HTTP/1.1 with a path for its target, one Host, at most one Content-Length and one Connection, which
says `keep-alive` or `close`, and no other field that matters; a plain answer is HTTP/1.1 with one Content-Length or in
chunks. Nearly all messages are plain. Whatever does not match goes the long way through llhttp and the rules of
`grammar`, so this only ever may accept less than they do, never more: `tests/core/test_plain.py` holds that. It saves 6
of 45 µs of a small GET.

Possessive quantifiers everywhere: no byte is looked at twice, whatever a peer sends.
"""

from __future__ import annotations

import re

MOST_FIELDS = 98
"""A plain head has no more fields than this; where fewer are allowed, each head goes the long way."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = r"[\t\x20-\x7e\x80-\xff]*+"
_SPACE = r"[ \t]*+"


def _spelt(word: str) -> str:
    """A pattern for a word in any case."""
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else re.escape(letter) for letter in word)


def _fields(matters: dict[str, str]) -> str:
    """Up to 32 fields that don't matter. `matters`: by first letter, the rest of the names (as a pattern) that do."""
    others = "".join(c for c in "abcdefghijklmnopqrstuvwxyz" if c not in matters)
    names = [rf"[!#$%&'*+\-.^_`|~0-9{others}{others.upper()}]"]
    names += [f"{_spelt(letter)}(?!{rest})" for letter, rest in matters.items()]
    return rf"(?:(?:{'|'.join(names)}){_TOKEN}*+:{_VALUE}\r\n){{0,32}}+"


_HOP_BY_HOP = {
    "c": _spelt("on") + f"(?:{_spelt('n')}|{_spelt('tent')}[-_]{_spelt('l')})",
    "k": _spelt("eep-"),
    "p": _spelt("roxy"),
    "t": f"(?:{_spelt('e')}:|{_spelt('r')}(?:{_spelt('ailer')}|{_spelt('ansfer')}))",
    "u": _spelt("pgrade") + ":",
}
_ORDINARY = _fields(
    {
        **_HOP_BY_HOP,
        "e": _spelt("xp"),
        "f": _spelt("orw"),
        "h": _spelt("ost"),
        "m": _spelt("ax-"),
        "v": _spelt("ia") + ":",
        "x": f"[-_](?:{_spelt('fo')}|{_spelt('request')}[-_])",
    }
)
_ORDINARY_OF_ANSWER = _fields({**_HOP_BY_HOP, "x": f"[-_]{_spelt('request')}[-_]"})
_CONNECTION = rf"({_spelt('connection')}:{_SPACE}(?:{_spelt('keep-alive')}|{_spelt('close')}){_SPACE}\r\n)?+"

PLAIN_REQUEST = re.compile(
    (
        r"(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS) ((/[!-\x22$-\x3e@-~]*+)(?:\?[!-\x22$-~]*+)?+) HTTP/1\.1\r\n"
        rf"{_ORDINARY}{_spelt('host')}:{_SPACE}([!$&'()*+,;=\-._~%0-9A-Za-z:\[\]]++){_SPACE}\r\n"
        rf"{_ORDINARY}{_CONNECTION}{_ORDINARY}"
        rf"(?:({_spelt('content-length')}:{_SPACE}([1-9][0-9]{{0,17}}+){_SPACE}\r\n){_ORDINARY}(?(5)|{_CONNECTION}))?+\r\n"
    ).encode("latin-1")
)
"""Groups: method, target, path, host, the Connection field's line, the Content-Length's line, the length, and the
Connection field's line where it comes after that."""

PLAIN_ANSWER = re.compile(
    (
        rf"HTTP/1\.1 ([2-5][0-9][0-9])(?: {_VALUE})?+\r\n"
        rf"{_ORDINARY_OF_ANSWER}{_CONNECTION}{_ORDINARY_OF_ANSWER}"
        rf"(?:{_spelt('content-length')}:{_SPACE}([0-9]{{1,18}}){_SPACE}\r\n"
        rf"|({_spelt('transfer-encoding')}:{_SPACE}{_spelt('chunked')}{_SPACE}\r\n))"
        rf"{_ORDINARY_OF_ANSWER}{_CONNECTION}\r\n"
    ).encode("latin-1")
)
"""Groups: status, a Connection field's line, length, the Transfer-Encoding's line, another Connection field's line."""


def is_close(line: bytes) -> bool:
    """Whether a plain head's Connection field, which has one word, says `close`."""
    return b"close" in line.lower()
