"""A venue on 127.0.0.1: plays a tape over websockets and REST as Binance would, with faults on request.

`python -m benchmarks.wire_server SPEC.json` prints one JSON line with its port and plays once enough clients are
there. In a test, `serving(tape, spec)` does the same inside the test's own loop. A market's addresses are
`ws://127.0.0.1:PORT/usdm` and `http://127.0.0.1:PORT/usdm`.
"""

import asyncio
import contextlib
import json
import mmap
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from benchmarks.wire_tape import Instrument, Tape, TapeBook, WireMessage, WireSpec, open_tape, retimed
from engine.clock import NS_PER_MS, NS_PER_S, SystemClock

CHUNK = 64 * 1024
SOONER_NS = NS_PER_MS
"""A sleep ends about a millisecond late; shorter waits are spun."""


class Client(WSListener):
    """One connection and the streams it asked for."""

    def __init__(self, server: "WireServer", market: str, streams: frozenset[str]) -> None:
        self.market = market
        self.streams = streams
        self.gone = asyncio.Event()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.transport: WSTransport | None = None
        self._server = server
        self._waiting: list[bytes] = []
        self._size = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self._server.joined(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.may_write.set()
        self.gone.set()
        self._server.left(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Nothing that a client says changes anything."""

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def add(self, framed: bytes) -> None:
        """Send soon: what is added together leaves in one write."""
        self._waiting.append(framed)
        self._size += len(framed)
        if self._size > CHUNK:
            self.flush()

    def flush(self) -> None:
        """Send now."""
        if self._waiting and self.transport is not None and not self.transport.is_disconnected:
            self.transport.underlying_transport.write(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0

    def end(self) -> None:
        """Throw the client out."""
        if self.transport is not None:
            self.transport.disconnect()


class WireServer:
    """Plays one tape to whoever listens. `sent` are the messages that went out, in order, copies included."""

    def __init__(self, tape: Tape, spec: WireSpec) -> None:
        self.sent: list[WireMessage] = []
        self.place = 0
        self.clients: set[Client] = set()
        self.connections = 0
        self.snapshots_served: list[Instrument] = []
        self.port = 0
        self.times_asked = 0
        self._tape = tape
        self._spec = spec
        self._enough = asyncio.Event()
        self._clock = SystemClock()
        self._log = _open_log(spec.send_log, len(tape.messages))
        diffs: dict[Instrument, list[tuple[int, bytes]]] = defaultdict(list)
        for place, message in enumerate(tape.messages):
            if "@depth" in message.stream:
                diffs[message.instrument].append((place, message.text))
        self._books = {one: TapeBook(text, diffs[one]) for one, text in tape.snapshots.items()}

    @property
    def is_over(self) -> bool:
        """Whether the whole tape was played."""
        return self.place == len(self._tape.messages)

    def joined(self, client: Client) -> None:
        """A client has connected."""
        self.clients.add(client)
        self.connections += 1
        if len(self.clients) >= self._spec.clients:
            self._enough.set()

    def left(self, client: Client) -> None:
        """A client is gone."""
        self.clients.discard(client)

    def answer(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        """A websocket client, or the snapshot or the time that was asked for."""
        url = urlsplit(request.path.decode())
        market = url.path.split("/")[1]
        query = parse_qs(url.query)
        if "streams" in query:
            return Client(self, market, frozenset(query["streams"][0].split("/")))
        if url.path.endswith("/time"):
            return self._tell_time()
        instrument = (market, query.get("symbol", [""])[0])
        if not url.path.endswith("/depth") or instrument not in self._books:
            return _answer(HTTPStatus.NOT_FOUND, b"")
        self.snapshots_served.append(instrument)
        body = self._books[instrument].at(self.place)
        return _answer(HTTPStatus.OK, body)

    async def play(self) -> None:
        """Send the tape to its end."""
        await self._enough.wait()
        faults, messages = self._spec.faults, self._tape.messages
        start_ns, first_ns = self._clock.mono_ns(), messages[0].at_ns
        lost_until = 0
        for place, message in enumerate(messages):
            self.place = place
            if place in faults.disconnect:
                await self._throw_out()
                lost_until = place + faults.lose
            if place == lost_until or place == faults.stall:
                self._flush()
                await self._enough.wait() if place != faults.stall else await self._stall()
            if self._spec.speed or self._spec.rate:
                await self._wait_until(start_ns + self._due_ns(place, message.at_ns - first_ns))
            if place >= lost_until and place not in faults.drop and not self._is_muted(place, message.stream):
                for text in faults.inject.get(place, ()):
                    self._send(message, text.encode())
                for _ in range(2 if place in faults.duplicate else 1):
                    self._send(message, retimed(message.text, self._now_ns()) if self._spec.retime else message.text)
                    self.sent.append(message)
                await self._give_way(place)
        self._flush()
        self.place = len(messages)

    def _now_ns(self) -> int:
        return self._clock.now_ns() + round(self._spec.skew_s * NS_PER_S)

    def _tell_time(self) -> WSUpgradeResponseWithListener:
        self.times_asked += 1
        if self.times_asked <= self._spec.faults.time_failures:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, b"")
        return _answer(HTTPStatus.OK, b'{"serverTime":%d}' % (self._now_ns() // NS_PER_MS))

    def _is_muted(self, place: int, stream: str) -> bool:
        return self.connections <= self._spec.clients and place >= self._spec.faults.mute.get(stream, place + 1)

    def _due_ns(self, place: int, since_first_ns: int) -> int:
        return round(place * NS_PER_S / self._spec.rate if self._spec.rate else since_first_ns / self._spec.speed)

    async def _wait_until(self, due_ns: int) -> None:
        ahead_ns = due_ns - self._clock.mono_ns()
        if ahead_ns <= 0:
            return
        self._flush()
        while ahead_ns > 0:
            await asyncio.sleep((ahead_ns - SOONER_NS) / NS_PER_S if ahead_ns > 2 * SOONER_NS else 0)
            ahead_ns = due_ns - self._clock.mono_ns()

    def _send(self, message: WireMessage, text: bytes) -> None:
        framed = frame(text)
        for client in self.clients:
            if message.stream in client.streams and message.instrument[0] == client.market:
                if self._log is not None:
                    struct.pack_into("=q", self._log, 8 * len(self.sent), self._clock.mono_ns())
                client.add(framed)

    async def _give_way(self, place: int) -> None:
        """Let the other side read, and wait where it does not keep up."""
        if place % 256 == 0 and not (self._spec.speed or self._spec.rate):
            await asyncio.sleep(0)
        for client in list(self.clients):
            if not client.may_write.is_set():
                await client.may_write.wait()

    def _flush(self) -> None:
        for client in self.clients:
            client.flush()

    async def _throw_out(self) -> None:
        self._flush()
        self._enough.clear()
        for client in list(self.clients):
            client.end()
            await client.gone.wait()

    async def _stall(self) -> None:
        self._enough.clear()
        for client in list(self.clients):
            await client.gone.wait()
        await self._enough.wait()


def _answer(status: HTTPStatus, body: bytes) -> WSUpgradeResponseWithListener:
    response = WSUpgradeResponse.create_error_response(HTTPStatus.NOT_FOUND, body)
    response.status = status
    return WSUpgradeResponseWithListener(response, None)


def frame(text: bytes) -> bytes:
    """A text frame from a server, which does not mask (RFC 6455, section 5.2)."""
    size = len(text)
    if size < 126:
        return b"\x81" + bytes([size]) + text
    if size < 2**16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text


@contextlib.asynccontextmanager
async def serving(tape: Tape, spec: WireSpec, port: int = 0) -> AsyncIterator[WireServer]:
    """Serve inside this loop; playing begins once enough clients are there. `port` 0 is any free one."""
    server = WireServer(tape, spec)
    door = await ws_create_server(server.answer, "127.0.0.1", port)
    server.port = door.sockets[0].getsockname()[1]
    playing = asyncio.ensure_future(server.play())
    try:
        yield server
        if playing.done():
            playing.result()
    finally:
        playing.cancel()
        for client in list(server.clients):
            client.end()
        door.close()


@contextlib.contextmanager
def wire_process(spec: WireSpec) -> Iterator[int]:
    """Serve in a process of its own; yields the port."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(msgspec.json.encode(spec))
        command = [sys.executable, "-m", "benchmarks.wire_server", file.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as process:
            try:
                assert process.stdout is not None
                yield int(json.loads(process.stdout.readline())["port"])
            finally:
                process.terminate()


def _open_log(path: str | None, count: int) -> mmap.mmap | None:
    if path is None:
        return None
    Path(path).write_bytes(bytes(8 * count))
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 8 * count)


async def _serve_forever(spec: WireSpec) -> None:
    tape = open_tape(spec)
    async with serving(tape, spec) as server:
        print(json.dumps({"port": server.port, "messages": len(tape.messages)}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve_forever(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=WireSpec)))
