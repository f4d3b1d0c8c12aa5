"""Evidence to verdict, recomputed from the store alone."""

from dataclasses import asdict
from typing import Any

from engine.clock import NS_PER_S
from engine.errors import RefusedError
from engine.rollout.evidence import Evidence
from engine.rollout.journal import RecordType
from engine.rollout.judge.judge import Look, judge
from engine.rollout.plan import Stage
from engine.rollout.state import RolloutState
from engine.rollout.verdict import Finding, Verdict, overall
from engine.strategy.params import canonical_json, digest
from tasks.wiring import Wiring


def compare(wiring: Wiring, stage_name: str, slot: int) -> tuple[Verdict, list[Finding]]:
    """Judge the stage up to a slot and write the verdict to the journal once. Raises EvidenceError."""
    stage = wiring.plan.stage(stage_name)
    state = wiring.state()
    findings = judge(wiring.plan, stage, load_evidence(wiring, state, stage, slot), Look(slot, stage.slot_count))
    verdict = overall(findings)
    body = {
        "slot": slot,
        "verdict": verdict.name,
        "evidence_digest": evidence_digest(wiring, state, stage, slot, findings),
        "findings": plain_findings(findings),
    }
    wiring.note(stage_name, slot, "compare", type_=RecordType.VERDICT_REACHED, body=body)
    return verdict, findings


def load_evidence(wiring: Wiring, state: RolloutState, stage: Stage, slot: int) -> Evidence:
    """Read the committed windows and scrapes of an attempt at a stage, up to a slot."""
    stage_state = state.stage(stage.name)
    if stage_state.start_ns is None:
        raise RefusedError(f"stage {stage.name} has not started in this attempt")
    step = state.step(stage.name, slot, "collect")
    ops = wiring.ops.read(step)
    if ops:
        of_stage = ops["stage"] == state.step(stage.name)
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


def evidence_digest(wiring: Wiring, state: RolloutState, stage: Stage, slot: int, findings: list[Finding]) -> str:
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
                "windows": wiring.windows.digest(state.step(stage.name, slot, "collect")),
                "findings": plain_findings(findings),
            }
        )
    )


def plain_findings(findings: list[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON values."""
    return [{**asdict(finding), "verdict": finding.verdict.name} for finding in findings]
