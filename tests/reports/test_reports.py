"""Pages: golden files, identical bytes, nothing active in them."""

import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from markupsafe import escape

from engine.rollout.quality import Fit, HorizonQuality, Quality, QualitySlice, SignalQuality, StageQuality
from engine.rollout.verdict import Finding, Verdict
from reports import charts
from reports.labels import LABELS, Language
from reports.model import Decision, Distribution, FinalReport, ModeTrack, Series, StageReport
from reports.render import render_final, render_stage

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SENTENCE = "OFI signal quality: canary 0.2 against baseline 0.1"
HOSTILE = ["<script>alert(1)</script>", "{{7*7}}", "| x |", '"><img src=x onerror=alert(1)>']


def a_quality() -> StageQuality:
    baseline, canary = Quality(12_240, 0.2131, 0.6512, 0.6423), Quality(12_239, 0.2249, 0.6587, 0.651)
    unknown = Quality(99, None, None, None)
    horizons = (HorizonQuality(250, baseline, canary, 0.004), HorizonQuality(300_000, unknown, unknown, None))
    return StageQuality(
        signals=(SignalQuality("ofi", horizons, (0.0455, 0.0461)), SignalQuality("cvd", horizons, (0.031, None))),
        fits={"ETHUSDT.simulated": (Fit(114, 1.25, 0.5611), Fit(29, None, None))},
        slices=(
            QualitySlice("mode", "active", 70, {"ofi": (baseline, canary), "cvd": (canary, baseline)}),
            QualitySlice("volatility", "low", 44, {"ofi": (baseline, unknown), "cvd": (unknown, unknown)}),
        ),
        slice_horizon_ms=250,
    )


def a_stage(verdict: Verdict = Verdict.PASS) -> StageReport:
    findings = (
        Finding("Data quality", "coverage_pct", "gate", Verdict.PASS, "Data quality: 100.0 % arrived", value=100.0),
        Finding(
            "OFI signal quality",
            "ofi_quality",
            "gate",
            verdict,
            "OFI signal quality: canary 0.2 against baseline 0.1",
            value=0.1,
            low=0.02,
            high=0.18,
            limit=-0.005,
            unit="IC",
        ),
        Finding("Strategy return", "strategy_return", "guard", Verdict.INCONCLUSIVE, "Strategy return: not proven"),
    )
    rising = np.linspace(0.0, 1.0, 12)
    return StageReport(
        rollout="rehearsal-x",
        plan="dynamic-mode-switching",
        kind="rehearsal",
        feed="simulated market, seed 1",
        is_simulated=True,
        stage="10pct",
        weight_pct=10,
        symbols=("ETHUSDT.simulated",),
        all_symbol_count=4,
        baseline_fingerprint="aaaaaaaaaaaa",
        canary_fingerprint="bbbbbbbbbbbb",
        params_changes={"mode": ("quiet", "auto")},
        slot=3,
        slot_count=3,
        start_ns=1_736_125_500 * 10**9,
        end_ns=1_736_125_614 * 10**9,
        window_s=1,
        windows=456,
        verdict=verdict,
        findings=findings,
        action="roll_back" if verdict is Verdict.FAIL else "ask",
        drill="rolled back within 0.1 s",
        evidence_digest="c" * 64,
        series=(Series("OFI signal quality", "ofi_quality", rising, rising * 2, 2, 5.0, True),),
        distributions=(Distribution("ofi", np.ones(102), np.ones(102)),),
        modes=(ModeTrack("ETHUSDT.simulated", np.array([0.0, 1.0, 1.0]), 1),),
        quality=a_quality(),
    )


def a_rollout(comment: str = "looks right") -> FinalReport:
    return FinalReport(
        rollout="rehearsal-x",
        plan="dynamic-mode-switching",
        kind="rehearsal",
        feed="simulated market, seed 1",
        is_simulated=True,
        outcome="held",
        reason="held by Ada",
        seed=1,
        planned_stages=("10pct", "50pct", "100pct"),
        stages=(a_stage(),),
        decisions=(Decision("10pct", "hold", "Ada", comment, False),),
        refusals=("an approval needs the name of the person who gives it",),
    )


