from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from proxy.core.settings import Address, AdminSettings, PoolSettings


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("127.0.0.1", 8080), "127.0.0.1:8080"),
        (Address("app.example", 80), "app.example:80"),
        (Address("::1", 8080), "[::1]:8080"),
        (Address(path="/run/app.sock"), "unix:/run/app.sock"),
    ],
)
def test_an_address_is_written_as_in_a_config(address: Address, text: str) -> None:
    assert text == str(address)


def test_settings_never_change_once_they_are_made() -> None:
    settings = PoolSettings("app", ())

    with pytest.raises(FrozenInstanceError):
        settings.name = "other"  # type: ignore[misc]


def test_the_admin_token_does_not_show_in_logs() -> None:
    assert "secret" not in repr(AdminSettings(token="secret"))
