"""Where messages come in: each goes to the route of its stream, or is counted as refused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from engine.adapters.live.routes import Route
from engine.adapters.live.spec import Listed
from engine.adapters.live.wire import MAX_MESSAGE, Envelope, Reason, Refused, reason_of

PREFIX = b'{"stream":"'

Tap = Callable[[Listed, int, bytes], None]
"""Is given every accepted message and snapshot: instrument, arrival ns, bytes as received."""

Accept = Callable[[bytes, int], None]

_DECODE_ENVELOPE = msgspec.json.Decoder(Envelope).decode


@dataclass
class Counts:
    """What a feed went through since it started."""

    connects: int = 0
    reconnects: int = 0
    failed_connects: int = 0
    rotations: int = 0
    stalls: int = 0
    resyncs: int = 0
    failed_snapshots: int = 0
    pauses: int = 0
    silent_streams: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


class Inbox:
    """Messages of the streams of one connection. Nothing that a venue sends makes it raise.

    `messages` and `bytes` count what came in, refused or not. `heard` has a byte for each stream, in the order of
    `routes`, that every message of it sets.
    """

    def __init__(self, routes: dict[str, Route], counts: Counts, tap: Tap | None = None) -> None:
        self.messages = 0
        self.bytes = 0
        self.heard = bytearray(len(routes))
        self._by_stream = {
            stream: (route.accept, route.listed, place) for place, (stream, route) in enumerate(routes.items())
        }
        self._by_prefix = {PREFIX + stream.encode(): taker for stream, taker in self._by_stream.items()}
        self._counts = counts
        self._tap = tap

    def receive(self, message: bytes, arrival_ns: int) -> None:
        """Take one message. Refusals are counted by reason."""
        size = len(message)
        self.messages += 1
        self.bytes += size
        try:
            if size > MAX_MESSAGE:
                raise Refused(Reason.TOO_LARGE)
            found = self._by_prefix.get(message[: message.find(b'"', 11)])
            accept, listed, place = found or self._find(message)
            self.heard[place] = 1
            accept(message, arrival_ns)
        except (Refused, msgspec.DecodeError, ValueError, RecursionError) as error:
            self.refuse(reason_of(error))
            return
        if self._tap is not None:
            self._tap(listed, arrival_ns, message)

    def refuse(self, reason: Reason) -> None:
        """Count a refusal."""
        self._counts.refused[reason] += 1

    def _find(self, message: bytes) -> tuple[Accept, Listed, int]:
        """Where a message goes whose keys come in another order, or with spaces. Raises Refused."""
        found = self._by_stream.get(_DECODE_ENVELOPE(message).stream)
        if found is None:
            raise Refused(Reason.STREAM)
        return found
