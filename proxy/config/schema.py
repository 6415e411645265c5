"""The JSON Schema of config files: what an editor needs to complete keys and to mark wrong values.

It knows the form of each value, not whether keys fit together: that is for `checks`. Printed by
`failover-proxy schema`; `reference` makes `docs/config.md` from it.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import SchemaSerializer, core_schema

from proxy.config.models import Config


class _AsWritten(GenerateJsonSchema):
    """Defaults as a file would say them: `250ms` and not 0.25."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if "default" not in schema:
            return inner
        default = SchemaSerializer(schema["schema"]).to_python(schema["default"], mode="json")
        # Nothing is a value that no file can give: the key is left out.
        return {**inner, "default": default} if default not in (None, "", [], ()) else inner

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        # Names are checked too, and the values keep their title. No variable is put into a key.
        names = self.generate_inner(schema["keys_schema"])["anyOf"][0]
        values = self.generate_inner(schema["values_schema"])
        return {**super().dict_schema(schema), "propertyNames": names, "additionalProperties": values}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # None stands for a key that is not there.
        return self.generate_inner(schema["schema"])


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    schema = Config.model_json_schema(schema_generator=_AsWritten)
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **schema,
        "title": "failover-proxy",
        "description": "A config file of failover-proxy, in YAML 1.2 or JSON.",
    }
