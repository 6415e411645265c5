"""One table of all that can go wrong with a request: its status, whose fault it is, what the client is told.

The kinds bear the names of RFC 9209 (Proxy-Status), section 2.3: a log, a metric and a header say the same word.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Fault(enum.Enum):
    """Whose mistake a failure is; only a Backend's own counts against it."""

    CLIENT = "client"
    BACKEND = "backend"
    PROXY = "proxy"


class ErrorKind(enum.StrEnum):
    """How an Attempt or a request failed; the names of RFC 9209, section 2.3."""

    DNS_ERROR = "dns_error"
    DESTINATION_NOT_FOUND = "destination_not_found"
    DESTINATION_UNAVAILABLE = "destination_unavailable"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_TERMINATED = "connection_terminated"
    CONNECTION_TIMEOUT = "connection_timeout"
    CONNECTION_READ_TIMEOUT = "connection_read_timeout"
    CONNECTION_WRITE_TIMEOUT = "connection_write_timeout"
    CONNECTION_LIMIT_REACHED = "connection_limit_reached"
    TLS_PROTOCOL_ERROR = "tls_protocol_error"
    TLS_CERTIFICATE_ERROR = "tls_certificate_error"
    TLS_ALERT_RECEIVED = "tls_alert_received"
    HTTP_REQUEST_ERROR = "http_request_error"
    HTTP_REQUEST_DENIED = "http_request_denied"
    HTTP_RESPONSE_INCOMPLETE = "http_response_incomplete"
    HTTP_RESPONSE_HEADER_SECTION_SIZE = "http_response_header_section_size"
    HTTP_RESPONSE_TIMEOUT = "http_response_timeout"
    HTTP_UPGRADE_FAILED = "http_upgrade_failed"
    HTTP_PROTOCOL_ERROR = "http_protocol_error"
    PROXY_INTERNAL_RESPONSE = "proxy_internal_response"
    PROXY_INTERNAL_ERROR = "proxy_internal_error"
    PROXY_LOOP_DETECTED = "proxy_loop_detected"


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """What follows from one kind of failure."""

    status: int
    """The status the client gets when nothing better can be done."""
    fault: Fault
    title: str
    """What the client is told; never an address, a path or a secret."""


ERRORS: dict[ErrorKind, ErrorRule] = {
    ErrorKind.DNS_ERROR: ErrorRule(502, Fault.BACKEND, "The backend's name could not be resolved"),
    ErrorKind.DESTINATION_NOT_FOUND: ErrorRule(404, Fault.CLIENT, "No route matches this request"),
    ErrorKind.DESTINATION_UNAVAILABLE: ErrorRule(503, Fault.BACKEND, "No backend is available"),
    ErrorKind.CONNECTION_REFUSED: ErrorRule(502, Fault.BACKEND, "The backend refused the connection"),
    ErrorKind.CONNECTION_TERMINATED: ErrorRule(
        502, Fault.BACKEND, "The backend closed the connection without an answer"
    ),
    ErrorKind.CONNECTION_TIMEOUT: ErrorRule(504, Fault.BACKEND, "The backend could not be reached in time"),
    ErrorKind.CONNECTION_READ_TIMEOUT: ErrorRule(504, Fault.BACKEND, "The backend stopped sending"),
    ErrorKind.CONNECTION_WRITE_TIMEOUT: ErrorRule(504, Fault.BACKEND, "The backend stopped reading"),
    ErrorKind.CONNECTION_LIMIT_REACHED: ErrorRule(503, Fault.PROXY, "Too many connections"),
    ErrorKind.TLS_PROTOCOL_ERROR: ErrorRule(502, Fault.BACKEND, "No secure connection to the backend"),
    ErrorKind.TLS_CERTIFICATE_ERROR: ErrorRule(502, Fault.BACKEND, "The backend's certificate is not valid"),
    ErrorKind.TLS_ALERT_RECEIVED: ErrorRule(502, Fault.BACKEND, "The backend refused the TLS connection"),
    ErrorKind.HTTP_REQUEST_ERROR: ErrorRule(400, Fault.CLIENT, "The request is not valid HTTP/1.1"),
    ErrorKind.HTTP_REQUEST_DENIED: ErrorRule(403, Fault.CLIENT, "The request is not allowed"),
    ErrorKind.HTTP_RESPONSE_INCOMPLETE: ErrorRule(502, Fault.BACKEND, "The backend's answer broke off"),
    ErrorKind.HTTP_RESPONSE_HEADER_SECTION_SIZE: ErrorRule(
        502, Fault.BACKEND, "The backend's answer has too large a head"
    ),
    ErrorKind.HTTP_RESPONSE_TIMEOUT: ErrorRule(504, Fault.BACKEND, "The backend did not answer in time"),
    ErrorKind.HTTP_UPGRADE_FAILED: ErrorRule(502, Fault.BACKEND, "The backend did not switch protocols as asked"),
    ErrorKind.HTTP_PROTOCOL_ERROR: ErrorRule(502, Fault.BACKEND, "The backend's answer is not valid HTTP/1.1"),
    ErrorKind.PROXY_INTERNAL_RESPONSE: ErrorRule(503, Fault.PROXY, "The proxy answered by itself"),
    ErrorKind.PROXY_INTERNAL_ERROR: ErrorRule(500, Fault.PROXY, "The proxy failed"),
    ErrorKind.PROXY_LOOP_DETECTED: ErrorRule(508, Fault.CLIENT, "The request has passed this proxy before"),
}


class RequestError(Exception):
    """A client's message that must be refused: answered with `status`, then the connection is closed.

    `detail` says what is wrong in words that are safe to send back.
    """

    def __init__(self, status: int, detail: str, kind: ErrorKind = ErrorKind.HTTP_REQUEST_ERROR) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.kind = kind


class ResponseError(Exception):
    """A Backend's message that must not be passed on; counts against that Backend."""

    def __init__(self, detail: str, kind: ErrorKind = ErrorKind.HTTP_PROTOCOL_ERROR) -> None:
        super().__init__(detail)
        self.detail = detail
        self.kind = kind
