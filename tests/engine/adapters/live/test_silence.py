"""One silent stream among lively ones: noticed in its time, told of once."""

import pytest

from engine.adapters.live.inbox import Counts
from engine.adapters.live.silence import StreamWatch

STREAMS = ("btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms")


def watch() -> tuple[StreamWatch, Counts]:
    counts = Counts()
    streams = StreamWatch(STREAMS, 10.0, counts)
    streams.begin(0.0)
    return streams, counts


@pytest.mark.parametrize(("place", "limit_s", "reconnects"), [(0, 60.0, False), (1, 30.0, True), (2, 30.0, True)])
def test_a_stream_counts_as_silent_after_its_limit_and_only_once(place: int, limit_s: float, reconnects: bool) -> None:
    streams, counts = watch()
    others = bytes(number != place for number in range(3))

    assert not streams.check(bytearray(others), limit_s)
    assert counts.silent_streams == 0
    assert streams.check(bytearray(others), limit_s + 1) is reconnects
    assert not streams.check(bytearray(others), limit_s + 2)
    streams.begin(limit_s + 3)
    assert not streams.check(bytearray(others), 3 * limit_s)
    assert counts.silent_streams == 1


def test_a_stream_that_comes_back_can_fall_silent_again() -> None:
    streams, counts = watch()

    assert streams.check(bytearray(b"\1\0\1"), 31.0)
    assert not streams.check(bytearray(b"\1\1\1"), 40.0)
    assert not streams.check(bytearray(b"\1\0\1"), 70.0)
    assert streams.check(bytearray(b"\1\0\1"), 71.0)
    assert counts.silent_streams == 2


def test_what_was_heard_is_taken_note_of_once() -> None:
    streams, _ = watch()
    heard = bytearray(b"\1\1\1")

    streams.check(heard, 1.0)

    assert heard == b"\0\0\0"