def without_drawings(html: str) -> str:
    return re.sub(r"<svg.*?</svg>", "<svg/>", re.sub(r"<style>.*?</style>", "", html, flags=re.S), flags=re.S)


@pytest.mark.parametrize(
    ("name", "page"),
    [
        pytest.param("stage_pass_en", render_stage(a_stage(), "en"), id="a stage that passes"),
        pytest.param("stage_fail_en", render_stage(a_stage(Verdict.FAIL), "en"), id="a stage that fails"),
        pytest.param("stage_pass_zh", render_stage(a_stage(), "zh"), id="a stage in Chinese"),
        pytest.param("final_held_en", render_final(a_rollout(), "en"), id="a whole rollout"),
    ],
)
def test_a_page_is_what_was_reviewed(name: str, page: tuple[str, str], request: pytest.FixtureRequest) -> None:
    html, markdown = without_drawings(page[0]), page[1]
    if request.config.getoption("--update-golden"):
        (GOLDEN / f"{name}.html").write_text(html)
        (GOLDEN / f"{name}.md").write_text(markdown)

    assert html == (GOLDEN / f"{name}.html").read_text()
    assert markdown == (GOLDEN / f"{name}.md").read_text()


def test_rendering_twice_gives_the_same_bytes() -> None:
    assert render_stage(a_stage(), "en") == render_stage(a_stage(), "en")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    stage = replace(a_stage(), symbols=(text,), feed=text)

    html, _ = render_stage(stage, "en")
    final_html, _ = render_final(a_rollout(comment=text), "en")

    for page in (html, final_html):
        assert "<script" not in page
        assert "<img" not in page
        assert escape(text) in page


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_in_markdown(text: str) -> None:
    _, markdown = render_final(a_rollout(comment=text), "en")

    assert not re.search(r"(?<!\\)<(?:script|img)", markdown)
    assert "| 49 |" not in markdown
    row = next(line for line in markdown.splitlines() if line.startswith("| 10pct | hold |"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 5


@pytest.mark.parametrize("name", ["P&L in $", "$x$", r"$\bad{$"])
def test_a_name_with_dollar_signs_is_drawn_as_written(name: str) -> None:
    stage = a_stage()
    renamed = tuple(replace(finding, condition=name) for finding in stage.findings)

    html, _ = render_stage(replace(stage, findings=renamed), "en")

    assert f"{escape(name)}  PASS" in html


def test_a_table_cell_cannot_be_broken_out_of() -> None:
    _, markdown = render_final(a_rollout(comment="a | b\n| c"), "en")

    assert "a \\| b \\| c" in markdown


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    html, _ = render_stage(a_stage(), "en")

    assert "<script" not in html
    assert not re.search(r'(?:src|href)="https?:', html)
    assert "default-src 'none'" in html


def test_a_missing_number_is_not_printed_as_nan_or_none() -> None:
    bare = replace(a_stage(), series=(), distributions=(), modes=(), quality=None)

    html, markdown = render_stage(bare, "en")

    assert not re.search(r"\b(?:nan|None)\b", without_drawings(html) + markdown)
    assert "Nothing to draw yet" in html


def test_a_parameter_that_is_not_set_is_shown_as_absent() -> None:
    html, markdown = render_stage(replace(a_stage(), params_changes={"throttle": ("None", "0.5")}), "en")

    assert "<code>–</code>" in html
    assert "| throttle | – | 0.5 |" in markdown


@pytest.mark.parametrize("findings", [(), a_stage().findings[2:]], ids=["nothing measured", "guards only"])
def test_a_stage_without_a_judged_gate_never_says_that_every_gate_passed(findings: tuple[Finding, ...]) -> None:
    stage = replace(a_stage(Verdict.INCONCLUSIVE), findings=findings, action="hold")

    for page in render_stage(stage, "en"):
        assert LABELS["en"]["nothing_blocks"] not in page
        assert LABELS["en"]["nothing_judged"] in page


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        pytest.param(Verdict.FAIL, "next_roll_back_at_once", id="a failure asks nobody"),
        pytest.param(Verdict.PASS, "next_roll_back", id="a person rolls back what passed"),
    ],
)
def test_the_headline_says_who_wanted_the_rollback(verdict: Verdict, sentence: str) -> None:
    html, _ = render_stage(replace(a_stage(verdict), action="roll_back"), "en")

    assert f"{verdict.name}. {LABELS['en'][sentence]}</h1>" in html


