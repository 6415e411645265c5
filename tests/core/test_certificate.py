"""What certificates say, against what openssl says of them."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.certificate import CertificateError, from_pem, read_facts
from tests.certificates import Authority, openssl

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "ca", "An Authority")


def dates(file: Path) -> tuple[float, float]:
    """As openssl reads them."""
    lines = openssl("x509", "-in", file, "-noout", "-dates").splitlines()
    not_before, not_after = (float(ssl.cert_time_to_seconds(line.partition("=")[2])) for line in lines)
    return not_before, not_after


def test_names_and_dates_are_those_that_openssl_reads(authority: Authority) -> None:
    pair = authority.issue("Shop.example", "*.shop.example")
    (der,) = from_pem(pair.cert.read_text())

    facts = read_facts(der)

    assert ("shop.example", "*.shop.example") == facts.names
    assert "shop.example" == facts.title
    assert dates(pair.cert) == (facts.not_before, facts.not_after)


def test_a_date_beyond_2049_is_read(authority: Authority) -> None:
    """It is written with four digits from then on."""
    pair = authority.issue("far.example", days=20000)

    assert dates(pair.cert)[1] == read_facts(from_pem(pair.cert.read_text())[0]).not_after


def test_an_address_is_a_title_and_no_name(authority: Authority) -> None:
    pair = authority.issue(extensions="subjectAltName=IP:10.0.0.1,IP:::1,email:a@shop.example")

    facts = read_facts(from_pem(pair.cert.read_text())[0])

    assert ((), "10.0.0.1") == (facts.names, facts.title)


def test_a_common_name_counts_where_there_are_no_others(authority: Authority) -> None:
    with_names = read_facts(from_pem(authority.issue("a.example", subject="/CN=Old").cert.read_text())[0])
    without = read_facts(from_pem(authority.cert.read_text())[0])

    assert ("a.example",) == with_names.names
    assert (("an authority",), "an authority") == (without.names, without.title)


def test_a_certificate_may_be_without_any_name(authority: Authority) -> None:
    pair = authority.issue(extensions="subjectAltName=email:a@shop.example", subject="/O=Shop")

    assert "without a name" == read_facts(from_pem(pair.cert.read_text())[0]).title


def test_a_certificate_without_extensions_is_read(authority: Authority) -> None:
    pair = authority.issue(extensions="", subject="/CN=plain.example")

    assert ("plain.example",) == read_facts(from_pem(pair.cert.read_text())[0]).names


def test_all_certificates_of_a_file_are_found_in_order(authority: Authority) -> None:
    pair = authority.issue("a.example")
    text = f"a comment\n{pair.cert.read_text()}{pair.key.read_text()}{authority.cert.read_text()}"

    assert ["a.example", "an authority"] == [read_facts(der).title for der in from_pem(text)]


def test_text_that_is_not_base64_is_no_certificate() -> None:
    with pytest.raises(CertificateError, match="Base64"):
        from_pem("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("year", ["49", "50"])
def test_two_digits_of_a_year_are_of_one_century_or_the_other(authority: Authority, year: str) -> None:
    (der,) = from_pem(authority.cert.read_text())
    at = der.index(b"\x17\x0d") + 2

    facts = read_facts(der[:at] + year.encode() + der[at + 2 :])

    assert {"49": 2049, "50": 1950}[year] == int(facts.not_before / 86400 / 365.2425 + 1970)


def test_a_date_of_another_kind_is_no_date(authority: Authority) -> None:
    (der,) = from_pem(authority.cert.read_text())

    with pytest.raises(CertificateError):
        read_facts(der.replace(b"\x17\x0d", b"\x16\x0d"))


@given(cut=st.integers(0, 400), flipped=st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), max_size=4))
def test_whatever_comes_is_read_or_refused(authority: Authority, cut: int, flipped: list[tuple[int, int]]) -> None:
    der = bytearray(from_pem(authority.cert.read_text())[0][: 400 - cut])
    for at, byte in flipped:
        if at < len(der):
            der[at] = byte

    try:
        read_facts(bytes(der))
    except CertificateError as error:
        assert "not a certificate" == str(error)
