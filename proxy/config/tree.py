"""A config file as a tree of values that know where they stand.

Built from PyYAML's parse events, not from its nodes: those no longer tell an explicit tag from a guessed one, and are
made by recursion as deep as the text asks for. What the language leaves out of YAML is refused here: tags, merge keys,
several documents, keys that are not text, the same key twice. It knows nothing of which keys there are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from proxy.config.mistakes import Finding, Mistake, Path, dotted, printable
from proxy.config.scalars import Scalar, SubstitutionError, resolve, substitute

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEEPEST = 32
"""Levels of maps and lists in each other; the language needs seven."""
MOST_ALIASED = 10_000
"""Values that all aliases of a file together may stand for; a few lines could name billions."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SECRETS = frozenset({"token", "password", "secret"})
# A secret that stands where it must not is not repeated on a terminal or in a log; nor where its key is mistyped.
_SECRET = re.compile(r"""(?i)(?:tok|pass|pwd|secr|bearer)\w*["']?\s*:\s*(?!\{|\$\{)([^\s,}#][^,}#]*)""")


@dataclass(slots=True)
class Node:
    """A value and its place; `keys` are the places of the keys of a map."""

    line: int
    column: int
    value: Scalar | list[Node] | dict[str, Node]
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1
    """Values in it and below, aliases written out."""


@dataclass(slots=True)
class Document:
    """A file that was read, as far as it could be, and the mistakes found on the way."""

    name: str
    lines: list[str]
    root: Node | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    unread: set[tuple[int, int]] = field(default_factory=set)
    """Places of values that were found wrong while reading."""

    def note(self, line: int, column: int, message: str, path: Path = ()) -> None:
        """Add a mistake at a place."""
        source = masked(printable(self.lines[line - 1] if line <= len(self.lines) else ""))
        if path and path[-1] in SECRETS:
            source = source[: column - 1] + "***"
        self.mistakes.append(Mistake(self.name, line, column, dotted(path), printable(message), source))

    def add(self, finding: Finding) -> None:
        """Add a mistake whose path is known, unless the value could not be read right in the first place."""
        path, line, column = self.locate(finding.path, at_key=finding.at_key)
        if (line, column) not in self.unread:
            self.note(line, column, finding.message, path)

    def locate(self, path: Path, *, at_key: bool = False) -> tuple[Path, int, int]:
        """The part of a path that is in the file, and its place.

        A path may name more than the file does: a key that is missing, the inner keys of a short form.
        """
        node = self.root or Node(1, 1, None)
        place, found = (node.line, node.column), []
        for part in path:
            if isinstance(node.value, dict) and part in node.keys:
                place, node = node.keys[str(part)], node.value[str(part)]
            elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                place = node.line, node.column
            else:
                continue
            found.append(part)
        return tuple(found), *(place if at_key else (node.line, node.column))

    def has(self, path: Path) -> bool:
        """Whether all of a path is in the file."""
        node = self.root or Node(1, 1, None)
        for part in path:
            value = node.value
            if isinstance(value, dict) and part in value:
                node = value[str(part)]
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                node = value[part]
            else:
                return False
        return True

    def keys_of_item(self, key: str, number: int) -> Collection[str]:
        """The keys of one map in a list at the top of the file."""
        top = self.root.value if self.root else None
        items = top[key].value if isinstance(top, dict) and key in top else None
        return items[number].keys.keys() if isinstance(items, list) else ()

    def keys(self, key: str) -> Collection[str]:
        """The keys of a map at the top of the file; none where there is no such map."""
        top = self.root.value if self.root else None
        return top[key].keys.keys() if isinstance(top, dict) and key in top else ()

    def data(self) -> object:
        """The file's content as plain lists, maps and scalars."""
        return None if self.root is None else _plain(self.root)


def _plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child) for child in node.value]
    return node.value


def masked(line: str) -> str:
    """A source line with the values of secrets blotted out, in the same length so that columns stay right."""
    return _SECRET.sub(lambda match: match[0].removesuffix(match[1]) + "*" * len(match[1]), line)


class _StopError(Exception):
    """The rest of the file can't be read."""


