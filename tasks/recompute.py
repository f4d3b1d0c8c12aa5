"""Recompute every verdict of a rollout from its Parquet files alone."""

from typing import Any

from engine.rollout.journal import RecordType
from engine.rollout.judge.judge import Look, judge
from engine.rollout.state import fold
from tasks.compare import evidence_digest, load_evidence
from tasks.wiring import Wiring


def recompute(wiring: Wiring) -> list[dict[str, Any]]:
    """Judge every look again on what was committed up to it: {stage, slot, digest, same}. Raises EvidenceError."""
    results = []
    records = wiring.journal.records()
    for record in records:
        if record.type is not RecordType.VERDICT_REACHED or record.stage is None:
            continue
        stage, slot = wiring.plan.stage(record.stage), int(record.body["slot"])
        state = fold(records[: record.seq])
        evidence = load_evidence(wiring, state, stage, slot)
        findings = judge(wiring.plan, stage, evidence, Look(slot, stage.slot_count))
        found = evidence_digest(wiring, state, stage, slot, findings)
        same = found == record.body["evidence_digest"]
        results.append({"stage": stage.name, "slot": slot, "digest": found, "same": same})
    return results
