from __future__ import annotations

import logging

import pytest

from proxy.controlplane.probing.expiry import SOON, date, expiries, warn_of_expiry, warnings
from proxy.core.settings import Address, ListenerSettings, PoolSettings, Settings
from proxy.core.tls import BackendTls, Certificate, ListenerTls, PrivateKey

NOW = 1_800_000_000.0


def certificate(title: str, not_after: float) -> Certificate:
    return Certificate("", PrivateKey("secret"), (title,), title, not_after)


def settings(*certificates: Certificate, own: Certificate | None = None) -> Settings:
    return Settings(
        (
            ListenerSettings("web", Address(), tls=ListenerTls(certificates)),
            ListenerSettings("plain", Address()),
        ),
        (PoolSettings("app", (), tls=BackendTls(certificate=own)),),
        (),
    )


def test_each_certificate_has_its_date() -> None:
    found = expiries(settings(certificate("a", 1.0), certificate("b", 2.0), own=certificate("c", 3.0)))

    assert {("web", "", "a"): 1.0, ("web", "", "b"): 2.0, ("", "app", "c"): 3.0} == found


def test_of_several_that_are_called_alike_the_first_to_expire_counts() -> None:
    """Two metrics with the same labels would be none."""
    found = expiries(settings(certificate("a", 2.0), certificate("a", 1.0), certificate("a", 3.0)))

    assert {("web", "", "a"): 1.0} == found


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (-1.0, ["listener web: the certificate for a expired on 2027-01-15 07:59 UTC"]),
        (60.0, ["listener web: the certificate for a will expire on 2027-01-15 08:01 UTC"]),
        (SOON, []),
    ],
)
def test_what_has_expired_or_will_soon_is_a_warning(left: float, said: list[str]) -> None:
    assert said == warnings(settings(certificate("a", NOW + left)), NOW)


def test_a_pools_own_certificate_is_looked_at_too() -> None:
    (said,) = warnings(settings(own=certificate("a", 0.0)), NOW)

    assert "pool app: the certificate for a expired on 1970-01-01 00:00 UTC" == said


def test_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_expiry(settings(certificate("a", 0.0)))

    assert ["listener web: the certificate for a expired on 1970-01-01 00:00 UTC"] == caplog.messages


def test_dates_are_written_for_people() -> None:
    assert "2027-01-15 08:00 UTC" == date(NOW)
