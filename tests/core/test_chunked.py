from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.wire.chunked import ChunkedDecoder, ChunkError, chunk, last_chunk

bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
near_misses = st.lists(
    st.sampled_from(
        [b"0", b"1", b"5", b"a", b"F", b";", b"x", b"\r\n", b"\r", b"\n", b" ", b":", b"hello", b"\0", b"X-T: v"]
    ),
    max_size=12,
).map(b"".join)


def decode(*pieces: bytes) -> tuple[bytes, ChunkedDecoder]:
    decoder = ChunkedDecoder()
    return b"".join(part for piece in pieces for part in decoder.feed(piece)), decoder


def outcome(pieces: Iterable[bytes]) -> tuple[object, ...]:
    """All that can be seen of reading these pieces: a refusal, or body, trailer, end and what is left over."""
    decoder = ChunkedDecoder()
    body = rest = b""
    for piece in pieces:
        if decoder.is_complete:
            rest += piece
            continue
        try:
            body += b"".join(decoder.feed(piece))
        except ChunkError:
            return ("refused",)
    return body, decoder.trailer, decoder.is_complete, decoder.rest + rest


def one_by_one(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


# Bodies


def test_a_chunked_body_is_read_to_its_end() -> None:
    body, decoder = decode(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")

    assert (b"hello world", True, b"") == (body, decoder.is_complete, decoder.rest)


@pytest.mark.parametrize("size", [b"a", b"A", b"0a", b"000000000000000a"])
def test_a_size_may_be_written_in_any_case_and_with_zeros_in_front(size: bytes) -> None:
    assert b"0123456789" == decode(size + b"\r\n0123456789\r\n0\r\n\r\n")[0]


def test_what_comes_after_the_end_is_left_for_the_next_message() -> None:
    assert b"GET / HTTP/1.1\r\n" == decode(b"0\r\n\r\nGET / HTTP/1.1\r\n")[1].rest


def test_a_body_is_handed_on_before_its_chunk_is_whole() -> None:
    body, decoder = decode(b"ffff\r\nhel", b"lo")

    assert (b"hello", False) == (body, decoder.is_complete)


@given(bodies, bodies)
def test_what_we_write_is_what_we_read(first: list[bytes], second: list[bytes]) -> None:
    data = b"".join([*chunk(first), *chunk(second), last_chunk(b"X-T: v\r\n")])

    body, decoder = decode(data)

    assert (b"".join(first + second), b"X-T: v\r\n", True) == (body, decoder.trailer, decoder.is_complete)


def test_nothing_is_not_written_as_an_empty_chunk_that_would_end_the_body() -> None:
    assert [] == chunk([b"", b""])


def test_pieces_go_out_as_one_chunk() -> None:
    assert b"b\r\nhello world\r\n" == b"".join(chunk([b"hello", b" world"]))


# Any bytes, cut anywhere


@given(st.one_of(st.binary(max_size=60), near_misses, bodies.map(lambda b: b"".join(chunk(b)) + last_chunk())))
@example(b"5\r\nhello\r\n0\r\nX-T: v\r\n\r\nrest")
@example(b"5\r\nhelloX\n")
@example(b"1" * 20 + b"\r\n")
@example(b"1;" + b"x" * 300 + b"\r\n")
@example(b"0\r\nX: " + b"v" * 8188 + b"\r\n\r\n")
def test_bytes_that_come_whole_or_one_by_one_are_read_the_same(data: bytes) -> None:
    assert outcome([data]) == outcome(one_by_one(data))


@given(near_misses, st.data())
def test_bytes_that_are_cut_anywhere_are_read_the_same(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))

    assert outcome([data]) == outcome([data[:cut], data[cut:]])


# What is refused


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"+5\r\nhello\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5_0\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"1" + b"0" * 16 + b"\r\n",
        "５\r\n".encode(),
        b";x\r\n",
    ],
)
def test_a_size_that_is_not_just_hexadecimal_digits_is_refused(data: bytes) -> None:
    with pytest.raises(ChunkError, match="size"):
        decode(data)


@pytest.mark.parametrize("data", [b"5\nhello\r\n", b"5;\nx\r\nhello\r\n", b"5;\rx\r\nhello\r\n", b"5\r\r\nhello\r\n"])
def test_a_bare_cr_or_lf_in_a_chunks_line_is_refused(data: bytes) -> None:
    """TERM.EXT and EXT.TERM: two readers would see two lengths."""
    with pytest.raises(ChunkError, match="bare CR or LF"):
        decode(data)


@pytest.mark.parametrize(
    "data", [b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\rX", b"5\r\nhello0\r\n\r\n"]
)
def test_a_chunk_that_does_not_end_with_crlf_is_refused(data: bytes) -> None:
    with pytest.raises(ChunkError, match="no CRLF"):
        decode(data)


@pytest.mark.parametrize("byte", [bytes([n]) for n in range(256)])
def test_an_extension_may_hold_no_control_byte(byte: bytes) -> None:
    is_control = (byte < b" " and byte != b"\t") or byte == b"\x7f"

    assert is_control is (outcome([b"1;a" + byte + b"b\r\nx\r\n0\r\n\r\n"]) == ("refused",))


def test_an_extension_has_a_limit() -> None:
    assert b"x" == decode(b"1;" + b"e" * 128 + b"\r\nx\r\n")[0]
    with pytest.raises(ChunkError, match="size"):
        decode(b"1;" + b"e" * 129 + b"\r\nx\r\n")


def test_a_line_that_does_not_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ChunkError, match="too long a line"):
        decode(*[b"1;"], *[b"e"] * 300)


# Trailers


def test_trailer_fields_are_kept_as_they_came() -> None:
    _, decoder = decode(b"0\r\nX-Checksum: abc\r\nServer-Timing:a\r\n\r\n")

    assert b"X-Checksum: abc\r\nServer-Timing:a\r\n" == decoder.trailer


@pytest.mark.parametrize(
    "name",
    [
        b"Content-Length",
        b"transfer-encoding",
        b"HOST",
        b"Connection",
        b"Authorization",
        b"X-Forwarded-For",
        b"x_forwarded_port",
        b"content_length",
        b"Proxy",
        b"Proxy-Authenticate",
    ],
)
def test_a_field_of_framing_routing_or_authority_may_not_come_late(name: bytes) -> None:
    with pytest.raises(ChunkError, match="may not come"):
        decode(b"0\r\n" + name + b": 1\r\n\r\n")


@pytest.mark.parametrize("line", [b"no colon", b": v", b"a b: v", b" a: v", b"a : v", b"a: \0", b"a: \x7f"])
def test_a_trailer_field_that_is_not_well_formed_is_refused(line: bytes) -> None:
    with pytest.raises(ChunkError, match="not valid"):
        decode(b"0\r\n" + line + b"\r\n\r\n")


def test_trailers_have_a_limit() -> None:
    line = b"X: " + b"v" * 1000 + b"\r\n"

    with pytest.raises(ChunkError, match="too many"):
        decode(b"0\r\n" + line * 9)


def test_a_trailer_line_has_a_limit() -> None:
    with pytest.raises(ChunkError, match="too long a line"):
        decode(b"0\r\nX: " + b"v" * 9000)
