"""Put the evaluation report where people find it: HTML with charts, Markdown twin, and an anchor.

The report depends on market and configuration only. What belongs to this run of it (times,
the journal's head, exact machine figures) is in the anchor file beside it.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from engine.adapters.parquet_store import write_durably
from engine.clock import NS_PER_S
from engine.rollout.decision import Action
from engine.rollout.evidence import Evidence, PairedWindows
from engine.rollout.journal import Record, RecordType
from engine.rollout.judge.judge import CANARY, histograms_for_charts, series_for_charts
from engine.rollout.plan import Stage
from engine.rollout.quality import measure
from engine.rollout.state import StageState
from engine.rollout.verdict import Finding, Verdict
from engine.strategy.layout import BIN_NS
from engine.strategy.params import digest
from reports.labels import Language
from reports.model import Decision, Distribution, FinalReport, ModeTrack, Series, StageReport
from reports.render import render_final, render_stage
from tasks.act import next_action
from tasks.compare import load_evidence
from tasks.wiring import Wiring

ROLLBACK_STEPS_S = (0.1, 2.0, 5.0, 10.0, 60.0)
"""The drill's time is stated against these, so that the report does not depend on the machine's mood."""


def report(wiring: Wiring, stage_name: str, slot: int, verdict: Verdict, findings: list[Finding]) -> Path:
    """Render the stage as it stands and return the HTML file."""
    stage = wiring.plan.stage(stage_name)
    action = next_action(wiring, stage_name, slot, verdict)
    view = stage_view(wiring, stage, slot, verdict, findings, action)
    number = [item.name for item in wiring.plan.stages].index(stage_name) + 1
    base = wiring.folder / "reports" / f"stage-{number}-{stage_name}"
    html, markdown = render_stage(view, _language(wiring))
    files = _place(wiring, base, html, markdown)
    body = {**files, "slot": slot}
    wiring.note(stage_name, slot, "report", type_=RecordType.REPORT_RENDERED, body=body)
    return base.with_suffix(".html")


def final_report(wiring: Wiring, reports_dir: Path) -> tuple[Path, Path]:
    """Render the whole rollout; the Markdown twin also goes to `reports_dir` as GRAY_RELEASE_REPORT_[DATE].md."""
    records = wiring.journal.records()
    state = wiring.state()
    view = FinalReport(
        rollout=wiring.spec.rollout,
        plan=wiring.plan.name,
        kind=wiring.plan.kind,
        feed=wiring.spec.feed_name,
        is_simulated=wiring.spec.is_simulated,
        outcome=state.outcome or "running",
        reason=state.reason,
        seed=wiring.spec.seed,
        planned_stages=tuple(stage.name for stage in wiring.plan.stages),
        stages=tuple(_last_view(wiring, stage, records) for stage in state.stages if stage.verdict is not None),
        decisions=tuple(_decision(record) for record in records if record.type is RecordType.APPROVAL_GIVEN),
        refusals=tuple(str(record.body["refusal"]) for record in records if record.type is RecordType.APPROVAL_REFUSED),
    )
    base = wiring.folder / "reports" / "final"
    html, markdown = render_final(view, _language(wiring))
    files = _place(wiring, base, html, markdown)
    dated = datetime.fromtimestamp(wiring.clock.now_ns() / NS_PER_S, UTC).date().isoformat()
    twin = (reports_dir / f"GRAY_RELEASE_REPORT_{dated}.md").resolve()
    write_durably(twin, markdown.encode())
    wiring.journal.append(RecordType.REPORT_RENDERED, {**files, "md": str(twin)})
    return base.with_suffix(".html"), twin


def reports_beside(folder: Path) -> Path:
    """docs/reports beside the home that the rollout's folder is in."""
    return folder.resolve().parents[2] / "docs" / "reports"


def _language(wiring: Wiring) -> Language:
    return "zh" if wiring.spec.language == "zh" else "en"


