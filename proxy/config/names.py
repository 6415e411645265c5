"""How addresses, hosts, paths and other names are written in a config file.

Functions that take a value and give what it means, or a WrongValueError that says what is expected; each becomes a
Quantity for `models`. Whether a name refers to something that exists is seen in `checks`.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from dataclasses import replace
from typing import Any

from proxy.config.dotted import OWN_CODE
from proxy.config.mistakes import nearest, one_of, quoted
from proxy.config.quantities import Quantity, WrongValueError, is_number, number, text
from proxy.core.pools.balancer import OWN
from proxy.core.requests.retry import CONDITIONS
from proxy.core.settings import Address, HashOn

NAME = text("name", "a name of letters, digits and . _ -", "[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "'checkout'")
BACKEND_NAME = text("name", "a name without spaces, quotes and commas", r"[!#-+\--\[\]-~]{1,128}", "'eu-1'")
REGION = text("name", "a region's name of letters, digits and . _ -", "[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "'eu-west'")
ENVIRONMENT_NAME = text("variable's name", "an environment variable's name", "[A-Za-z_][A-Za-z0-9_]*", "ADMIN_TOKEN")
FILE = text("path", "a file's path", r"[^\x00-\x1f\x7f]+", "'./state'")

_FIELD_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD_VALUE = r"[^\x00-\x08\x0a-\x1f\x7f]*"
HEADER = text("header's name", "a header's name", _FIELD_NAME, "X-Canary")
COOKIE = text("cookie's name", "a cookie's name", _FIELD_NAME, "session")
COOKIE_PATH = text("path", "a path that begins with '/', without spaces and ';'", "/[!-:<-~]*", "/cart")
HEADER_VALUE = text("text", "one line of text", _FIELD_VALUE, "'always'")
CONTENT_TYPE = text("media type", "a media type", r"[!-~]+/[ -~]+", "text/plain")
PROBE_PATH = text("path", "a path that begins with '/'", '/[!-"$-~]*', "/healthz")
PREFIX = text(
    "path", "a path that begins with '/' and does not end with one", '(?:/[!-"$->@-~]*)?/[!-"$-.0->@-~]+', "/api"
)
BODY = text("text", "text", r"[^\ud800-\udfff]*", "'gone'")


# Addresses

_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\]|([^\s:/?#@\[\]]*)):([0-9]{1,5})")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
LONGEST_SOCKET_PATH = 107
"""Bytes that Linux takes."""
PORTS = {"http": 80, "https": 443}
"""Where a URL names none."""

_ADDRESS_PATTERN = r"unix:/.+|(\[[0-9A-Fa-f:.%A-Za-z_-]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}"


def read_listening_address(value: object) -> Address:
    """`127.0.0.1:8080`, `[::1]:8080`, `unix:/run/proxy.sock`; port 0 is any free one."""
    return _read_address(value, least_port=0)


def read_backend_address(value: object) -> Address:
    """An address, or `http://` or `https://` with one; there the port may be missing."""
    match = _SCHEME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return _read_address(value, least_port=1)
    scheme, rest = match[1].lower(), match[2]
    if scheme not in PORTS:
        hint = nearest(scheme, list(PORTS))
        raise WrongValueError(f"expected http://, https:// or an address, not {quoted(value)}{hint}")
    authority, _, path = rest.partition("/")
    if path or set("?#@") & set(rest):
        raise WrongValueError("a backend's URL has no path, query, fragment or user; requests bring their own")
    has_port = re.search(r":[0-9]*$", authority) and not authority.endswith("]")
    address = _read_address(authority if has_port else f"{authority}:{PORTS[scheme]}", least_port=1)
    return replace(address, tls=scheme == "https")


def _read_address(value: object, least_port: int) -> Address:
    if not isinstance(value, str):
        raise WrongValueError(f"expected an address such as 127.0.0.1:8080, not {quoted(value)}")
    if value.startswith("unix:"):
        return Address(path=_socket_path(value.removeprefix("unix:")))
    match = _HOST_AND_PORT.fullmatch(value)
    if match is None:
        raise WrongValueError(f"expected an address such as 127.0.0.1:8080, not {quoted(value)}{_address_meant(value)}")
    port = int(match[3])
    if not least_port <= port <= 65535:
        raise WrongValueError(f"the port must be from {least_port} to 65535, not {port}")
    return Address(_ipv6(match[1]) if match[1] else _host(match[2]), port)


def _socket_path(path: str) -> str:
    if not path.startswith("/") or not path.isprintable():
        raise WrongValueError(f"expected an absolute path after 'unix:', not {quoted(path)}")
    if len(path.encode(errors="replace")) > LONGEST_SOCKET_PATH:
        raise WrongValueError(f"a socket's path has at most {LONGEST_SOCKET_PATH} bytes")
    return path


def _ipv6(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise WrongValueError(f"not an IPv6 address: {quoted(host)}") from None


def _host(host: str) -> str:
    if not host or host == "*":
        raise WrongValueError("the host is missing; every address of this machine is 0.0.0.0 or [::]")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise WrongValueError(f"not an IPv4 address: {quoted(host)}") from None
    if not _HOST_NAME.fullmatch(host):
        raise WrongValueError(f"not a host name: {quoted(host)}")
    return host.lower()


def _address_meant(value: str) -> str:
    try:
        if ipaddress.ip_address(value).version == 6:
            return "; IPv6 is written in brackets, such as [::1]:8080"
    except ValueError:
        pass
    is_host = _HOST_NAME.fullmatch(value) and not value.isdecimal()
    return f"; the port is missing, such as {value}:8080" if is_host else ""


def write_address(address: Address | None) -> str | None:
    """Write it as a file would."""
    return None if address is None else f"https://{address}" if address.tls else str(address)


LISTENING_ADDRESS = Quantity(
    "address", read_listening_address, {"type": "string", "pattern": f"^({_ADDRESS_PATTERN})$"}, write_address
)
BACKEND_ADDRESS = Quantity(
    "address or URL",
    read_backend_address,
    {
        "type": "string",
        "pattern": rf"^([Hh][Tt][Tt][Pp][Ss]?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{{1,5}})?/?|{_ADDRESS_PATTERN})$",
    },
    write_address,
)


def read_network(value: object) -> str:
    """`10.0.0.0/8`, or a single address."""
    if not isinstance(value, str):
        raise WrongValueError(f"expected a network such as 10.0.0.0/8, not {quoted(value)}")
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise WrongValueError(f"expected a network such as 10.0.0.0/8 or an address, not {quoted(value)}") from None
    raise WrongValueError(f"{quoted(value)} has bits set beyond its prefix; did you mean '{meant}'?")


NETWORK = Quantity("network", read_network, {"type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"})


# Matching


def read_host(value: object) -> str:
    """`shop.example` or `*.shop.example`, in lower case."""
    if not isinstance(value, str):
        raise WrongValueError(f"expected a host such as shop.example or *.shop.example, not {quoted(value)}")
    if value == "*":
        raise WrongValueError("'*' is no host; leave 'host' out to match every one")
    name = value.removeprefix("*.")
    if "*" in name:
        raise WrongValueError(
            f"'*' may only stand for the first part of a host, such as *.shop.example, not {quoted(value)}"
        )
    if _HOST_AND_PORT.fullmatch(name):
        raise WrongValueError(f"a host is matched without its port, not {quoted(value)}")
    if name.startswith("[") and name.endswith("]"):
        return f"[{_ipv6(name[1:-1])}]"
    if not _HOST_NAME.fullmatch(name):
        raise WrongValueError(f"expected a host such as shop.example or *.shop.example, not {quoted(value)}")
    return value.lower()


def read_server_name(value: object) -> str:
    """A name as it stands in certificates."""
    if not isinstance(value, str) or not _HOST_NAME.fullmatch(value):
        raise WrongValueError(f"expected a name such as app.internal, not {quoted(value)}")
    return value.lower()


SERVER_NAME = Quantity("host", read_server_name, {"type": "string", "pattern": "^[A-Za-z0-9_.-]+$"})

HOST = Quantity("host", read_host, {"type": "string", "pattern": r"^((\*\.)?[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])$"})


def read_match_path(value: object) -> str:
    """`/x`, or `/x/*` for all that begins with `/x/`."""
    if not isinstance(value, str) or not value.startswith("/"):
        raise WrongValueError(f"expected a path such as /cart or /cart/*, not {quoted(value)}")
    if "*" in value.removesuffix("/*"):
        hint = f"; did you mean '{value[:-1]}/*'?" if re.fullmatch(r"/[^*]*[^*/]\*", value) else ""
        raise WrongValueError(f"'*' may only stand at the end of a path, after a '/', not as in {quoted(value)}{hint}")
    if not re.fullmatch('[!-"$->@-~]+', value):
        raise WrongValueError(
            f"a path is matched as it is sent: without '?', '#', spaces or letters beyond ASCII, not {quoted(value)}"
        )
    return str(value)


MATCH_PATH = Quantity("path", read_match_path, {"type": "string", "pattern": r"^/([^*?#\s]*/)?([^*?#\s]*|\*)$"})


def read_method(value: object) -> str:
    """A method; they are case-sensitive."""
    if not isinstance(value, str) or not re.fullmatch(_FIELD_NAME, value):
        raise WrongValueError(f"expected a method such as GET, not {quoted(value)}")
    if value != value.upper():
        raise WrongValueError(f"methods are written in capitals; did you mean '{value.upper()}'?")
    return str(value)


METHOD = Quantity("method", read_method, {"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Z-]+$"})


PLACEHOLDERS = ("{path}", "{host}")


def read_target(value: object) -> str:
    """Where a redirection goes: a path or a URL, in which `{path}` and `{host}` stand for the request's own."""
    if not isinstance(value, str) or not re.fullmatch(r"(?:/|https?://|\{path\})[!-~]*", value):
        raise WrongValueError(f"expected a path or URL such as https://new.example{{path}}, not {quoted(value)}")
    unknown = next((name for name in re.findall(r"\{[^}]*\}?|\}", value) if name not in PLACEHOLDERS), None)
    if unknown:
        raise WrongValueError(f"the placeholders are {one_of(PLACEHOLDERS)}, not {quoted(unknown)}")
    return str(value)


