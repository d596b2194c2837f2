"""Checks of a request's header: its size, Host, Expect and Transfer-Encoding (RFC 9110, RFC 9112)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.http.headers import Field

HEADER_BYTES_MAX = 32_768
HEADER_FIELDS_MAX = 100
URL_BYTES_MAX = 8_192

CHUNKED = b"chunked"

CONTINUE = b"100-continue"
"""The only expectation that HTTP defines (RFC 9110, 10.1.1)."""

SERVER = b"*"
"""The target of an OPTIONS request about the whole server (RFC 9110, 9.3.7)."""

HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%-]*(?::\d{0,5})?|\[[0-9A-Fa-f:.]+\](?::\d{0,5})?")
"""A name or address, and a port (RFC 3986, 3.2.2)."""


def fault_of_header(fields: list[Field], url: bytes, *, method: bytes, version: str, received_bytes: int) -> int | None:
    """The status that refuses a header: it is too large, or asks for something that this server does not do.

    `received_bytes` is an upper bound of its size. None for a header that is accepted.
    """
    if len(fields) > HEADER_FIELDS_MAX or _is_too_large(fields, received_bytes):
        return 431
    if len(url) > URL_BYTES_MAX:
        return 414
    hosts, codings, expected = [], [], []
    for name, value in fields:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            codings += _members(value)
        elif name == b"expect":
            expected += _members(value)
    old = version == "1.0"
    # RFC 9112, 3.2: two servers may disagree on which of two hosts is meant.
    if (hosts or not old) and (len(hosts) != 1 or not HOST.fullmatch(hosts[0])):
        return 400
    if url == SERVER and method != b"OPTIONS":
        return 400
    if expected and not old and set(expected) != {CONTINUE}:
        return 417
    return _fault_of_codings(codings, old=old) if codings else None


def _is_too_large(fields: list[Field], received_bytes: int) -> bool:
    """Whether the fields are too large; counted one by one only if what was received is too large."""
    if received_bytes <= HEADER_BYTES_MAX:
        return False
    return sum(len(name) + len(value) for name, value in fields) > HEADER_BYTES_MAX


def _members(value: bytes) -> list[bytes]:
    """The members of a list in a field, in lower case."""
    return [member.strip() for member in value.lower().split(b",") if member.strip()]


def _fault_of_codings(codings: list[bytes], *, old: bool) -> int | None:
    """The status for transfer codings other than `chunked`, None for that one.

    400 if the end of the body cannot be determined (RFC 9112, 6.1 and 6.3).
    """
    if old or codings[-1].partition(b";")[0].strip() != CHUNKED or codings.count(CHUNKED) > 1:
        return 400
    return None if codings == [CHUNKED] else 501
