"""A recording of a live feed, and its replay."""

import asyncio
import gzip
import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import uvloop
from rich.console import Console

from benchmarks.wire_server import WireServer, serving, wire_process
from benchmarks.wire_tape import Faults, Tape, WireMessage, WireSpec, make_tape, read_tape
from engine.adapters.live.capture import Recorded, record
from engine.adapters.live.spec import Listed, LiveSpec
from engine.adapters.replay import RecordedMarket
from engine.clock import NS_PER_S, SystemClock
from engine.errors import FeedError, InputError
from engine.strategy.layout import QUOTE, TRADE
from tasks.record import describe, duration_s, live_spec, record_command
from tests.engine.adapters.live.hearing import PATIENCE_S, RAW_A, needs_raw
from tests.engine.adapters.live.hearing import live_spec as spec_of_tape

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

Lines = dict[str, list[bytes]]


def record_tape(tape: Tape, folder: Path, wire: WireSpec) -> tuple[Recorded, WireServer]:
    """Serve a tape and record it until everything that was sent has come in."""

    async def run() -> tuple[Recorded, WireServer]:
        async with serving(tape, wire) as server, asyncio.timeout(PATIENCE_S):
            stop, spec = asyncio.Event(), spec_of_tape(tape, server.port)
            expected = len(tape.messages) + len(tape.snapshots)

            def watch(recorded: Recorded) -> None:
                if recorded.lines >= expected:
                    stop.set()

            return await record(spec, folder, SystemClock(), random.Random(1), stop, progress=watch), server

    return uvloop.run(run())


