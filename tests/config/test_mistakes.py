from __future__ import annotations

from proxy.config.mistakes import COMPARED, WIDTH, ConfigError, Mistake, dotted, nearest, one_of, quoted


def test_a_mistake_is_shown_with_its_line_and_a_caret() -> None:
    mistake = Mistake("a.yaml", 12, 5, "pools.app.balence", "unknown key", "    balence: hash")

    assert [
        "a.yaml:12:5: error: pools.app.balence: unknown key",
        "    12 |     balence: hash",
        "       |     ^",
    ] == mistake.render().splitlines()


def test_a_caret_stands_right_after_tabs() -> None:
    assert Mistake("a", 1, 3, "", "wrong", "\t\tx").render().endswith("| \t\tx\n       | \t\t^")


def test_of_a_long_line_the_part_around_the_mistake_is_shown() -> None:
    line = "x" * 5000 + "HERE" + "y" * 5000

    _, shown, caret = Mistake("a.json", 1, 5001, "", "wrong", line).render().splitlines()

    assert len(shown) <= WIDTH + 10
    assert shown.index("HERE") == caret.index("^")


def test_a_mistake_of_the_whole_file_has_no_line() -> None:
    assert "a.yaml: error: can't be read" == Mistake("a.yaml", 0, 0, "", "can't be read").render()


def test_mistakes_are_in_the_order_of_the_file() -> None:
    places = [(3, 1), (1, 9), (1, 10), (2, 4)]
    error = ConfigError(Mistake("a", line, column, "", "wrong") for line, column in places)

    assert [(1, 9), (1, 10), (2, 4), (3, 1)] == [(one.line, one.column) for one in error.mistakes]
    assert "a:1:9: error: wrong\na:1:10: error: wrong\na:2:4: error: wrong\na:3:1: error: wrong" == str(error)


def test_the_nearest_word_is_suggested_whatever_its_case_and_dashes() -> None:
    assert "; did you mean 'least_requests'?" == nearest("Least-Request", ["random", "least_requests"])
    assert "" == nearest("banana", ["random", "least_requests"])


def test_among_very_many_words_no_nearest_is_looked_for() -> None:
    """A file with ten thousand wrong names must be answered in seconds."""
    assert "" == nearest("app1", [f"app{number}" for number in range(COMPARED + 1)])


def test_values_are_named_shortly() -> None:
    assert ["nothing", "true", "a map", "a list", "7", "'x'"] == [quoted(v) for v in (None, True, {}, [], 7, "x")]
    assert "a, b or c" == one_of(["a", "b", "c"])
    assert "a" == one_of(["a"])


def test_a_path_is_written_as_a_person_would() -> None:
    assert "pools.app.backends[0].weight" == dotted(("pools", "app", "backends", 0, "weight"))