TARGET = Quantity("path or URL", read_target, {"type": "string", "pattern": r"^(/|https?://|\{path\})[!-~]*$"})


# Policies


def read_condition(value: object) -> str:
    """A name or status of `CONDITIONS`, or own code."""
    name = str(value) if is_number(value) else value
    if isinstance(name, str) and ":" in name:
        return str(OWN_CODE.read(name))
    if isinstance(name, str) and name in CONDITIONS:
        return str(name)
    hint = nearest(name, CONDITIONS) if isinstance(name, str) and not name.isdecimal() else ""
    raise WrongValueError(f"expected {one_of(list(CONDITIONS))}, not {quoted(value)}{hint}")


CONDITION = Quantity(
    "condition",
    read_condition,
    {"anyOf": [{"enum": [*CONDITIONS, *(int(name) for name in CONDITIONS if name.isdecimal())]}, OWN_CODE.schema]},
    lambda name: int(name) if name.isdecimal() else name,
)


def read_status_range(value: object) -> tuple[int, int]:
    """`200` or `200-299`, both ends included."""
    shown = str(value) if is_number(value) else value
    match = re.fullmatch(r"([2-5][0-9]{2})(?:-([2-5][0-9]{2}))?", shown) if isinstance(shown, str) else None
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise WrongValueError(f"expected a status such as 200 or a range such as 200-399, not {quoted(value)}")
    return int(match[1]), int(match[2] or match[1])


