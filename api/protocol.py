"""HTTP on a connection, with what uvicorn leaves out.

Limits: the size of the header, the time for header and body. And a way to answer in one piece: uvicorn writes
head and body apart, each with a system call of its own, after it has searched every field for what may not stand
in it. Such answers leave at the end of a turn of the loop (api.outbox).
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.envelope import WRITE_WHOLE
from api.outbox import outbox_of
from api.problems import FRAMEWORK, PARAGRAPHS, PROBLEM_MEDIA_TYPE, problem_body

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from api.fields import Field
    from api.outbox import Outbox

HEADER_BYTES_MAX = 32_768
HEADER_FIELDS_MAX = 100
URL_BYTES_MAX = 8_192

HEADER_S = 5.0
"""From the connection, or the first byte of a request, to the end of its header."""

BODY_S = 10.0
"""From the end of the header to the end of the body: 64 KiB at the slowest mobile network."""


LINGER_S = 1.0
LINGER_BYTES_MAX = 262_144
"""How much of what a refused caller still sends is thrown away, and for how long: closed at once, the connection
would be reset, and the caller might never read why (RFC 9112, 9.6)."""


class Phase(StrEnum):
    """What a connection is waiting for."""

    NEW = "new"
    HEADER = "header"
    BODY = "body"
    COMPLETE = "complete"
    REFUSED = "refused"


PATIENCE_S = {Phase.NEW: HEADER_S, Phase.HEADER: HEADER_S, Phase.BODY: BODY_S}


HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%-]*(?::\d{0,5})?|\[[0-9A-Fa-f:.]+\](?::\d{0,5})?")
"""A name or address, and a port (RFC 3986, 3.2.2)."""


class BadHost(Exception):
    """The request does not say, once and properly, what host it is for; ends the parser."""


class TooLarge(Exception):
    """A header is over its limits; ends the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Timers run only while a part of a request is missing, so a whole request costs none."""

    _phase = Phase.NEW
    _header_bytes = 0
    _chunk_bytes = 0
    _thrown_away_bytes = 0
    _refused_with = 400
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._outbox = outbox_of(self.loop)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and wait for what is still missing."""
        phase = self._phase
        if phase is Phase.REFUSED:
            self._throw_away(data)
            return
        self._chunk_bytes = len(data)
        super().data_received(data)
        if self._phase is Phase.REFUSED:
            return
        if self._phase is Phase.HEADER:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES_MAX:
                self._refuse(431)
                return
        if self._phase is not phase or self._phase is Phase.COMPLETE:
            self._stop_waiting()
        self._wait()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._phase, self._header_bytes = Phase.HEADER, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the header's size before anything is done with it."""
        self._phase = Phase.BODY
        if len(self.headers) > HEADER_FIELDS_MAX or self._header_is_too_large():
            self._refused_with = 431
            raise TooLarge
        if len(self.url) > URL_BYTES_MAX:
            self._refused_with = 414
            raise TooLarge
        hosts = [value for name, value in self.headers if name == b"host"]
        # RFC 9112, 3.2: which of two names is asked for, two servers may read differently.
        if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
            old = not hosts and self.parser.get_http_version() == "1.0"
            if not old:
                raise BadHost
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._phase = Phase.COMPLETE
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or over a limit, with a problem."""
        del msg
        self._refuse(self._refused_with)

    def shutdown(self) -> None:
        """End when nothing is under way, as the server ends; answers that are on their way go first."""
        self._outbox.send()
        super().shutdown()

    def _header_is_too_large(self) -> bool:
        """Counted field by field only where what was received is more than a header may have."""
        if self._header_bytes + self._chunk_bytes <= HEADER_BYTES_MAX:
            return False
        return sum(len(name) + len(value) for name, value in self.headers) > HEADER_BYTES_MAX

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401  (uvicorn's)
        """Let the application answer in one piece, if it wants to."""
        cycle.scope[WRITE_WHOLE] = partial(write_whole, cycle, self._outbox)  # type: ignore[literal-required]
        super()._start_asgi_task(cycle, app)

    def _wait(self) -> None:
        patience_s = PATIENCE_S.get(self._phase)
        if patience_s is not None and self._timer is None:
            self._timer = self.loop.call_later(patience_s, self._run_out)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run_out(self) -> None:
        """The caller took too long. One that sent nothing at all is not answered."""
        if self._phase is Phase.NEW:
            self.transport.close()
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer, unless an answer has begun, and close."""
        self._stop_waiting()
        self._outbox.send()
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_problem(status))
        self._linger()
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _linger(self) -> None:
        """Say that nothing more comes, and listen a little longer to what nobody reads."""
        self._phase = Phase.REFUSED
        if self.pipeline or not self.transport.can_write_eof():
            # An answer to an earlier request may be under way: it ends here.
            self.transport.close()
            return
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _throw_away(self, data: bytes) -> None:
        self._thrown_away_bytes += len(data)
        if self._thrown_away_bytes > LINGER_BYTES_MAX:
            self.transport.close()


def write_whole(cycle: RequestResponseCycle, outbox: Outbox, status: int, fields: Iterable[Field], body: bytes) -> bool:
    """Answer a request that is not a HEAD with one write; False, and nothing done, when that cannot be now.

    `fields` have the content's length, if it has content, and names in lower case.

    Raises:
        ValueError: a line break stands in a field.
    """
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
        return False
    lines = [b"%b: %b\r\n" % field for field in (*cycle.default_headers, *fields)]
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
        message = "a line break in a field of the header"
        raise ValueError(message)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    outbox.put(cycle.transport, b"%b%b\r\n%b" % (STATUS_LINE[status], head, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        outbox.send()
        cycle.transport.close()
    cycle.on_response()
    return True


def _problem(status: int) -> bytes:
    code, title = FRAMEWORK[status]
    request_id = uuid4().hex
    body = problem_body(status=status, code=code, title=title, detail=PARAGRAPHS[code], instance=request_id, facts={})
    fields = {
        "content-type": PROBLEM_MEDIA_TYPE,
        "content-length": str(len(body)),
        "x-request-id": request_id,
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return STATUS_LINE[status] + head.encode() + b"\r\n" + body
