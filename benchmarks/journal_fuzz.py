"""Change journals at random and see whether the check finds it; trace the order in which a record becomes durable.

    python -m benchmarks.journal_fuzz --count 100000

Several journals of realistic records, some in segments. A mutation flips a bit, cuts bytes out, swaps two records,
duplicates one, cuts the tail (between records, or inside one), exchanges two segments or takes one away; places are
uniformly random. Every one must make `verify_folder` raise. `durability` follows the system calls of a process that
writes records (strace): record written < synced < head written < synced < acknowledged, and the folder synced before
the first acknowledgement and after every segment. Prints one JSON line.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.journal_order import trace_order
from engine.adapters.disk_model import FakeDisk
from engine.adapters.journal_check import verify_folder
from engine.adapters.journal_file import FileJournal
from engine.clock import FakeClock
from engine.errors import JournalError
from engine.rollout.journal import RecordType

FOLDER = Path("/rollout")
SYMBOLS = [f"{name}USDT" for name in ("BTC", "ETH", "BNB", "SOL", "XRP", "DOGE")]

Segments = list[bytes]
"""The segments' bytes, oldest first, the active one last."""

Mutation = Callable[[Segments, random.Random], Segments]


def bodies(rng: random.Random) -> list[tuple[RecordType, dict[str, Any]]]:
    """Records such as a rollout leaves."""
    found: list[tuple[RecordType, dict[str, Any]]] = [
        (RecordType.ROLLOUT_PLANNED, {"kind": "rehearsal", "candidate": f"{rng.getrandbits(256):064x}"}),
        (RecordType.GUARDIAN_STARTED, {"guardian": f"{rng.randint(2, 99999)}-{rng.getrandbits(50)}"}),
        (RecordType.DEPLOY_ORDERED, {"symbols": SYMBOLS}),
        (RecordType.DEPLOYED, {"symbols": SYMBOLS, "seconds": rng.random(), "boot": f"{rng.getrandbits(128):032x}"}),
        (RecordType.STAGE_STARTED, {"start_ns": rng.getrandbits(60), "end_ns": rng.getrandbits(61)}),
    ]
    for slot in range(rng.randint(5, 17)):
        findings = [
            {"name": f"c{i}", "value": rng.gauss(0, 1), "text": "对照 ≤ 10 %"} for i in range(rng.randint(1, 6))
        ]
        found += [
            (RecordType.SLOT_OBSERVED, {"slot": slot, "is_last": False}),
            (RecordType.VERDICT_REACHED, {"slot": slot, "verdict": "PASS", "findings": findings}),
            (RecordType.REPORT_RENDERED, {"slot": slot, "html_sha256": f"{rng.getrandbits(256):064x}"}),
        ]
    return [*found, (RecordType.ROLLBACK_ORDERED, {"reason": "worse", "symbols": None}), (RecordType.ROLLED_BACK, {})]


def make_journal(rng: random.Random, segment_bytes: int) -> FakeDisk:
    """A journal of 22 to 58 records."""
    disk, clock = FakeDisk(), FakeClock()
    journal = FileJournal(FOLDER / "journal.jsonl", "rollout-1", clock, disk=disk, segment_bytes=segment_bytes)
    for type_, body in bodies(rng):
        clock.sleep(rng.random() * 60)
        journal.append(type_, body, stage="10pct", step=f"10pct/{clock.at_ns}", epoch_up=type_ in _OPENS_AN_EPOCH)
    return disk


_OPENS_AN_EPOCH = (RecordType.GUARDIAN_STARTED, RecordType.ROLLBACK_ORDERED)


def flip_a_bit(segments: Segments, rng: random.Random) -> Segments:
    which, position = _place(segments, rng)
    changed = bytearray(segments[which])
    changed[position] ^= 1 << rng.randrange(8)
    return _with(segments, which, bytes(changed))


def cut_bytes_out(segments: Segments, rng: random.Random) -> Segments:
    which, start = _place(segments, rng)
    raw = segments[which]
    end = start + rng.choice((1, rng.randint(1, 64), rng.randint(1, len(raw))))
    return _with(segments, which, raw[:start] + raw[end:])


def swap_records(segments: Segments, rng: random.Random) -> Segments:
    lines = _lines(segments)
    one, other = rng.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]
    return _joined(lines)


def duplicate_a_record(segments: Segments, rng: random.Random) -> Segments:
    lines = _lines(segments)
    lines.insert(rng.randint(0, len(lines)), rng.choice(lines))
    return _joined(lines)