def test_a_stage_that_failed_was_decided_automatically() -> None:
    failed = replace(a_rollout(), stages=(a_stage(Verdict.FAIL),), decisions=(), outcome="rolled_back")

    _, markdown = render_final(failed, "en")

    assert "| FAIL | automatic |" in markdown


def test_a_missing_window_is_blank_and_a_track_of_missing_windows_is_not_drawn() -> None:
    gone = ModeTrack("ETHUSDT.simulated", np.full(3, np.nan), 0)

    html, _ = render_stage(replace(a_stage(), modes=(gone,)), "en")

    assert f"Nothing to draw yet: {LABELS['en']['chart_modes']}" in html


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_stage_whose_windows_carry_no_histograms_says_so(language: Language) -> None:
    for page in render_stage(replace(a_stage(), quality=None), language):
        assert LABELS[language]["quality_not_measured"] in page
        assert LABELS[language]["rank_ic"] not in page


def test_regression_sums_that_are_not_there_are_said_to_be_missing() -> None:
    for page in render_stage(replace(a_stage(), quality=replace(a_quality(), fits={})), "en"):
        assert LABELS["en"]["fits_not_measured"] in page
        assert "+0.213" in page


def test_quality_is_shown_per_horizon_and_arm_and_what_is_unknown_as_absent() -> None:
    _, markdown = render_stage(a_stage(), "en")

    assert (
        "| 250 ms | +0.213 | +0.225 | +0.012 ± 0.008 | 65.1 % | 65.9 % | 0.642 | 0.651 | 12,240 / 12,239 |" in markdown
    )
    assert "| 300 s | – | – | – | – | – | – | – | 99 |" in markdown
    assert "| ETHUSDT.simulated | 0.561 | – | 1.25 | – |" in markdown
    assert "| volatility: low | 44 | +0.213 | – | – | – |" in markdown


def test_a_signal_without_any_known_quality_is_not_drawn() -> None:
    unknown = Quality(0, None, None, None)
    signals = tuple(
        replace(signal, horizons=(HorizonQuality(250, unknown, unknown, None),)) for signal in a_quality().signals
    )

    html, _ = render_stage(replace(a_stage(), quality=replace(a_quality(), signals=signals)), "en")

    assert f"Nothing to draw yet: {LABELS['en']['chart_quality']}" in html


def ordinates(svg: str, marker_colour: str) -> list[float]:
    """Heights at which markers of a colour are drawn, upwards."""
    uses = re.findall(rf'<use [^>]*y="([\d.]+)" style="fill: {marker_colour}', svg)
    return [-float(y) for y in uses]


def test_the_series_chart_shows_differences_and_puts_what_is_off_the_scale_on_its_edge() -> None:
    canary = np.linspace(-1.0, 1.0, 40)
    spiked = np.where(np.arange(40) == 20, 9.0, canary)
    pages = [
        charts.series_chart(Series("x", "x", np.zeros(40), values, 2, 5.0, True), 0, LABELS["en"]) or ""
        for values in (canary, spiked)
    ]

    plain, edged = (ordinates(page, charts.BASELINE_COLOUR)[:40] for page in pages)

    assert len(plain) == 40
    assert plain == sorted(plain)
    assert edged[20] == max(edged)
    assert np.ptp(np.delete(edged, 20)) > 0.8 * np.ptp(plain)


def test_drawing_leaves_the_callers_plot_settings_alone_and_does_not_read_them() -> None:
    plain = render_stage(a_stage(), "en")
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "theirs"}):
        under_theirs = render_stage(a_stage(), "en")
        kept = matplotlib.rcParams["svg.hashsalt"]

    assert under_theirs == plain
    assert kept == "theirs"


def test_both_languages_have_the_same_labels() -> None:
    assert LABELS["en"].keys() == LABELS["zh"].keys()
