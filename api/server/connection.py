"""HTTP on a connection: uvicorn's protocol, and what it lacks.

- Limits: the size of the header and of the framing of a body, and the time for header and body.
- Trailer fields are dropped, and offers to upgrade are ignored.
- A caller that stops sending is still answered.
- An answer can be written in one piece (`api/server/write_batch.py`).
"""

from __future__ import annotations

import struct
from enum import StrEnum
from functools import partial
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.http.middleware import CSP, NO_STORE, SECURITY_HEADERS
from api.http.problems import PROBLEM_MEDIA_TYPE, problem_content
from api.http.server_scope import ABORT, STOPPED, STOPPING, WHOLE_SERVER, WRITE_WHOLE
from api.http.server_time import onsale_time
from api.server.framing import HEADER_BYTES_MAX, SERVER, fault_of_header
from api.server.write_batch import write_batch_of, write_whole

if TYPE_CHECKING:
    import asyncio


FRAMING_BYTES_MAX = HEADER_BYTES_MAX + 16_384
"""The size of everything but the body in a request with a body in chunks: header, chunk extensions, trailer."""

FRAMING_BYTES_PER_CHUNK = 12
"""A chunk's size and two line ends. They are not counted, because a body may come in chunks of one byte."""

HEADER_S = 5.0
"""From the connection, or the first byte of a request, to the end of its header."""

BODY_S = 10.0
"""From the end of the header to the end of the body: 64 KiB over the slowest mobile network."""

WRITE_S = 10.0
"""How long a caller may read nothing of an answer that waits for it: 48 KiB over the slowest mobile network."""

LINGER_S = 1.0
LINGER_BYTES_MAX = 262_144
"""For how long, and how much of it, data from a refused caller is read and dropped.

If the connection were closed at once, it would be reset, and the caller might never read the reason (RFC 9112, 9.6).
"""