def cut_records_off(segments: Segments, rng: random.Random) -> Segments:
    lines = segments[-1].splitlines(keepends=True)
    return [*segments[:-1], b"".join(lines[: rng.randrange(len(lines))])]


def cut_the_tail(segments: Segments, rng: random.Random) -> Segments:
    return [*segments[:-1], segments[-1][: rng.randrange(len(segments[-1]))]]


def exchange_segments(segments: Segments, rng: random.Random) -> Segments:
    changed = list(segments)
    rng.shuffle(changed)
    return changed


def take_a_segment_away(segments: Segments, rng: random.Random) -> Segments:
    return _with(segments, rng.randrange(len(segments)), b"")


MUTATIONS: tuple[Mutation, ...] = (
    flip_a_bit, cut_bytes_out, swap_records, duplicate_a_record, cut_records_off, cut_the_tail, exchange_segments,
    take_a_segment_away,
)  # fmt: skip


def _place(segments: Segments, rng: random.Random) -> tuple[int, int]:
    position = rng.randrange(sum(map(len, segments)))
    for which, raw in enumerate(segments):
        if position < len(raw):
            return which, position
        position -= len(raw)
    raise AssertionError("the place is in none of the segments")


def _with(segments: Segments, which: int, raw: bytes) -> Segments:
    return [*segments[:which], raw, *segments[which + 1 :]]


def _lines(segments: Segments) -> list[tuple[int, bytes]]:
    return [(which, line) for which, raw in enumerate(segments) for line in raw.splitlines(keepends=True)]


def _joined(lines: list[tuple[int, bytes]]) -> Segments:
    """Records back in files: each where its neighbour before it is."""
    count = 1 + max(which for which, _ in lines)
    return [b"".join(line for place, line in lines if place == which) for which in range(count)]


def is_found(segments: Segments, head: bytes) -> bool:
    """Whether the check finds something wrong in these files."""
    disk = FakeDisk()
    disk.append(FOLDER / "journal.head", head)
    for number, raw in enumerate(segments, start=1):
        if raw:
            name = "journal.jsonl" if number == len(segments) else f"journal-{number:06d}.jsonl"
            disk.append(FOLDER / name, raw)
    try:
        verify_folder(FOLDER, disk)
    except JournalError:
        return True
    return False


def segments_of(disk: FakeDisk) -> Segments:
    """The bytes of a journal's segments."""
    names = sorted(name for name in disk.list(FOLDER) if name.endswith(".jsonl"))
    return [disk.read(FOLDER / name) for name in names]


def fuzz(count: int, seed: int) -> dict[str, Any]:
    """Try `count` mutations; those that change nothing do not count."""
    rng = random.Random(seed)
    made = [make_journal(rng, segment_bytes) for segment_bytes in (1 << 20, 4000, 8000, 1 << 20, 2500, 12000)]
    journals = [(segments_of(disk), disk.read(FOLDER / "journal.head")) for disk in made]
    if any(is_found(*journal) for journal in journals):
        raise AssertionError("a journal that nobody changed does not verify")
    tried: Counter[str] = Counter()
    missed: list[str] = []
    while tried.total() < count:
        segments, head = rng.choice(journals)
        mutation = rng.choice(MUTATIONS)
        changed = mutation(segments, rng)
        if changed == segments:
            continue
        tried[mutation.__name__] += 1
        if not is_found(changed, head):
            missed.append(mutation.__name__)
    return {
        "mutations": tried.total(),
        "found": tried.total() - len(missed),
        "missed": len(missed),
        "seed": seed,
        "by_kind": dict(sorted(tried.items())),
        "missed_by_kind": dict(Counter(missed)),
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="mutations")
    parser.add_argument("--records", type=int, default=200, help="records of the traced process")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started = time.perf_counter()
    answer = fuzz(arguments.count, arguments.seed)
    order = trace_order(arguments.records)
    answer["durability"] = order if isinstance(order, str) else {"records": order[0], "violations": len(order[1])}
    answer["seconds"] = round(time.perf_counter() - started, 1)
    for what in [] if isinstance(order, str) else order[1][:10]:
        print(what, file=sys.stderr)
    print(json.dumps(answer))
    return 1 if answer["missed"] or (not isinstance(order, str) and order[1]) else 0


if __name__ == "__main__":
    sys.exit(main())
