"""One websocket: which frames become messages, and when."""

from typing import Any

import pytest
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from engine.adapters.live.batches import Turn
from engine.adapters.live.connection import Connection
from engine.adapters.live.inbox import Counts, Inbox
from engine.adapters.live.wire import MAX_MESSAGE
from engine.clock import FakeClock
from tests.engine.adapters.live.test_batches import HandLoop

TEXT, BINARY, MORE, CLOSE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION, WSMsgType.CLOSE


class Noting(Inbox):
    """An inbox that only notes what it is given."""

    def __init__(self) -> None:
        self.counts = Counts()
        super().__init__({}, self.counts)
        self.noted: list[bytes] = []

    def receive(self, message: bytes, arrival_ns: int) -> None:
        self.noted.append(message)


class Socket:
    """A transport that is only ever told to disconnect."""

    is_disconnected = False

    def disconnect(self, graceful: bool = True) -> None:
        self.is_disconnected = True


@pytest.fixture
def inbox() -> Noting:
    return Noting()


def connection_to(inbox: Inbox, hold: bool = False) -> tuple[Connection, Any]:
    connection = Connection(inbox, Turn(FakeClock(), HandLoop(), lambda batches: None), hold)
    socket: Any = Socket()
    connection.on_ws_connected(socket)
    return connection, socket


def send(connection: Connection, socket: Any, payload: bytes, kind: WSMsgType = TEXT, fin: bool = True) -> None:
    connection.on_ws_frame(socket, _make_test_ws_frame(kind, payload, fin, False))


def test_held_messages_pass_in_order_once_released(inbox: Noting) -> None:
    connection, socket = connection_to(inbox, hold=True)

    for payload in (b"1", b"2"):
        send(connection, socket, payload)
    before = list(inbox.noted)
    connection.release()
    send(connection, socket, b"3")

    assert before == []
    assert inbox.noted == [b"1", b"2", b"3"]


def test_nothing_passes_once_the_connection_is_closed(inbox: Noting) -> None:
    connection, socket = connection_to(inbox)

    connection.close()
    send(connection, socket, b"1")

    assert socket.is_disconnected
    assert inbox.noted == []


def test_a_message_in_parts_is_joined(inbox: Noting) -> None:
    connection, socket = connection_to(inbox)

    send(connection, socket, b"a", fin=False)
    send(connection, socket, b"b", MORE, fin=False)
    send(connection, socket, b"c", MORE)
    send(connection, socket, b"next")

    assert inbox.noted == [b"abc", b"next"]


def test_an_endless_message_in_parts_keeps_no_more_than_the_limit(inbox: Noting) -> None:
    connection, socket = connection_to(inbox)
    part = b"x" * (MAX_MESSAGE // 4)

    for number in range(50):
        send(connection, socket, part, MORE if number else TEXT, fin=False)
    send(connection, socket, b"", MORE)

    assert MAX_MESSAGE < len(inbox.noted[0]) <= MAX_MESSAGE + len(part)


def test_what_is_not_text_is_counted(inbox: Noting) -> None:
    connection, socket = connection_to(inbox)

    send(connection, socket, b"\x00\x01", BINARY)

    assert inbox.counts.refused == {"not_text": 1}
    assert inbox.noted == []


def test_a_close_frame_ends_the_connection(inbox: Noting) -> None:
    connection, socket = connection_to(inbox)

    send(connection, socket, (1001).to_bytes(2, "big"), CLOSE)

    assert socket.is_disconnected