def write_status_range(bounds: tuple[int, int]) -> int | str:
    """Write a range as a file would."""
    low, high = bounds
    return low if low == high else f"{low}-{high}"


STATUS_RANGE = Quantity(
    "status or range",
    read_status_range,
    {
        "anyOf": [
            {"type": "integer", "minimum": 200, "maximum": 599},
            {"type": "string", "pattern": "^[2-5][0-9]{2}(-[2-5][0-9]{2})?$"},
        ]
    },
    write_status_range,
)


def read_regex(value: object) -> str:
    """A regular expression that compiles."""
    if not isinstance(value, str):
        raise WrongValueError(f"expected a regular expression, not {quoted(value)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(value.encode())
    except (ValueError, re.error, OverflowError, RecursionError, Warning) as error:
        raise WrongValueError(f"not a regular expression: {error}") from None
    return str(value)


REGEX = Quantity("regular expression", read_regex, {"type": "string"})


def read_hash_on(value: object) -> HashOn:
    """`client`, `path`, `{header: NAME}`, `{cookie: NAME}` or own code."""
    if isinstance(value, str) and value in ("client", "path"):
        return HashOn(str(value))
    if isinstance(value, str) and ":" in value:
        return HashOn(OWN, OWN_CODE.read(value))
    if isinstance(value, dict) and len(value) == 1:
        source, name = next(iter(value.items()))
        if source == "header":
            return HashOn("header", HEADER.read(name).lower())
        if source == "cookie":
            return HashOn("cookie", COOKIE.read(name))
    hint = nearest(value, ["client", "path"]) if isinstance(value, str) else ""
    raise WrongValueError(f"expected client, path, {{header: NAME}} or {{cookie: NAME}}, not {quoted(value)}{hint}")


def _one_key(key: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: {"type": "string"}},
        "required": [key],
        "additionalProperties": False,
    }


HASH_ON = Quantity(
    "`client`, `path`, `{header: NAME}`, `{cookie: NAME}` or `module:name`",
    read_hash_on,
    {"anyOf": [{"enum": ["client", "path"]}, _one_key("header"), _one_key("cookie"), OWN_CODE.schema]},
)


def read_proxy_protocol(value: object) -> str:
    """`v1` or `v2`; `true` is the first, which everybody understands."""
    found = number(value)
    if isinstance(found, bool):
        return "v1" if found else ""
    if found in ("v1", "v2"):
        return str(found)
    raise WrongValueError(f"expected v1, v2, true or false, not {quoted(value)}")


PROXY_PROTOCOL = Quantity(
    "`v1`, `v2`, true or false",
    read_proxy_protocol,
    {"anyOf": [{"enum": ["v1", "v2"]}, {"type": "boolean"}]},
    lambda value: value or False,
)


REDIRECT_STATUSES = (301, 302, 303, 307, 308)


def read_redirect_status(value: object) -> int:
    """A status that sends a client elsewhere."""
    found = number(value)
    if found not in REDIRECT_STATUSES:
        raise WrongValueError(f"expected {one_of([str(one) for one in REDIRECT_STATUSES])}, not {quoted(value)}")
    return int(str(found))


REDIRECT_STATUS = Quantity(
    one_of([f"`{status}`" for status in REDIRECT_STATUSES]), read_redirect_status, {"enum": list(REDIRECT_STATUSES)}
)


def read_version(value: object) -> int:
    """The version of the language; there is one."""
    found = number(value)
    if found != 1 or isinstance(found, bool | float):
        raise WrongValueError(f"the only version of this language is 1, not {quoted(value)}")
    return 1


VERSION = Quantity("`1`", read_version, {"const": 1})
