"""Evidence to verdict, recomputed from the store alone."""

from dataclasses import asdict
from typing import Any

from engine.clock import NS_PER_S
from engine.rollout.evidence import Evidence
from engine.rollout.journal import RecordType
from engine.rollout.judge.judge import Look, judge
from engine.rollout.plan import Stage
from engine.rollout.verdict import Finding, Verdict, overall
from engine.strategy.params import canonical_json, digest
from tasks.wiring import Wiring


def compare(wiring: Wiring, stage_name: str, slot: int) -> tuple[Verdict, list[Finding]]:
    """Judge the stage up to a slot and write the verdict to the journal once. Raises EvidenceError."""
    stage = wiring.plan.stage(stage_name)
    findings = judge(wiring.plan, stage, load_evidence(wiring, stage, slot), Look(slot, stage.slot_count))
    verdict = overall(findings)
    body = {
        "slot": slot,
        "verdict": verdict.name,
        "evidence_digest": evidence_digest(wiring, stage, slot, findings),
        "findings": plain_findings(findings),
    }
    wiring.journal.append_once(f"{stage_name}/{slot}/compare", RecordType.VERDICT_REACHED, body, stage=stage_name)
    return verdict, findings


def load_evidence(wiring: Wiring, stage: Stage, slot: int) -> Evidence:
    """Read the committed windows and scrapes of a stage up to a slot."""
    stage_state = wiring.state().stage(stage.name)
    assert stage_state.start_ns is not None
    step = f"{stage.name}/{slot}/collect"
    ops = wiring.ops.read(step)
    if ops:
        of_stage = ops["stage"] == stage.name
        ops = {name: column[of_stage] for name, column in ops.items()}
    everyone = wiring.plan.judging.symbols == "all"
    return Evidence(
        windows=wiring.windows.read(step),
        ops=ops,
        symbols=wiring.spec.all_symbols if everyone else wiring.spec.symbols[stage.name],
        fingerprints={
            "baseline": wiring.spec.baseline.fingerprint,
            "canary": wiring.spec.releases[stage.name].fingerprint,
        },
        start_ns=stage_state.start_ns,
        end_ns=stage_state.start_ns + slot * stage.cadence_s * NS_PER_S,
        window_s=wiring.plan.measurement_window_s,
    )


def evidence_digest(wiring: Wiring, stage: Stage, slot: int, findings: list[Finding]) -> str:
    """SHA-256 over everything a decision on this stage rests on; the same market gives the same digest."""
    return digest(
        canonical_json(
            {
                "rollout": wiring.spec.rollout,
                "plan": canonical_json(wiring.plan),
                "stage": stage.name,
                "slot": slot,
                "baseline": wiring.spec.baseline.fingerprint,
                "canary": wiring.spec.releases[stage.name].fingerprint,
                "symbols": list(wiring.spec.symbols[stage.name]),
                "windows": wiring.windows.digest(f"{stage.name}/{slot}/collect"),
                "findings": plain_findings(findings),
            }
        )
    )


def plain_findings(findings: list[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON values."""
    return [{**asdict(finding), "verdict": finding.verdict.name} for finding in findings]
