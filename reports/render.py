"""Engine values to pages: HTML with charts and its Markdown twin. Templates only loop and print."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from engine.clock import NS_PER_S
from engine.rollout.decision import Action
from engine.rollout.judge.sentences import duration
from engine.rollout.verdict import Finding, Verdict
from reports import charts
from reports.labels import LABELS, Language
from reports.model import Decision, FinalReport, StageReport
from reports.quality import ABSENT, quality_section
from reports.quality_chart import quality_chart

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Chart:
    """A drawing with the line that says how to read it; `svg` is None when there was nothing to draw."""

    caption: str
    svg: Markup | None


def render_stage(report: StageReport, language: Language) -> tuple[str, str]:
    """Return the stage's page as (HTML, Markdown)."""
    labels = LABELS[language]
    values = {"t": labels, "language": language, "page": _stage_page(report, labels)}
    return _html().get_template("stage.html.j2").render(values), _markdown().get_template("stage.md.j2").render(values)


def render_final(report: FinalReport, language: Language) -> tuple[str, str]:
    """Return the rollout's page as (HTML, Markdown)."""
    labels = LABELS[language]
    reached = {stage.stage: stage for stage in report.stages}
    deciders = {decision.stage: decision for decision in report.decisions}
    rows = [_stage_row(name, reached.get(name), deciders.get(name), labels) for name in report.planned_stages]
    values = {
        "t": labels,
        "language": language,
        "report": report,
        "decisions": [
            replace(decision, action=labels.get(f"decision_{decision.action}", decision.action))
            for decision in report.decisions
        ],
        "headline": labels[f"outcome_{report.outcome}"],
        "rows": rows,
        "banners": _banners(report.is_simulated, report.kind, labels),
        "pages": [_stage_page(stage, labels) for stage in report.stages],
    }
    return _html().get_template("final.html.j2").render(values), _markdown().get_template("final.md.j2").render(values)


def _stage_page(report: StageReport, labels: dict[str, str]) -> dict[str, Any]:
    blocking = [finding for finding in report.findings if finding.blocks_advance]
    return {
        "report": report,
        "headline": f"{labels['stage']} {report.stage}: {report.verdict.name}. {_what_next(report, labels)}",
        "badge": report.verdict.name.lower(),
        "banners": _banners(report.is_simulated, report.kind, labels),
        "blocking": sorted(blocking, key=lambda finding: -finding.verdict),
        "nothing_blocks": labels["nothing_blocks" if report.verdict is Verdict.PASS else "nothing_judged"],
        "findings": [_worded(finding) for finding in report.findings],
        "changes": [(name, [_value(side) for side in both]) for name, both in sorted(report.params_changes.items())],
        "span": f"{_utc(report.start_ns)} – {_utc(report.end_ns)}",
        "length": _length(report, labels),
        "quality": quality_section(report.quality, labels),
        "quality_chart": _quality_chart(report, labels),
        "charts": _charts(report, labels),
    }


def _worded(finding: Finding) -> Finding:
    """The table has a column for the name, so the sentence need not repeat it."""
    return replace(finding, sentence=finding.sentence.removeprefix(f"{finding.condition}: "))


def _stage_row(
    name: str, stage: StageReport | None, decision: Decision | None, labels: dict[str, str]
) -> dict[str, Any]:
    if stage is None:
        return {"name": name, "reached": False, "verdict": labels["not_reached"]}
    return {
        "name": name,
        "reached": True,
        "weight": stage.weight_pct,
        "symbols": f"{len(stage.symbols)} {labels['of']} {stage.all_symbol_count}",
        "length": _length(stage, labels),
        "windows": stage.windows,
        "verdict": stage.verdict.name,
        "badge": stage.verdict.name.lower(),
        "by": _decided_by(stage, decision, labels),
    }


def _what_next(report: StageReport, labels: dict[str, str]) -> str:
    """A failure rolls back by itself; any other rollback was a person's."""
    at_once = report.action == Action.ROLL_BACK and report.verdict is Verdict.FAIL
    return labels["next_roll_back_at_once" if at_once else f"next_{report.action}"]


def _decided_by(stage: StageReport, decision: Decision | None, labels: dict[str, str]) -> str:
    if stage.verdict is Verdict.FAIL:
        return labels["automatic"]
    if decision is None:
        return ABSENT
    return labels["automatic"] if decision.is_automatic else decision.by


def _length(report: StageReport, labels: dict[str, str]) -> str:
    number, unit = duration((report.end_ns - report.start_ns) / NS_PER_S).split(" ")
    return f"{number} {labels[f'unit_{unit}']}"


def _value(text: str) -> str:
    """A parameter's value as shown; one that is not set reads as absent, not as a word of Python."""
    return ABSENT if text in ("", "None", "nan") else text


def _quality_chart(report: StageReport, labels: dict[str, str]) -> Chart:
    svg = quality_chart(report.quality, labels) if report.quality is not None else None
    return _chart(labels["chart_quality"], svg)


def _charts(report: StageReport, labels: dict[str, str]) -> list[Chart]:
    drawn = [(labels["chart_verdicts"], charts.verdict_chart(report.findings, labels))]
    for series in report.series:
        drawn.append(
            (f"{series.condition}: {labels['chart_series']}", charts.series_chart(series, report.start_ns, labels))
        )
    for distribution in report.distributions:
        caption = f"{distribution.signal.upper()}: {labels['chart_distribution']}"
        drawn.append((caption, charts.distribution_chart(distribution, labels)))
    drawn.append((labels["chart_modes"], charts.mode_chart(report.modes, report.start_ns, report.window_s, labels)))
    return [_chart(caption, svg) for caption, svg in drawn]


def _chart(caption: str, svg: str | None) -> Chart:
    return Chart(caption, Markup(svg) if svg is not None else None)


def _banners(is_simulated: bool, kind: str, labels: dict[str, str]) -> list[str]:
    return [labels["simulated"]] * is_simulated + [labels["rehearsal"]] * (kind == "rehearsal")


def _utc(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _cell(text: object) -> str:
    """Text that cannot break out of a Markdown table cell or start markup."""
    plain = " ".join(str(text).split())
    for sign in ("\\", "|", "<", ">", "`", "*", "_", "[", "]"):
        plain = plain.replace(sign, "\\" + sign)
    return plain


def _html() -> Environment:
    return _environment(escape=True)


def _markdown() -> Environment:
    environment = _environment(escape=False)
    environment.filters["cell"] = _cell
    return environment


def _environment(*, escape: bool) -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
