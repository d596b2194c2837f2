"""HTTP on a connection, with what uvicorn leaves out.

Limits: the size of the header and of what surrounds a body, the time for header and body. Trailer fields are dropped,
offers to upgrade are ignored, and a caller that stops sending is still answered. And a way to answer in one piece:
uvicorn writes head and body apart, each with a system call of its own, after it has searched every field for what may
not stand in it. Such answers leave at the end of a turn of the loop (api.http.write_batch).
"""

from __future__ import annotations

import re
import struct
from enum import StrEnum
from functools import partial
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.http.downloads import ABORT
from api.http.middleware import CSP, NO_STORE, SECURITY_HEADERS, WRITE_WHOLE
from api.http.options import WHOLE_SERVER
from api.http.problems import PROBLEM_MEDIA_TYPE, problem_content
from api.http.write_batch import outbox_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from api.http.headers import Field
    from api.http.write_batch import Outbox

STOPPED = "stopped"
"""Where in a request's scope a server of ours leaves a function that gives a future: done once the request should not
wait for a change any longer, because its caller stopped sending or the server ends (api.http.connection)."""

HEADER_BYTES_MAX = 32_768
HEADER_FIELDS_MAX = 100
URL_BYTES_MAX = 8_192

FRAMING_BYTES_MAX = HEADER_BYTES_MAX + 16_384
"""What a request with a body in chunks may have besides the body: header, chunk extensions and trailer."""

FRAMING_BYTES_PER_CHUNK = 12
"""A chunk's size and two line ends, which do not count: a body may come in chunks of one byte."""

HEADER_S = 5.0
"""From the connection, or the first byte of a request, to the end of its header."""

BODY_S = 10.0
"""From the end of the header to the end of the body: 64 KiB at the slowest mobile network."""


WRITE_S = 10.0
"""How long a caller may take nothing of an answer that waits for it: 48 KiB at the slowest mobile network."""

LINGER_S = 1.0
LINGER_BYTES_MAX = 262_144
"""How much of what a refused caller still sends is thrown away, and for how long: closed at once, the connection
would be reset, and the caller might never read why (RFC 9112, 9.6)."""


