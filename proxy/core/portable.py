"""Values as JSON and back: what one version of the program hands to another, across a restart or a takeover.

Pickle (`messages`) is for processes of one version. Here a field that is not known is left out, and one that is missing
gets its default, so that either side may be the newer one. Pure: no file, no socket.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_EMPTY: dict[Any, Any] = {int: 0, float: 0.0, str: "", bool: False}


def dump(value: Any) -> Any:
    """A value of dataclasses, enums, mappings, tuples and plain values as what JSON can hold.

    A mapping becomes a list of pairs, since its keys may be tuples.
    """
    if isinstance(value, enum.Enum):
        return value.value
    if is_dataclass(value):
        return {one.name: dump(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return [[dump(key), dump(one)] for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [dump(one) for one in value]
    return value


def load(kind: type[T], document: Any) -> T:
    """The value of this type that `document` stands for. Raises ValueError where it can't be one."""
    try:
        return cast("T", _load(kind, document))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from error


def _load(kind: Any, document: Any) -> Any:
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return (
            None if document is None else _load(next(one for one in arguments if one is not types.NoneType), document)
        )
    if is_dataclass(kind):
        return _load_fields(kind, document)
    if origin is dict:
        return {_load(arguments[0], key): _load(arguments[1], one) for key, one in document}
    if origin is tuple:
        kinds = arguments[:1] * len(document) if arguments[1:] == (...,) else arguments
        return tuple(_load(one, part) for one, part in zip(kinds, document, strict=True))
    return _plain(kind, document)


def _plain(kind: Any, document: Any) -> Any:
    """A number, a word or an enum's member. Whole numbers may stand for floats; nothing else is converted."""
    if issubclass(kind, enum.Enum):
        return kind(document)
    if isinstance(document, kind) and (kind is bool or not isinstance(document, bool)):
        return document
    if kind is float and isinstance(document, int) and not isinstance(document, bool):
        return float(document)
    raise TypeError(f"{document!r} is no {kind.__name__}")


def _load_fields(kind: Any, document: Any) -> Any:
    if not isinstance(document, dict):
        raise TypeError(f"{document!r} has no fields")
    hints = _hints(kind)
    return kind(
        **{
            one.name: _load(hints[one.name], document[one.name])
            if one.name in document
            else _missing(one, hints[one.name])
            for one in fields(kind)
        }
    )


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _missing(field: Field[Any], kind: Any) -> Any:
    """What stands for a field that an older version did not write."""
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    origin = get_origin(kind) or kind
    if origin in _EMPTY:
        return _EMPTY[origin]
    if origin in (dict, tuple):
        return origin()
    raise KeyError(field.name)
