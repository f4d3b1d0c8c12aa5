"""One websocket: frames become messages, reading can be paused, silence can be told."""

import asyncio
from collections.abc import Callable

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from engine.adapters.live.batches import Turn
from engine.adapters.live.inbox import Inbox
from engine.adapters.live.wire import MAX_MESSAGE, Reason

TEXT, BINARY, CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
CLOSE = WSMsgType.CLOSE

MAX_FRAME = 16 * MAX_MESSAGE
"""Larger messages than MAX_MESSAGE are refused one by one; a larger frame than this ends the connection."""

CONNECT_TIMEOUT_S = 10.0


class Connection(WSListener):
    """One open websocket. One opened with `hold` keeps its messages back until `release`."""

    def __init__(self, inbox: Inbox, turn: Turn, hold: bool) -> None:
        self.closed = asyncio.Event()
        self.held: list[bytes] = []
        self._receive: Callable[[bytes, int], None] = self._hold if hold else inbox.receive
        self._inbox = inbox
        self._turn = turn
        self._is_paused = False
        self._parts: list[bytes] = []
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.closed.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is TEXT and frame.fin:
            self._receive(frame.get_payload_as_bytes(), self._turn.arrival_ns or self._turn.begin())
        elif frame.msg_type is TEXT or frame.msg_type is CONTINUATION:
            self._take_part(frame.get_payload_as_bytes(), frame.fin)
        elif frame.msg_type is CLOSE:
            transport.disconnect()
        elif frame.msg_type is BINARY:
            self._inbox.refuse(Reason.NOT_TEXT)

    def release(self) -> None:
        """Let pass what was held back, and what comes from now on."""
        arrival_ns = self._turn.begin()
        for message in self.held:
            self._inbox.receive(message, arrival_ns)
        self.held = []
        self._receive = self._inbox.receive

    def close(self) -> None:
        """End the connection without waiting for the other side, and ignore whatever still comes."""
        self._receive = _ignore
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def pause(self) -> None:
        """Leave what comes in the socket; the venue sees a slow reader, nothing is lost."""
        if self._transport is not None and not self._is_paused and not self.closed.is_set():
            self._transport.underlying_transport.pause_reading()
            self._is_paused = True

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and self._is_paused and not self.closed.is_set():
            self._is_paused = False
            self._transport.underlying_transport.resume_reading()

    def _hold(self, message: bytes, arrival_ns: int) -> None:
        self.held.append(message)

    def _take_part(self, part: bytes, is_last: bool) -> None:
        """Join a fragmented message, of which no more than the largest allowed is kept."""
        if sum(map(len, self._parts)) <= MAX_MESSAGE:
            self._parts.append(part)
        if is_last:
            message = b"".join(self._parts)
            self._parts.clear()
            self._receive(message, self._turn.arrival_ns or self._turn.begin())


def _ignore(message: bytes, arrival_ns: int) -> None:
    """A message of a connection that is over."""


async def connect(url: str, inbox: Inbox, turn: Turn, hold: bool) -> Connection:
    """Open a websocket. Raises OSError, picows.WSError or TimeoutError."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, connection = await ws_connect(
            lambda: Connection(inbox, turn, hold), url, max_frame_size=MAX_FRAME, logger_name="live"
        )
    assert isinstance(connection, Connection)
    return connection