DROP = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which closing a socket drops what is not sent."""


class Phase(StrEnum):
    """What a connection is waiting for."""

    NEW = "new"
    HEADER = "header"
    BODY = "body"
    COMPLETE = "complete"
    REFUSED = "refused"


PATIENCE_S = {Phase.NEW: HEADER_S, Phase.HEADER: HEADER_S, Phase.BODY: BODY_S}


CHUNKED = b"chunked"

CONTINUE = b"100-continue"
"""The only expectation that there is (RFC 9110, 10.1.1)."""

STOPPING = "stopping"
"""Where in the state that a server gives its requests it stands that it has been told to end (api.http.server)."""

SERVER = b"*"
"""What OPTIONS names to ask for the whole server (RFC 9110, 9.3.7)."""

HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%-]*(?::\d{0,5})?|\[[0-9A-Fa-f:.]+\](?::\d{0,5})?")
"""A name or address, and a port (RFC 3986, 3.2.2)."""


class HeaderRefused(Exception):
    """The header is over a limit, or asks for something that this server does not do; ends the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Timers run only while a part of a request is missing, so a whole request costs none."""

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
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._outbox = outbox_of(self.loop)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._stop_write_timer()
        self.stop_long_polls()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller takes less than is sent: give it a deadline to take some."""
        super().pause_writing()
        self._write_timer = self._write_timer or self.loop.call_later(WRITE_S, self.cut)

    def cut(self) -> None:
        """End the connection, and drop what its caller has not taken. The system would go on sending that."""
        self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, DROP)
        self.transport.abort()

    def resume_writing(self) -> None:
        """The caller has taken enough for more to be sent."""
        self._stop_write_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and wait for what is still missing."""
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
        """Answer a whole request: its caller sends nothing more, and may still read."""
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
        """Take a field of the header. The parser hands over those of a trailer too: they are dropped."""
        if self._phase is Phase.HEADER:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the header before anything is done with it."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._offers_upgrade = True
            return
        status = self._fault_of_header()
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
        """Count a body's bytes, and keep them for its reader."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._offers_upgrade:
            return
        self._phase = Phase.COMPLETE
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or over a limit, with a problem."""
        del msg
        self._refuse(self._refused_with)

    def stopped(self) -> asyncio.Future[None]:
        """Done once no request of this connection should wait for a change any longer."""
        if self._stopped is None:
            self._stopped = self.loop.create_future()
            if self._stops:
                self._stopped.set_result(None)
        return self._stopped

    def stop_long_polls(self) -> None:
        """Let requests that wait for a change be answered now: the caller stopped sending, or the server ends."""
        self._stops = True
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    @property
    def phase(self) -> Phase:
        """What the connection is waiting for."""
        return self._phase

    def close_after_answer(self) -> None:
        """Have the answer to the latest request say that the connection closes."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """End when nothing is under way, as the server ends; answers that are on their way go first.

        A request that is arriving is under way: its own deadline ends it.
        """
        self._outbox.send()
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
        """Read the request again as if it offered no upgrade, and then what follows its header.

        The parser ends at such a header and takes the body for another protocol, so a new one continues.
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

    def _fault_of_header(self) -> int | None:
        """The status for a header that is too large, or asks for something that this server does not do."""
        if len(self.headers) > HEADER_FIELDS_MAX or self._header_is_too_large():
            return 431
        if len(self.url) > URL_BYTES_MAX:
            return 414
        hosts, codings, expected = [], [], []
        for name, value in self.headers:
            if name == b"host":
                hosts.append(value)
            elif name == b"transfer-encoding":
                codings += _members(value)
            elif name == b"expect":
                expected += _members(value)
        old = self.parser.get_http_version() == "1.0"
        # RFC 9112, 3.2: which of two names is asked for, two servers may read differently.
        if (hosts or not old) and (len(hosts) != 1 or not HOST.fullmatch(hosts[0])):
            return 400
        if self.url == SERVER and self.parser.get_method() != b"OPTIONS":
            return 400
        if expected and not old and set(expected) != {CONTINUE}:
            return 417
        return _fault_of_codings(codings, old=old) if codings else None

    def _header_is_too_large(self) -> bool:
        """Counted field by field only where what was received is more than a header may have."""
        if self._message_bytes + self._received_bytes <= HEADER_BYTES_MAX:
            return False
        return sum(len(name) + len(value) for name, value in self.headers) > HEADER_BYTES_MAX

    def _count(self, phase: Phase) -> None:
        """Count what was just received of the message; `phase` is where the connection was before.

        In data of several messages the beginning of the last is not known: that part is not counted.
        """
        if not self._begun:
            self._message_bytes += self._received_bytes
        elif self._begun == 1 and phase in {Phase.NEW, Phase.COMPLETE}:
            self._message_bytes = self._received_bytes

    def _is_too_large(self) -> bool:
        """Whether the header so far, or everything around the body so far, is over its limit."""
        if self._phase is Phase.HEADER:
            return self._message_bytes > HEADER_BYTES_MAX
        if not self._chunks:
            return False
        framing_bytes = self._message_bytes - self._body_bytes - self._chunks * FRAMING_BYTES_PER_CHUNK
        return framing_bytes > FRAMING_BYTES_MAX

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401  (uvicorn's)
        """Let the application answer in one piece, if it wants to."""
        cycle.scope[WRITE_WHOLE] = partial(write_whole, cycle, self._outbox)  # type: ignore[literal-required]
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
        # Before its header is complete, the request at fault has no cycle yet: this is the one before.
        answers_before = self._phase is Phase.HEADER and cycle is not None and cycle.response_complete
        if cycle is None or answers_before or not cycle.response_started:
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


def write_whole(  # noqa: PLR0913, PLR0917  (bound to a request in one place, called in one place)
    cycle: RequestResponseCycle, outbox: Outbox, status: int, fields: Iterable[Field], lines: bytes, body: bytes
) -> bool:
    """Answer a request that is not a HEAD with one write; False, and nothing done, when that cannot be now.

    `fields` have the content's length, if it has content, and names in lower case. `lines` are constant fields as they
    are written.

    Raises:
        ValueError: a line break stands in a field.
    """
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
        return False
    written = [b"%b: %b\r\n" % field for field in (*cycle.default_headers, *fields)]
    if not cycle.keep_alive:
        written.append(b"connection: close\r\n")
    head = b"".join(written)
    if head.count(b"\n") != len(written) or head.count(b"\r") != len(written):
        message = "a line break in a field of the header"
        raise ValueError(message)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    outbox.put(cycle.transport, b"%b%b%b\r\n%b" % (STATUS_LINE[status], head, lines, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        outbox.send()
        cycle.transport.close()
    cycle.on_response()
    return True


def _members(value: bytes) -> list[bytes]:
    """The members of a list in a field, in lower case."""
    return [member.strip() for member in value.lower().split(b",") if member.strip()]


def _fault_of_codings(codings: list[bytes], *, old: bool) -> int | None:
    """The status for transfer codings other than `chunked`, None for that one.

    400 where nobody can know where the body ends (RFC 9112, 6.1 and 6.3).
    """
    if old or codings[-1].partition(b";")[0].strip() != CHUNKED or codings.count(CHUNKED) > 1:
        return 400
    return None if codings == [CHUNKED] else 501


def _problem(status: int) -> bytes:
    request_id = uuid4().hex
    body = problem_content(status, request_id=request_id)
    fields = {
        "content-type": PROBLEM_MEDIA_TYPE,
        "content-length": str(len(body)),
        "x-request-id": request_id,
        **{name.decode(): value.decode() for name, value in (*SECURITY_HEADERS, NO_STORE, CSP)},
        "connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return STATUS_LINE[status] + head.encode() + b"\r\n" + body
