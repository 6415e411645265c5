from __future__ import annotations

import pickle
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.tls import Certificate, PrivateKey, by_name, looked_up, subject_text

SECRET = "-----BEGIN PRIVATE KEY-----\nMIG\n"


def certificate(title: str, *names: str) -> Certificate:
    return Certificate("chain", PrivateKey(SECRET), names, title)


def test_no_way_to_print_settings_prints_a_key() -> None:
    one = certificate("a")

    assert all("MIG" not in said for said in (repr(one), str(one), str(asdict(one)), f"{one.key}"))


def test_keys_are_equal_by_what_is_in_them_and_survive_the_way_to_a_worker() -> None:
    """So that a reload can tell a new certificate from the old one."""
    one = PrivateKey(SECRET)

    received = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own

    assert (one, SECRET) == (received, received.pem)
    assert 1 == len({one, PrivateKey(SECRET)})
    assert one != PrivateKey("other")
    assert one != SECRET


A, B, C = (
    certificate("a", "a.example", "*.shop.example"),
    certificate("b", "pay.shop.example"),
    certificate("c", "a.example"),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.example", A),
        ("A.EXAMPLE", A),
        ("www.shop.example", A),
        ("pay.shop.example", B),
        ("shop.example", None),
        ("a.b.shop.example", None),
        ("example", None),
        ("", None),
    ],
)
def test_a_name_finds_its_certificate_or_its_parents_wildcard(name: str, expected: Certificate | None) -> None:
    """Of several for one name, the first."""
    assert expected == looked_up(by_name([A, B, C]), name)


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ((), b""),
        (((("countryName", "DE"),), (("commonName", "alice"),)), b"CN=alice,C=DE"),
        (((("commonName", "a"), ("userId", "7")),), b"CN=a+UID=7"),
        (((("emailAddress", "a@b"),),), b"emailAddress=a@b"),
        (((("commonName", 'a,b+c"d\\e<f>g;h=i'),),), rb"CN=a\,b\+c\"d\\e\<f\>g\;h\=i"),
        (((("commonName", " a "),),), rb"CN=\ a\ "),
        (((("commonName", "#a"),),), rb"CN=\#a"),
        (((("commonName", " "),),), rb"CN=\ "),
        (((("commonName", "Zoë"),),), rb"CN=Zo\C3\AB"),
        (((("commonName", "a\r\nX-Admin: 1\0"),),), rb"CN=a\0D\0AX-Admin: 1\00"),
    ],
)
def test_a_subject_is_written_as_rfc_4514_has_it(subject: tuple[tuple[tuple[str, str], ...], ...], text: bytes) -> None:
    assert text == subject_text(subject)


@given(st.lists(st.lists(st.tuples(st.sampled_from(["commonName", "title"]), st.text()), min_size=1), max_size=3))
def test_a_subject_never_ends_a_field(subject: list[list[tuple[str, str]]]) -> None:
    text = subject_text(tuple(map(tuple, subject)))

    assert all(0x20 <= byte < 0x7F for byte in text)
