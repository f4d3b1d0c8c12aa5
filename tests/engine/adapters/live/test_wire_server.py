"""The venue that tests and benchmarks listen to does what its specification says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.wire_server import frame
from benchmarks.wire_tape import TapeBook, WireSpec, make_tape, open_tape
from engine.clock import NS_PER_S, SystemClock
from tests.engine.adapters.live.hearing import RAW_A, listen, needs_raw, plain_book

TAPE = make_tape(600, seed=4)


def test_a_rate_paces_the_tape() -> None:
    clock = SystemClock()
    begun_ns = clock.mono_ns()

    listen(TAPE, WireSpec(rate=1_000.0))

    assert (clock.mono_ns() - begun_ns) / NS_PER_S > 0.58


def test_the_send_log_has_one_rising_time_for_each_message(tmp_path: Path) -> None:
    path = tmp_path / "sent.i64"
    before_ns = SystemClock().mono_ns()

    _, feed, server = listen(TAPE, WireSpec(speed=5.0, send_log=str(path)))

    times = np.fromfile(path, np.int64)
    assert len(times) == len(server.sent) == feed.messages == len(TAPE.messages)
    assert before_ns < times[0] <= times[-1] < SystemClock().mono_ns()
    assert (np.diff(times) >= 0).all()


def test_retimed_messages_carry_the_time_of_sending() -> None:
    now_ns = SystemClock().now_ns()
    texts = list[bytes]()

    heard, _, _ = listen(TAPE, WireSpec(retime=True), tap=lambda listed, arrival_ns, text: texts.append(text))

    assert all(abs(row[6] - now_ns) < 30 * NS_PER_S for row in heard.rows("BTCUSDT.binance_usdm"))
    untimed = [re.sub(rb'"[ET]":\d{13}', b"", text) for text in texts if text.startswith(b'{"stream"')]
    assert untimed == [re.sub(rb'"[ET]":\d{13}', b"", message.text) for message in TAPE.messages]


@pytest.mark.parametrize(("size", "header"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_frames_carry_their_length(size: int, header: int) -> None:
    assert len(frame(b"x" * size)) == size + header


def test_a_book_of_the_tape_is_the_snapshot_and_every_change_before_a_place() -> None:
    diffs = [(place, message.text) for place, message in enumerate(TAPE.messages) if "@depth" in message.stream]
    book = TapeBook(TAPE.snapshots["usdm", "BTCUSDT"], diffs)

    untouched = json.loads(book.at(0))
    final = json.loads(book.at(len(TAPE.messages)))

    assert untouched["lastUpdateId"] == json.loads(TAPE.snapshots["usdm", "BTCUSDT"])["lastUpdateId"]
    assert final["lastUpdateId"] == json.loads(diffs[-1][1])["data"]["u"]
    assert {
        side: {float(price): float(qty) for price, qty in final[name]} for side, name in (("b", "bids"), ("a", "asks"))
    } == plain_book(TAPE, ("usdm", "BTCUSDT"))


@needs_raw
def test_a_tape_holds_only_what_was_asked_for() -> None:
    tape = open_tape(WireSpec(folder=str(RAW_A), limit=500, markets=("cm",), streams=("trade", "bookTicker")))

    assert len(tape.messages) == 500
    assert {message.instrument[0] for message in tape.messages} == {"cm"}
    assert {message.stream.split("@")[1] for message in tape.messages} == {"trade", "bookTicker"}
