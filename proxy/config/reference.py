"""Makes `docs/config.md` from the JSON Schema: `python -m proxy.config.reference > docs/config.md`.

What a key is for is written once, at the key's model. The pages around the tables are here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from proxy.config.notyet import NOT_YET
from proxy.config.schema import json_schema

Schema = dict[str, Any]

INTRODUCTION = """\
# The config file

One file in YAML 1.2 says what the proxy does. JSON works as well: it is a part of YAML. The least that works, with
failover on:

```yaml
listeners: [127.0.0.1:8080]
pools: {app: [127.0.0.1:9001, 127.0.0.1:9002]}
```

`conf/` holds files to start from: `quickstart.yaml`, `routes.yaml`, `regions.yaml`, `active-passive.yaml`,
`sticky.yaml`, `degraded.yaml`, `limits.yaml`, `tls.yaml`, and `tuned.yaml`, which writes every default out.

- `failover-proxy check FILE` names every mistake in a file, with line and column; its exit code is 78 if there is one.
- `failover-proxy schema` prints a JSON Schema, with which an editor completes keys and marks wrong values.

This page is made from the program: `python -m proxy.config.reference > docs/config.md`.

## How values are written

| kind | written | not |
|---|---|---|
| duration | `250ms` `1.5s` `5m` `1h` `1d` `0` | `5`: the unit is missing |
| share | `20%` `0.5%` | `0.2` |
| size | `512B` `64KiB` `10MiB` `1GiB` | `64kb`, `65536` |
| address | `127.0.0.1:8080` `app.internal:80` `[::1]:8080` `unix:/run/app.sock` | `app.internal`: the port is missing |
| backend's address | the same, or `http://app.internal` (80), `https://app.internal` (443) | a URL with a path |
| true or false | `true` `false` | `yes`, `on`: these are text in YAML 1.2 |

An unknown key is an error, and so is a key that is given twice. YAML tags (`!!str`) and merge keys (`<<`) are refused;
anchors and aliases work. What pools have in common goes into `defaults`.

**Variables.** `${NAME}` in a value stands for an environment variable, `${NAME:-8080}` gives a default, and
`${NAME:?the port is missing}` an error message. A variable that is not set and has no default is an error. They are put
in after the file was read, so what a variable holds can never add a key. Inside `{ }` YAML wants quotes around them:
`{ address: "${HOST}:80" }`. A `${` that is meant as text is written `$${`.

**Secrets** never stand in the file itself: `{file: PATH}` reads one from a file, `{env: NAME}` from the environment.
Relative paths, here and in `state_dir`, start at the folder of the config file.

**Defaults.** A pool starts from the blocks in `defaults`. Its own block changes the keys that it names and keeps the
others. What is named in neither has the default in the tables below.
"""

SECTIONS = (
    ("Config", "Top-level keys"),
    ("Listener", "`listeners`"),
    ("ListenerLimits", "Limits of a listener"),
    ("ListenerTls", "`tls` of a listener"),
    ("CertificateFiles", "`certificates`"),
    ("ClientAuth", "`client_auth`"),
    ("Admin", "`admin`"),
    ("AccessLog", "`access_log`"),
    ("Tracing", "`tracing`"),
    ("Journal", "`journal`"),
    ("Secret", "Secrets"),
    ("Defaults", "`defaults`"),
    ("Pool", "`pools`"),
    ("Backend", "`backends`"),
    ("Timeouts", "`timeouts`"),
    ("Health", "`health`"),
    ("Breaker", "`breaker`"),
    ("Retries", "`retries`"),
    ("Ejection", "`ejection`"),
    ("Outlier", "`outlier`"),
    ("Limits", "`limits`"),
    ("Hold", "`hold`"),
    ("PoolQueue", "`queue` of a pool"),
    ("AdaptiveConcurrency", "`adaptive_concurrency`"),
    ("Hedge", "`hedge`"),
    ("Idempotency", "`idempotency`"),
    ("Failover", "`failover`"),
    ("Locality", "`locality`"),
    ("Damping", "`damping`"),
    ("Sticky", "`sticky`"),
    ("AbortOn", "`abort_on`"),
    ("BackendTls", "`tls` of a pool"),
    ("Route", "`routes`"),
    ("Match", "`match`"),
    ("Queue", "`queue` of a route"),
    ("RateLimit", "`rate_limit`"),
    ("Fallback", "`fallback`"),
    ("StaleIfError", "`stale_if_error`"),
    ("Answer", "`answer`"),
    ("Redirect", "`redirect`"),
)
"""Models and what their part of the page is called."""
SAME_SECTION = {"PoolTimeouts": "Timeouts", "PoolLimits": "Limits"}

NOT_YET_INTRODUCTION = """\
## Not supported yet

These keys and values are refused by name: nothing is silently ignored. `*` stands for any name, `**` for any key.
"""


def reference() -> str:
    """The whole page."""
    schema = json_schema()
    models: dict[str, Schema] = {**schema["$defs"], "Config": schema}
    parts = [INTRODUCTION, *(_section(models[name], title, models) for name, title in SECTIONS), _not_yet()]
    return "\n".join(parts)


def _section(model: Schema, title: str, models: dict[str, Schema]) -> str:
    description = "" if model is models["Config"] else f"{model['description']}\n\n"
    rows = "\n".join(_rows(model, models))
    return f"## {title}\n\n{description}| key | value | default | meaning |\n|---|---|---|---|\n{rows}\n"


def _rows(model: Schema, models: dict[str, Schema]) -> Iterator[str]:
    for key, value in model["properties"].items():
        default = f"`{_written(value['default'])}`" if "default" in value else ""
        if key in model.get("required", ()):
            default = "required"
        meaning = value.get("description") or models[_referred(value)]["description"]
        yield f"| `{key}` | {_kind(value)} | {default} | {meaning} |".replace("|  |", "| |")


def _written(default: Any) -> str:
    """A default as a file in one line would say it."""
    if isinstance(default, list):
        return f"[{', '.join(map(_written, default))}]"
    if isinstance(default, dict):
        return f"{{{', '.join(f'{key}: {_written(value)}' for key, value in default.items())}}}"
    return default if isinstance(default, str) else json.dumps(default)


def _kind(value: Schema) -> str:
    """What a key takes, in words, with a link to where that is described."""
    if "$ref" in value:
        name = _referred(value)
        title = dict(SECTIONS)[SAME_SECTION.get(name, name)]
        return f"[map](#{title.replace('`', '').lower().replace(' ', '-')})"
    if "items" in value:
        return f"list: {_kind(value['items'])}"
    if value.get("type") == "object":
        return f"map to: {_kind(value['additionalProperties'])}"
    either = value.get("anyOf") or value.get("oneOf") or []
    if any("$ref" in one or "items" in one for one in either):
        return " or ".join(_kind(one) for one in either)
    return str(value["title"])


def _referred(value: Schema) -> str:
    """The model that a value refers to, itself or as one of several forms."""
    reference = value.get("$ref") or next(one["$ref"] for one in value["anyOf"] if "$ref" in one)
    return str(reference).removeprefix("#/$defs/")


def _not_yet() -> str:
    lines = []
    for pattern, words in NOT_YET.items():
        lines += [f"- `{pattern}: {word}`" for word in words] or [f"- `{pattern}`"]
    return "\n".join([NOT_YET_INTRODUCTION, *lines, ""])


if __name__ == "__main__":
    sys.stdout.write(reference())
