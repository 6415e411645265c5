"""`failover-proxy schema`: the JSON Schema of config files."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    r"""Print the JSON Schema of config files, for editors.

    \b
    Examples:
      failover-proxy schema > failover.schema.json
      failover-proxy schema | check-jsonschema --schemafile /dev/stdin conf/*.yaml
    """
    from proxy.config.schema import json_schema  # noqa: PLC0415 - `--help` must not wait for pydantic

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
