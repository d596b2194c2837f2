"""Loaded by schemathesis: holds each answer against the document as the other tests do.

Its own checks take any status for documented where there is a `default`, and any member and header field where none
is forbidden.
"""

from __future__ import annotations

from typing import Any

import httpx
import schemathesis

from tests.contract.documented import faults_of


@schemathesis.check
def every_part_is_documented(_context: Any, response: Any, _case: Any) -> None:
    """Status, header fields, media type, and the members of a problem."""
    request = httpx.Request(response.request.method, response.request.url)
    headers = [
        (name, value)
        for name, values in response.headers.items()
        for value in values
        if name not in {"content-encoding", "content-length", "transfer-encoding"}
    ]
    answer = httpx.Response(response.status_code, headers=headers, content=response.content, request=request)
    faults = [fault for fault in faults_of(answer) if "content-encoding" not in fault]

    assert faults == []
