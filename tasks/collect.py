"""Bring the evidence of a slot into the store: windows and operations, each committed once."""

import json
from functools import partial
from typing import Any

from engine.rollout.journal import RecordType
from tasks.observe import patiently
from tasks.wiring import Wiring


def collect(wiring: Wiring, stage_name: str, slot: int) -> None:
    """Commit what the service has closed since the last commit. Raises ServiceError, EvidenceError."""
    step = wiring.step(stage_name, slot, "collect")
    if any(record.step == step for record in wiring.journal.records()):
        return
    committed = next((commit for commit in wiring.windows.commits() if commit.step == step), None)
    if committed is None:
        rows, cursor = _new_windows(wiring)
        committed = wiring.windows.commit(step, rows, cursor)
    wiring.ops.commit(step, _scrapes(wiring, stage_name, slot), {})
    body = {
        "windows": sum(rows for _, _, rows in committed.files),
        "windows_digest": wiring.windows.digest(),
        "ops_digest": wiring.ops.digest(),
    }
    wiring.note(stage_name, slot, "collect", type_=RecordType.EVIDENCE_COLLECTED, body=body)


def _new_windows(wiring: Wiring) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Windows not committed yet, in time order. After a restart of the service it counts from one again,
    so what the store already has is left out by its key."""
    commits = wiring.windows.commits()
    cursor: dict[str, Any] = commits[-1].cursor if commits else {"boot": None, "last": 0}
    rows: list[dict[str, Any]] = []
    after = int(cursor["last"])
    boot = patiently(wiring, wiring.service.status)["boot"]
    restarted = cursor["boot"] not in (None, boot)
    after = 0 if restarted else after
    while True:
        answer = patiently(wiring, partial(wiring.service.windows, after))
        rows += answer["windows"]
        if not answer["windows"]:
            break
        after = int(answer["last"])
    if restarted:
        rows = _without_known(wiring, rows)
    rows.sort(key=lambda row: (row["window_start_ns"], row["symbol"], row["arm"]))
    return rows, {"boot": boot, "last": after}


def _without_known(wiring: Wiring, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    table = wiring.windows.read()
    keys = ("symbol", "arm", "window_start_ns")
    known = set(zip(*(table[key].tolist() for key in keys), strict=True)) if table else set()
    return [row for row in rows if tuple(row[key] for key in keys) not in known]


def _scrapes(wiring: Wiring, stage_name: str, slot: int) -> list[dict[str, Any]]:
    path = wiring.ops_lines(stage_name, slot)
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append({**json.loads(line), "stage": wiring.step(stage_name)})
        except json.JSONDecodeError:
            continue  # a scrape cut short by a kill was never acknowledged
    return rows
