"""What the language leaves out of YAML, and where each mistake is said to be."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config import tree
from proxy.config.tree import DEEPEST, MOST_ALIASED, Document, masked, read

LOADERS = [tree.LOADER, yaml.SafeLoader]


def found(document: Document) -> list[str]:
    return [str(mistake).removeprefix("x:").replace(" error: ", " ", 1) for mistake in document.mistakes]


@pytest.fixture(params=LOADERS, ids=["libyaml", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With libyaml and without it: a wheel for a rare platform may have none."""
    monkeypatch.setattr(tree, "LOADER", request.param)


TEXT = """\
# A comment
a: {b: [1, 'two', no]}
c:
  - &x {d: 010}
  - *x
"""


def test_values_are_read_with_their_places(loader: None) -> None:
    document = read(TEXT, "x", {})

    assert {"a": {"b": [1, "two", "no"]}, "c": [{"d": 10}, {"d": 10}]} == document.data()
    assert [] == document.mistakes
    assert (("a", "b", 1), 2, 12) == document.locate(("a", "b", 1))
    assert (("a", "b"), 2, 8) == document.locate(("a", "b"))
    assert (("a", "b"), 2, 5) == document.locate(("a", "b"), at_key=True)
    assert (("c", 1), 5, 5) == document.locate(("c", 1))
    assert (("c", 1, "d"), 4, 12) == document.locate(("c", 1, "d"))


def test_a_path_that_leads_out_of_the_file_ends_at_the_last_thing_that_is_there() -> None:
    document = read(TEXT, "x", {})

    assert (("c",), 4, 3) == document.locate(("c", "d", "e"))
    assert (("c",), 3, 1) == document.locate(("c", 7), at_key=True)


def test_a_key_may_have_an_anchor(loader: None) -> None:
    assert {"a": "a"} == read("&k a: *k\n", "x", {}).data()


def test_json_is_yaml() -> None:
    document = read('{\n\t"a": [1, true, null, "x\\u00e9"],\n\t"b": {"c": 1.5e1}\n}\n', "x", {})

    assert {"a": [1, True, None, "xé"], "b": {"c": 15.0}} == document.data()


def test_a_byte_order_mark_is_skipped(loader: None) -> None:
    assert {"a": 1} == read("\ufeffa: 1", "x", {}).data()


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", ["4:3: b.c: duplicate key; it is first given in line 3"]),
        ("a: !!str 1\n", ["1:4: a: tags (tag:yaml.org,2002:str) are not supported"]),
        ("!x a: 1\n", ["1:1: a: tags (!x) are not supported"]),
        ("a: !x [1]\n", ["1:4: a: tags (!x) are not supported"]),
        ("a: &m {b: 1}\nc:\n  <<: *m\n", ["3:3: c.<<: merge keys are not supported; what pools share goes into 'defaults'"]),
        ("a: *nobody\n", ["1:4: a: the anchor 'nobody' is not defined above"]),
        ("a: &a [*a]\n", ["1:8: a[0]: the anchor 'a' refers to itself"]),
        ("? [1]\n: 2\n", ["1:3: a key must be text"]),
        ("a: 1\n---\nb: 2\n", ["2:1: a second document begins here; a config is one document"]),
        ("a:\n\tb: 1\n", ["2:1: a tab can't indent a line; use spaces"]),
        ("a: {b: ${C}}\n", ['1:9: inside { } a variable needs quotes: "${NAME}"']),
        ("a: 1\nb: \x07\n", ["2:4: the character U+0007 can't stand in a config file"]),
        ("a: ${B} x ${C}\n", ["1:4: a: the environment variable B is not set; write ${B:-…} to give a default"]),
    ],
)  # fmt: skip
def test_what_is_not_in_the_language_is_refused_where_it_stands(loader: None, text: str, mistakes: list[str]) -> None:
    assert mistakes == found(read(text, "x", {}))


def test_all_mistakes_of_a_file_are_found_in_one_reading(loader: None) -> None:
    document = read("a: !!int 1\na: ${B}\n*x : 1\n", "x", {})

    assert ["1:4", "2:1", "2:4", "3:1", "3:1"] == [f"{one.line}:{one.column}" for one in document.mistakes]


@pytest.mark.parametrize(
    "text", ["a: [1\n", "a: 'x\n", "a: b: c\n", "- a\nb: 1\n", 'a: "\\q"\n', "%YAML 3.0\n---\na\n", "{\n"]
)
def test_broken_yaml_is_one_mistake_with_a_place(loader: None, text: str) -> None:
    document = read(text, "x", {})

    assert [(True, True)] == [(one.line > 0, one.column > 0) for one in document.mistakes]
    assert document.root is None


def test_aliases_cannot_stand_for_more_values_than_memory_holds(loader: None) -> None:
    """Ten lines, ten thousand million values."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11))]

    document = read("\n".join(lines), "x", {})

    assert document.root is None
    assert f"the aliases of this file stand for more than {MOST_ALIASED} values" in found(document)[0]


def test_maps_and_lists_cannot_be_deeper_than_the_stack(loader: None) -> None:
    assert [f"1:{DEEPEST + 2}: more than {DEEPEST} levels of maps and lists"] == found(read("[" * 900, "x", {}))


def test_a_variable_never_becomes_structure() -> None:
    assert {"a": "[1, 2]", "b": "x: y"} == read("a: ${A}\nb: ${B}", "x", {"A": "[1, 2]", "B": "x: y"}).data()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  token: hunter2", "  token: *******"),
        ("admin: {token: hunter2, address: a}", "admin: {token: *******, address: a}"),
        ('{"admin_token": "hunter2"}', '{"admin_token": *********}'),
        ("token: {file: ./token}", "token: {file: ./token}"),
        ("token: ${TOKEN}", "token: ${TOKEN}"),
        ("admin: {tokn: hunter2}", "admin: {tokn: *******}"),
        ("workers: 1 # tokens", "workers: 1 # tokens"),
    ],
)
def test_a_source_line_is_shown_without_what_may_be_a_secret(line: str, shown: str) -> None:
    assert shown == masked(line)


@pytest.mark.parametrize("loader_class", LOADERS)
@given(text=st.text() | st.text(alphabet="ab12:-[]{}&*!?|>'\"#%@,<~\n\t $\\\r\x85\u2028\ufeff"))
@example("&a [*a, *a]")
@example("? &b !!x {<<: *b}\n")
@example("\ud800")
@example("a\u2028b: \x85[")
def test_any_text_is_read_without_an_exception(loader_class: type, text: str) -> None:
    before, tree.LOADER = tree.LOADER, loader_class
    try:
        document = read(text, "x", {"A": "1"})
    finally:
        tree.LOADER = before

    assert document.root is not None or document.mistakes
    assert all(mistake.render() for mistake in document.mistakes)
