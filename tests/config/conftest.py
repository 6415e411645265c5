"""What tests of the config share: the mistakes of a text as lines, without the file's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config import ConfigError, loads

Mistakes = Callable[..., list[str]]


@pytest.fixture(scope="session")
def mistakes() -> Mistakes:
    """Load a text that has mistakes: `["1:10: version: …", …]`."""

    def find(text: str, **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            loads(text, "x", environ)
        return [str(mistake).removeprefix("x:").replace(" error: ", " ", 1) for mistake in caught.value.mistakes]

    return find
