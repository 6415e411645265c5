"""JSON Schemas (2020-12) from the types in `documents`. Pure; `openapi` calls it."""

from __future__ import annotations

import enum
import inspect
import types
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Json = dict[str, Any]

_PLAIN: dict[object, Json] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}


class Note(NamedTuple):
    """What else a schema says of a value."""

    description: str = ""
    format: str = ""
    minimum: int | None = None
    maximum: int | None = None
    min_properties: int | None = None
    dependent_required: dict[str, list[str]] | None = None

    def schema(self) -> Json:
        """Those that are said, by the names of JSON Schema."""
        return {_camel(name): value for name, value in self._asdict().items() if value not in ("", None)}


class Schemas:
    """Collects the schemas of types that have a name, each once."""

    def __init__(self) -> None:
        self.components: dict[str, Json] = {}

    def of(self, kind: Any) -> Json:
        """The schema of a type; of one with a name, a reference."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            notes = [one for one in arguments[1:] if isinstance(one, Note)]
            return self.of(arguments[0]) | {key: value for note in notes for key, value in note.schema().items()}
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if origin in (Union, types.UnionType):
            return _either([self.of(one) for one in arguments])
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin is Literal:
            return {"type": "string", "enum": list(arguments)}
        if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
            return {"type": "string", "enum": [str(one) for one in kind]}
        if is_typeddict(kind):
            return self._named(kind)
        raise TypeError(f"{kind} has no schema")

    def _named(self, kind: Any) -> Json:
        name = kind.__name__.removesuffix("Document")
        if name not in self.components:
            self.components[name] = {}
            self.components[name] = self._object(kind)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, kind: Any) -> Json:
        hints = get_type_hints(kind, include_extras=True)
        properties = {name: self.of(_bare(hint)) for name, hint in hints.items()}
        required = [name for name, hint in hints.items() if name in kind.__required_keys__ and hint is _bare(hint)]
        schema: Json = {
            "type": "object",
            "description": inspect.cleandoc(kind.__doc__ or ""),
            "properties": properties,
            "additionalProperties": False,
        }
        return schema | ({"required": required} if required else {})


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is NotRequired else hint


def _either(schemas: list[Json]) -> Json:
    """One of several; plain types share one schema."""
    if all(schema.keys() == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))