def recorded_lines(folder: Path) -> Lines:
    """Bodies of a capture by instrument, `usdm__btcusdt`, days joined."""
    bodies: Lines = defaultdict(list)
    for path in sorted(folder.glob("*.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            bodies[path.name.rpartition("_")[0]].append(line.partition(b" ")[2])
    return bodies


def sent_lines(messages: list[WireMessage]) -> Lines:
    bodies: Lines = defaultdict(list)
    for message in messages:
        bodies["__".join(message.instrument).lower()].append(message.text)
    return bodies


def write_capture(tape: Tape, folder: Path) -> Path:
    """The part of a recording that is on a tape, as its recorder would have written it."""
    folder.mkdir()
    for instrument in {message.instrument for message in tape.messages}:
        mine = [message for message in tape.messages if message.instrument == instrument]
        text = b"".join(b"%d %b\n" % (message.at_ns, message.text) for message in mine)
        (folder / f"{'__'.join(instrument).lower()}_20240808.gz").write_bytes(gzip.compress(text))
    return folder


def replayed(folder: Path) -> dict[tuple[str, int], np.ndarray]:  # type: ignore[type-arg]
    """What replay makes of a folder, by symbol and kind: ids and values; times too, where they are the venue's."""
    parts = defaultdict(list)
    for piece in RecordedMarket(folder).slices():
        for symbol, batch in piece.batches.items():
            for kind in (TRADE, QUOTE):
                names = ["id", "a", "b", "c", "d"] + ["ts_ns"] * (kind == TRADE or "spot" not in symbol)
                parts[symbol, kind].append(batch.events[batch.events["kind"] == kind][names])
    return {key: np.concatenate(pieces) for key, pieces in parts.items()}


def check_recording(tape: Tape, folder: Path, wire: WireSpec) -> None:
    recorded, server = record_tape(tape, folder / "recorded", wire)

    bodies = recorded_lines(folder / "recorded")
    streamed = {name: [body for body in found if body.startswith(b'{"stream"')] for name, found in bodies.items()}
    assert streamed == sent_lines(server.sent) == sent_lines(tape.messages)
    assert {name: len(found) - len(streamed[name]) for name, found in bodies.items()} == dict.fromkeys(bodies, 1)
    assert recorded.lines == len(tape.messages) + len(tape.snapshots)

    original, again = replayed(write_capture(tape, folder / "original")), replayed(folder / "recorded")
    assert original.keys() == again.keys()
    for key, rows in original.items():
        common = min(len(rows), len(again[key]))
        assert common >= sure_to_be_replayed(tape, key)
        assert np.array_equal(rows[:common], again[key][:common])


def sure_to_be_replayed(tape: Tape, key: tuple[str, int]) -> int:
    """Messages of a symbol and kind before the last three seconds: replay ends on a tick, and leaves out the rest."""
    symbol, kind = key
    name = "trade" if kind == TRADE else "bookTicker"
    return sum(
        message.at_ns < tape.messages[-1].at_ns - 3 * NS_PER_S
        and Listed(*message.instrument).symbol == symbol
        and message.stream.endswith(f"@{name}")
        for message in tape.messages
    )


def test_a_recording_has_every_byte_that_was_sent_and_replays_the_same(tmp_path: Path) -> None:
    instruments = (("spot", "BTCUSDT"), ("usdm", "ETHUSDT"), ("cm", "BTCUSD_PERP"))

    check_recording(make_tape(4_000, seed=11, instruments=instruments), tmp_path, WireSpec(speed=2.0, clients=3))


@needs_raw
def test_set_a_recorded_again_is_set_a(tmp_path: Path) -> None:
    check_recording(read_tape(RAW_A, limit=40_000), tmp_path, WireSpec(speed=20.0, clients=3))


def test_a_second_recording_continues_the_first(tmp_path: Path) -> None:
    tape = make_tape(800, seed=2)

    for _ in range(2):
        record_tape(tape, tmp_path, WireSpec())

    streamed = [body for body in recorded_lines(tmp_path)["usdm__btcusdt"] if body.startswith(b'{"stream"')]
    assert streamed == [message.text for message in tape.messages] * 2


def test_refused_messages_are_not_recorded(tmp_path: Path) -> None:
    tape = make_tape(800, seed=2)

    recorded, server = record_tape(tape, tmp_path, WireSpec(faults=Faults(inject={5: ["{", "x"]})))

    streamed = [body for body in recorded_lines(tmp_path)["usdm__btcusdt"] if body.startswith(b'{"stream"')]
    assert streamed == [message.text for message in server.sent]
    assert recorded.counts.refused == {"malformed": 2}
    assert describe(recorded).endswith("; 2 refused")


def test_the_command_records_until_its_time_is_over_and_ends_its_files(tmp_path: Path) -> None:
    with wire_process(WireSpec(limit=100_000, speed=1.0)) as port:
        recorded = record_command(spec_at(port), tmp_path, "1.5s", Console(quiet=True))

    assert 1.4 < recorded.seconds < 4.0
    assert sum(map(len, recorded_lines(tmp_path).values())) == recorded.lines > 500


def test_the_command_ends_its_files_when_it_is_told_to_stop(tmp_path: Path) -> None:
    with wire_process(WireSpec(limit=100_000, speed=1.0)) as port:
        code = f"""
import sys
from pathlib import Path
from rich.console import Console
from tasks.record import record_command
from tests.stories.test_record import spec_at
record_command(spec_at({port}), Path({str(tmp_path)!r}), None, Console())
"""
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as recorder:
            while not any(path.stat().st_size > 10_000 for path in tmp_path.glob("*.gz")):
                assert recorder.poll() is None
                SystemClock().sleep(0.1)
            recorder.send_signal(signal.SIGTERM)
            said, _ = recorder.communicate(timeout=10)

    assert recorder.returncode == 0
    assert sum(map(len, recorded_lines(tmp_path).values())) > 500
    assert "no interruption; captures are in" in said


def spec_at(port: int) -> LiveSpec:
    return spec_of_tape(make_tape(8, seed=1), port)


def test_nothing_received_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"nothing was received in 0 s \(\d+ attempts to connect failed\)"):
        record_command(spec_at(1), tmp_path, "0.2s", Console(quiet=True))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172_800), ("1.5h", 5400)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "0s", "-1h", "1 week", "1h30m"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a duration is a number and s, m, h or d"):
        duration_s(text)


def test_symbols_may_be_written_in_small_letters() -> None:
    assert live_spec("usdm", "btcusdt, ETHUSDT").markets[0].tickers == ("BTCUSDT", "ETHUSDT")