DROP = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which closing a socket drops unsent data."""


class Phase(StrEnum):
    """What a connection is waiting for."""

    NEW = "new"
    HEADER = "header"
    BODY = "body"
    COMPLETE = "complete"
    REFUSED = "refused"


PATIENCE_S = {Phase.NEW: HEADER_S, Phase.HEADER: HEADER_S, Phase.BODY: BODY_S}


class HeaderRefused(Exception):
    """The header is refused. Raised in a callback, it ends the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Timers run only while a part of a request is missing."""

    _phase = Phase.NEW
    _received_bytes = 0
    _message_bytes = 0
    _body_bytes = 0
    _chunks = 0
    _begun = 0
    _thrown_away_bytes = 0
    _refused_with = 400
    _offers_upgrade = False
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _stopped: asyncio.Future[None] | None = None
    _stops = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        self._write_batch = write_batch_of(self.loop)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers, and end the long polls of this connection."""
        self._stop_waiting()
        self._stop_write_timer()
        self.stop_long_polls()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller reads more slowly than data is sent: start its deadline."""
        super().pause_writing()
        self._write_timer = self._write_timer or self.loop.call_later(WRITE_S, self.cut)

    def cut(self) -> None:
        """End the connection, and drop what its caller has not read. Otherwise the system would go on sending it."""
        self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, DROP)
        self.transport.abort()

    def resume_writing(self) -> None:
        """The caller has read enough for more to be sent."""
        self._stop_write_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and start the timer for what is still missing."""
        phase = self._phase
        if phase is Phase.REFUSED:
            self._throw_away(data)
            return
        self._received_bytes, self._begun = len(data), 0
        self._unset_keepalive_if_required()
        if not self._parsed(data):
            self.send_400_response("")
            return
        self._count(phase)
        if self._is_too_large():
            self._refuse(431)
            return
        if self._phase is not phase or self._phase is Phase.COMPLETE:
            self._stop_waiting()
        self._wait()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller sends nothing more, but may still read: keep the connection until a whole request is answered."""
        cycle: RequestResponseCycle | None = self.cycle
        if self._phase is not Phase.COMPLETE or cycle is None or cycle.response_complete:
            return False
        cycle.keep_alive = False
        self.stop_long_polls()
        return True

    def on_message_begin(self) -> None:
        """A request begins."""
        self._phase, self._message_bytes, self._body_bytes, self._chunks = Phase.HEADER, 0, 0, 0
        self._begun += 1
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the header. The parser also reports the fields of a trailer, which are dropped."""
        if self._phase is Phase.HEADER:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the header before it is used."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offers_upgrade = True
            return
        status = fault_of_header(
            self.headers,
            self.url,
            method=self.parser.get_method(),
            version=self.parser.get_http_version(),
            received_bytes=self._message_bytes + self._received_bytes,
        )
        if status is not None:
            self._refused_with = status
            raise HeaderRefused
        if self.url == SERVER:
            self.scope[WHOLE_SERVER] = True  # type: ignore[literal-required]
            self.url = b"/"
        super().on_headers_complete()
        self._phase = Phase.BODY

    def on_chunk_header(self) -> None:
        """Count the chunks of a body."""
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        """Count a body's bytes, and keep them for the application."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        if self._offers_upgrade:
            return
        self._phase = Phase.COMPLETE
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer data that is not HTTP, or over a limit, with a problem."""
        del msg
        self._refuse(self._refused_with)

    def stopped(self) -> asyncio.Future[None]:
        """A future that is done once no request of this connection should wait for a change any longer."""
        if self._stopped is None:
            self._stopped = self.loop.create_future()
            if self._stops:
                self._stopped.set_result(None)
        return self._stopped

    def stop_long_polls(self) -> None:
        """Have requests that wait for a change answered now: the caller stopped sending, or the server ends."""
        self._stops = True
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    @property
    def phase(self) -> Phase:
        """What the connection is waiting for."""
        return self._phase

    def close_after_answer(self) -> None:
        """Announce in the answer to the latest request that the connection closes."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection if no request is under way. Answers of this turn are written first.

        A request that is still arriving is under way; its own deadline ends it.
        """
        self._write_batch.send()
        if self._phase not in {Phase.HEADER, Phase.BODY}:
            super().shutdown()

    def _parsed(self, data: bytes) -> bool:
        """Whether the parser accepts the data."""
        try:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                self._decline_upgrade(data[upgrade.args[0] :])
        except HttpParserError:
            return False
        return True

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its offer to upgrade, and then the rest of the data.

        The parser ends at such a header and takes the body for another protocol, so a new parser continues.
        """
        while self._offers_upgrade:
            self._offers_upgrade = False
            version = self.parser.get_http_version().encode()
            lines = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)]
            lines += [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(b"".join(lines) + b"\r\n")
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]

    def _count(self, phase: Phase) -> None:
        """Count the received bytes of the message; `phase` is the phase before them.

        In data of several messages, the beginning of the last one is not known, so that part is not counted.
        """
        if not self._begun:
            self._message_bytes += self._received_bytes
        elif self._begun == 1 and phase in {Phase.NEW, Phase.COMPLETE}:
            self._message_bytes = self._received_bytes

    def _is_too_large(self) -> bool:
        """Whether the header so far, or the framing of the body so far, is over its limit."""
        if self._phase is Phase.HEADER:
            return self._message_bytes > HEADER_BYTES_MAX
        if not self._chunks:
            return False
        framing_bytes = self._message_bytes - self._body_bytes - self._chunks * FRAMING_BYTES_PER_CHUNK
        return framing_bytes > FRAMING_BYTES_MAX

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401  (uvicorn's)
        """Add to the scope what this server offers, and start the application."""
        cycle.scope[WRITE_WHOLE] = partial(write_whole, cycle, self._write_batch)  # type: ignore[literal-required]
        cycle.scope[STOPPED] = self.stopped  # type: ignore[literal-required]
        cycle.scope[ABORT] = self.cut  # type: ignore[literal-required]
        if STOPPING in self.app_state and cycle is self.cycle:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _wait(self) -> None:
        patience_s = PATIENCE_S.get(self._phase)
        if patience_s is not None and self._timer is None:
            self._timer = self.loop.call_later(patience_s, self._run_out)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _run_out(self) -> None:
        """The caller took too long. A caller that sent nothing at all is not answered."""
        if self._phase is Phase.NEW:
            self.transport.close()
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer with a problem, unless an answer has begun, and close the connection."""
        self._stop_waiting()
        self._write_batch.send()
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        # Until its header is complete, the request at fault has no cycle of its own: this is the one before it.
        answers_before = self._phase is Phase.HEADER and cycle is not None and cycle.response_complete
        if cycle is None or answers_before or not cycle.response_started:
            self.transport.write(_problem(status))
        self._linger()
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _linger(self) -> None:
        """Close the connection for writing, and read and drop data for a moment."""
        self._phase = Phase.REFUSED
        if self.pipeline or not self.transport.can_write_eof():
            # The answer to an earlier request may be under way. It ends here.
            self.transport.close()
            return
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _throw_away(self, data: bytes) -> None:
        self._thrown_away_bytes += len(data)
        if self._thrown_away_bytes > LINGER_BYTES_MAX:
            self.transport.close()


def _problem(status: int) -> bytes:
    request_id = uuid4().hex
    body = problem_content(status, request_id=request_id)
    fields = {
        "content-type": PROBLEM_MEDIA_TYPE,
        "content-length": str(len(body)),
        "x-request-id": request_id,
        **{name.decode(): value.decode() for name, value in (onsale_time(), *SECURITY_HEADERS, NO_STORE, CSP)},
        "connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return STATUS_LINE[status] + head.encode() + b"\r\n" + body