def read(text: str, name: str, environ: Mapping[str, str]) -> Document:
    """Parse YAML (or JSON) text; variables are put in once a value is known to be a scalar."""
    text = text.removeprefix("\ufeff")
    document = Document(name, _UNPRINTABLE.sub("\ufffd", text).splitlines())
    bad = _UNPRINTABLE.search(text)
    if bad:
        lines = (text[: bad.start()] + "x").splitlines()
        document.note(len(lines), len(lines[-1]), f"the character U+{ord(bad[0]):04X} can't stand in a config file")
        return document
    try:
        document.root = _Composer(document, environ).compose(yaml.parse(text, Loader=LOADER))
    except _StopError:
        document.root = None
    except yaml.MarkedYAMLError as error:
        _note_syntax(document, error)
    except yaml.YAMLError as error:
        # No place is known; this is for what libyaml may find that we don't look for.
        document.note(1, 1, str(error).splitlines()[0])
    return document


def _note_syntax(document: Document, error: yaml.MarkedYAMLError) -> None:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    message = error.problem or "not valid YAML"
    source = document.lines[line - 1] if line <= len(document.lines) else ""
    if source[column - 1 : column] == "\t":
        message = "a tab can't indent a line; use spaces"
    elif "${" in source and "flow mapping" in (error.context or ""):
        message = 'inside { } a variable needs quotes: "${NAME}"'
    elif error.context and error.context_mark:
        message = f"{message} ({error.context} that begins at line {error.context_mark.line + 1})"
    document.note(line, column, message)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Composer:
    """Events in, Nodes out."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ
        self._anchors: dict[str, Node | None] = {}
        """None while the anchor's own value is being read."""
        self._aliased = 0

    def compose(self, events: Iterator[yaml.Event]) -> Node:
        """Read all events; what is wrong goes to the Document."""
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                self._note(event, "a second document begins here; a config is one document")
                break
            if isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, ())
        return root or Node(1, 1, None)

    def _note(self, event: yaml.Event, message: str, path: Path = ()) -> None:
        place = _place(event)
        self._document.note(*place, message, path)
        self._document.unread.add(place)

    def _node(self, event: Any, events: Iterator[yaml.Event], path: Path) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if len(path) > DEEPEST:
            self._note(event, f"more than {DEEPEST} levels of maps and lists")
            raise _StopError
        self._refuse_tag(event, path)
        if event.anchor:
            self._anchors[event.anchor] = None
        node = Node(*_place(event), None)
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._fill_list(node, events, path)
        else:
            self._fill_map(node, events, path)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, path: Path) -> None:
        if event.tag is not None:
            self._note(event, f"tags ({event.tag}) are not supported", path)

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        place = _place(event)
        target = self._anchors.get(str(event.anchor))
        if target is None:
            what = "refers to itself" if event.anchor in self._anchors else "is not defined above"
            self._note(event, f"the anchor '{event.anchor}' {what}", path)
            return Node(*place, None)
        self._aliased += target.size
        if self._aliased > MOST_ALIASED:
            self._note(event, f"the aliases of this file stand for more than {MOST_ALIASED} values", path)
            raise _StopError
        return replace(target, line=place[0], column=place[1])

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Scalar:
        try:
            text = substitute(event.value, self._environ)
        except SubstitutionError as error:
            self._note(event, str(error), path)
            return str(event.value)
        return resolve(text) if text is event.value and not event.style else text

    def _fill_list(self, node: Node, events: Iterator[yaml.Event], path: Path) -> None:
        children: list[Node] = []
        node.value = children
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            child = self._node(event, events, (*path, len(children)))
            children.append(child)
            node.size += child.size

    def _fill_map(self, node: Node, events: Iterator[yaml.Event], path: Path) -> None:
        children: dict[str, Node] = {}
        node.value = children
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            key, keep = self._key(event, events, node, path)
            child = self._node(next(events), events, (*path, key))
            if keep:
                node.keys[key] = _place(event)
                children[key] = child
                node.size += child.size

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], node: Node, path: Path) -> tuple[str, bool]:
        """The text of a key, and whether its value is to be kept."""
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, events, (*path, "?"))
            self._note(event, "a key must be text", path)
            return "?", False
        key = str(event.value)
        path = (*path, key)
        self._refuse_tag(event, path)
        if event.anchor:
            self._anchors[event.anchor] = Node(*_place(event), key)
        if key == "<<":
            self._note(event, "merge keys are not supported; what pools share goes into 'defaults'", path)
        elif key in node.keys:
            self._note(event, f"duplicate key; it is first given in line {node.keys[key][0]}", path)
        return key, key != "<<" and key not in node.keys