def stage_view(
    wiring: Wiring, stage: Stage, slot: int, verdict: Verdict, findings: list[Finding], action: Action
) -> StageReport:
    """Gather what a stage's page shows."""
    state = wiring.state().stage(stage.name)
    evidence = load_evidence(wiring, wiring.state(), stage, slot)
    return StageReport(
        rollout=wiring.spec.rollout,
        plan=wiring.plan.name,
        kind=wiring.plan.kind,
        feed=wiring.spec.feed_name,
        is_simulated=wiring.spec.is_simulated,
        stage=stage.name,
        weight_pct=stage.weight_pct,
        symbols=wiring.spec.symbols[stage.name],
        all_symbol_count=len(wiring.spec.all_symbols),
        baseline_fingerprint=wiring.spec.baseline.fingerprint,
        canary_fingerprint=wiring.spec.releases[stage.name].fingerprint,
        params_changes=wiring.spec.changes[stage.name],
        slot=slot,
        slot_count=stage.slot_count,
        start_ns=evidence.start_ns,
        end_ns=evidence.end_ns,
        window_s=evidence.window_s,
        windows=evidence.window_count * len(evidence.symbols),
        verdict=verdict,
        findings=tuple(findings),
        action=action.value,
        drill=_drill_sentence(state),
        evidence_digest=state.evidence_digest or "",
        series=_series(wiring, evidence),
        distributions=tuple(Distribution(name, *histograms_for_charts(evidence, name)) for name in ("ofi", "cvd")),
        modes=mode_tracks(evidence, wiring.spec.symbols[stage.name]),
        quality=measure(evidence, wiring.plan.horizons_ms, wiring.plan.judging.quality_horizon_ms),
    )


def _series(wiring: Wiring, evidence: Evidence) -> tuple[Series, ...]:
    conditions = {condition.metric: condition for condition in wiring.plan.conditions}
    return tuple(
        Series(
            condition=conditions[metric].name,
            metric=metric,
            baseline=baseline,
            canary=canary,
            block_s=wiring.plan.judging.block_s,
            tolerance_pct=conditions[metric].tolerance_pct or 0.0,
            higher_is_better=conditions[metric].direction == "higher",
        )
        for metric, (baseline, canary) in series_for_charts(wiring.plan, evidence).items()
    )


def mode_tracks(evidence: Evidence, symbols: tuple[str, ...]) -> tuple[ModeTrack, ...]:
    """Tracks of the windows that are judged, each at its place in time; NaN where one is missing."""
    windows = PairedWindows(replace(evidence, symbols=symbols))
    share = windows.values("active_ticks")[CANARY] * BIN_NS / (evidence.window_s * NS_PER_S)
    transitions = np.nansum(windows.values("transitions")[CANARY], axis=1)
    return tuple(ModeTrack(symbol, share[i], int(transitions[i])) for i, symbol in enumerate(symbols))


def _drill_sentence(state: StageState) -> str:
    if state.drill_seconds is None:
        return "no rollback drill was run"
    step = next((step for step in ROLLBACK_STEPS_S if state.drill_seconds <= step), None)
    symbols = len(state.symbols)
    if step is None:
        return f"the rollback drill took longer than {ROLLBACK_STEPS_S[-1]:g} s"
    return f"applied, rolled back and read back on {symbols} live symbol(s) within {step:g} s, before the stage began"


def _last_view(wiring: Wiring, state: StageState, records: Sequence[Record]) -> StageReport:
    last = [r for r in records if r.type is RecordType.VERDICT_REACHED and r.stage == state.name][-1]
    findings = [Finding(**{**plain, "verdict": Verdict[plain["verdict"]]}) for plain in last.body["findings"]]
    verdict = Verdict[last.body["verdict"]]
    stage = wiring.plan.stage(state.name)
    action = next_action(wiring, state.name, last.body["slot"], verdict)
    return stage_view(wiring, stage, last.body["slot"], verdict, findings, action)


def _decision(record: Record) -> Decision:
    body = record.body
    return Decision(record.stage or "", body["decision"], body["name"], body["comment"], body["automatic"])


def _place(wiring: Wiring, base: Path, html: str, markdown: str) -> dict[str, Any]:
    write_durably(base.with_suffix(".html"), html.encode())
    write_durably(base.with_suffix(".md"), markdown.encode())
    seq, head = wiring.journal.head()
    anchor = {
        "rendered_at": datetime.fromtimestamp(wiring.clock.now_ns() / NS_PER_S, UTC).isoformat(),
        "journal_seq": seq,
        "journal_head": head,
        "html_sha256": digest(html),
        "drill_seconds": {stage.name: stage.drill_seconds for stage in wiring.state().stages},
    }
    write_durably(base.with_suffix(".anchor.json"), json.dumps(anchor, indent=1, sort_keys=True).encode())
    return {
        "html": str(base.with_suffix(".html").resolve()),
        "md": str(base.with_suffix(".md").resolve()),
        "html_sha256": digest(html),
    }
