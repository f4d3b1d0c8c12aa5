"""The service's control door: a Unix socket, one JSON object per line, own user only.

Nothing on this path needs Prefect, Slack or a network.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from engine.adapters.control_client import inside
from engine.errors import GraygateError, RefusedError

Command = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

MAX_LINE = 1 << 20


def bind_socket(path: Path) -> socket.socket:
    """Create the socket with mode 0600. A relative path keeps it within the 107 bytes a socket name may have."""
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        with inside(path.parent):
            door.bind(path.name)
    finally:
        os.umask(previous)
    return door


async def serve_control(door: socket.socket, commands: dict[str, Command]) -> asyncio.Server:
    """Answer commands until the server is closed. A refusal is an answer, not a crash."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.LimitOverrunError, ValueError):
            if _peer_uid(writer) == os.getuid():
                while line := await reader.readline():
                    writer.write(json.dumps(await _run(line, commands)).encode() + b"\n")
                    await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(answer, sock=door, limit=MAX_LINE)


async def _run(line: bytes, commands: dict[str, Command]) -> dict[str, Any]:
    try:
        request = json.loads(line)
        name = request.pop("command")
        if name not in commands:
            raise RefusedError(f"unknown command {name!r}")
        return {"ok": True, **await commands[name](request)}
    except GraygateError as error:
        return {"ok": False, "error": str(error), "refused": isinstance(error, RefusedError)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"ok": False, "error": f"malformed request: {error}", "refused": True}


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
