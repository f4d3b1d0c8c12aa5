"""Charts as SVG text, byte-identical for the same input.

Fonts are named, not embedded: the browser draws the text. Colour is never the only sign.
"""

import functools
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from numpy.typing import NDArray

from engine.rollout.verdict import Finding, Verdict
from reports.model import Distribution, ModeTrack, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
P = ParamSpec("P")

COLOURS = {Verdict.PASS: "#1a7f4b", Verdict.INCONCLUSIVE: "#9a6700", Verdict.FAIL: "#b42318"}
MARKERS = {Verdict.PASS: "o", Verdict.INCONCLUSIVE: "s", Verdict.FAIL: "X"}
BASELINE_COLOUR = "#6b7280"
CANARY_COLOUR = "#1d4ed8"
QUIET_COLOUR = "#dbe6fb"
REACH = 6.0
"""The verdict chart shows this many tolerances to each side; what lies beyond ends in an arrow at the edge."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "graygate",
    "font.family": ["DejaVu Sans", "Noto Sans CJK SC"],
    "font.size": 9,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": "#374151",
    "xtick.color": "#374151",
    "ytick.color": "#374151",
}


TICK_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800)
MAX_TICKS = 7
MAX_COLUMNS = 400
"""More windows than this are averaged before they are drawn: the page shows no more pixels anyway."""


def styled(draw: Callable[P, str | None]) -> Callable[P, str | None]:
    """Draw in our style alone, whatever the machine's or the caller's settings are, and leave those as they were."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str | None:
        import matplotlib as mpl

        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return drawn


@styled
def verdict_chart(findings: tuple[Finding, ...], labels: dict[str, str]) -> str | None:
    """Difference of each compared metric in units of its tolerance; left of -1 is worse than tolerated.

    None when nothing was compared.
    """
    rows = [finding for finding in findings if _in_tolerances(finding) is not None]
    if not rows:
        return None
    figure, (axes,) = new_figure(7.6, 0.9 + 0.42 * len(rows))
    axes.axvspan(-REACH, -1.0, color="#fde8e6", zorder=0)
    axes.axvline(-1.0, color="#b42318", linewidth=1, linestyle="--")
    axes.axvline(0.0, color="#9ca3af", linewidth=1)
    for position, finding in enumerate(reversed(rows)):
        _draw_row(axes, position, finding)
    axes.set_yticks(range(len(rows)), [f"{row.condition}  {row.verdict.name}" for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(-REACH, REACH)
    axes.set_xlabel(labels["chart_tolerances"])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=9)
    return to_svg(figure)


def _in_tolerances(finding: Finding) -> tuple[float, float, float] | None:
    """Estimate, lower and upper end in tolerances, better to the right. None if not comparable."""
    if finding.value is None or finding.low is None or finding.high is None or not finding.limit:
        return None
    scale = abs(finding.limit)
    sign = 1.0 if finding.limit < 0 else -1.0
    ends = sorted((sign * finding.low / scale, sign * finding.high / scale))
    return sign * finding.value / scale, ends[0], ends[1]


def _draw_row(axes: "Axes", position: int, finding: Finding) -> None:
    scaled = _in_tolerances(finding)
    assert scaled is not None
    value, low, high = (min(REACH, max(-REACH, part)) for part in scaled)
    colour = COLOURS[finding.verdict]
    axes.plot([low, high], [position, position], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([value], [position], marker=MARKERS[finding.verdict], color=colour, markersize=7)
    for end, reached, arrow in ((low, scaled[1] < -REACH, "<"), (high, scaled[2] > REACH, ">")):
        if reached:
            axes.plot([end], [position], marker=arrow, color=colour, markersize=7, clip_on=False)


@styled
def series_chart(series: Series, start_ns: int, labels: dict[str, str]) -> str | None:
    """Canary minus baseline per block, its mean so far, and the worst mean tolerated. None below two paired blocks.

    Scaled to the mean and to nine blocks in ten.
    """
    both = np.isfinite(series.baseline) & np.isfinite(series.canary)
    if both.sum() < 2:
        return None
    start_s = start_ns / 1e9
    times = start_s + (np.flatnonzero(both) + 1) * series.block_s
    difference = series.canary[both] - series.baseline[both]
    running = np.cumsum(difference) / np.arange(1, len(difference) + 1)
    size = abs(float(series.baseline[both].mean())) * series.tolerance_pct / 100
    worst = -size if series.higher_is_better else size
    low, high = _limits(
        np.concatenate([np.quantile(difference, [0.05, 0.95]), running[len(running) // 4 :], [0, worst]])
    )
    figure, (axes,) = new_figure(7.6, 2.5)
    axes.axhline(0.0, color="#9ca3af", linewidth=1)
    axes.axhline(worst, color="#b42318", linewidth=1, linestyle="--", label=labels["chart_tolerated"])
    block = f"{labels['chart_block']} {series.block_s} s"
    inside = np.clip(difference, low, high)
    axes.plot(times, inside, ".", color=BASELINE_COLOUR, markersize=5, alpha=0.6, label=block, clip_on=False)
    axes.plot(times, running, color=CANARY_COLOUR, linewidth=1.8, label=labels["chart_running"])
    axes.set_ylabel(labels["chart_difference"])
    axes.set_ylim(low, high)
    _time_axis(axes, start_s, start_s + len(both) * series.block_s, labels)
    _legend(axes)
    return to_svg(figure)


def _limits(values: Array) -> tuple[float, float]:
    """Ends of an axis that holds the values with a tenth to spare."""
    low, high = float(values.min()), float(values.max())
    spare = 0.1 * (high - low) or 1.0
    return low - spare, high + spare


@styled
def distribution_chart(distribution: Distribution, labels: dict[str, str]) -> str | None:
    """Share of z-scores per bin of 0.2, both arms. None without samples."""
    if not distribution.baseline.sum() or not distribution.canary.sum():
        return None
    figure, (axes,) = new_figure(7.6, 2.3)
    for counts, colour, style, name in (
        (distribution.baseline, BASELINE_COLOUR, "--", labels["baseline"]),
        (distribution.canary, CANARY_COLOUR, "-", labels["canary"]),
    ):
        edges, share = _coarse(counts)
        axes.stairs(share * 100, edges, color=colour, linestyle=style, linewidth=1.7, label=name)
    axes.set_xlabel(labels["chart_z"])
    axes.set_ylabel("%")
    axes.set_xlim(-5.5, 5.5)
    _legend(axes)
    return to_svg(figure)


def _coarse(counts: Array) -> tuple[Array, Array]:
    """Join the 100 inner bins by twos; the outer two stay, drawn as one bin each."""
    inner = counts[1:-1].reshape(50, 2).sum(axis=1)
    edges = np.concatenate([[-5.4], np.linspace(-5.0, 5.0, 51), [5.4]])
    joined = np.concatenate([counts[:1], inner, counts[-1:]])
    return edges, joined / joined.sum()


@styled
def mode_chart(modes: tuple[ModeTrack, ...], start_ns: int, window_s: int, labels: dict[str, str]) -> str | None:
    """Share of time each symbol's canary arm was active, as height; a missing window is blank. None without windows."""
    shown = [track for track in modes if np.isfinite(track.active_share).any()]
    if not shown:
        return None
    start_s = start_ns / 1e9
    end_s = start_s + max(len(track.active_share) for track in shown) * window_s
    figure, (axes,) = new_figure(7.6, 0.9 + 0.34 * len(shown))
    for position, track in enumerate(reversed(shown)):
        share, edges = _thinned(track.active_share, window_s)
        floor = position - 0.36
        ceiling = np.where(np.isfinite(share), floor + 0.72, np.nan)
        axes.stairs(ceiling, start_s + edges, baseline=floor, fill=True, color=QUIET_COLOUR)
        axes.stairs(floor + 0.72 * share, start_s + edges, baseline=floor, fill=True, color=CANARY_COLOUR)
    axes.set_yticks(range(len(shown)), [f"{t.symbol} ({t.transitions})" for t in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.tick_params(axis="y", length=0)
    _time_axis(axes, start_s, end_s, labels)
    return to_svg(figure)


def _thinned(share: Array, window_s: int) -> tuple[Array, Array]:
    """Means of neighbouring windows, at most MAX_COLUMNS, and their edges in seconds; NaN where all are missing."""
    per_column = -(-len(share) // MAX_COLUMNS)
    starts = np.arange(0, len(share), per_column)
    known = np.isfinite(share)
    counts = np.add.reduceat(known.astype(np.float64), starts)
    sums = np.add.reduceat(np.where(known, share, 0.0), starts)
    means = np.divide(sums, counts, out=np.full(len(starts), np.nan), where=counts > 0)
    return means, np.append(starts, len(share)) * float(window_s)


def _legend(axes: "Axes") -> None:
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.0)


def _time_axis(axes: "Axes", start_s: float, end_s: float, labels: dict[str, str]) -> None:
    """Ticks on round times; the date is written where the axis is longer than a day."""
    span_s = end_s - start_s
    step = next((step for step in TICK_STEPS_S if span_s / step <= MAX_TICKS), span_s)
    ticks = np.arange(np.ceil(start_s / step) * step, end_s + 1e-6, step)
    pattern = "%m-%d" if step >= 86400 else "%m-%d %H:%M" if span_s > 86400 else "%H:%M:%S" if step < 60 else "%H:%M"
    axes.set_xlim(start_s, end_s)
    axes.set_xticks(ticks, [datetime.fromtimestamp(tick, UTC).strftime(pattern) for tick in ticks])
    axes.set_xlabel(labels["chart_time"])


def new_figure(width: float, height: float, panels: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure in inches with panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(1, panels, position + 1) for position in range(panels)]


def to_svg(figure: "Figure") -> str:
    """SVG text without date, creator or ids: the same drawing gives the same bytes."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")), transparent=True
    )
    text = buffer.getvalue()
    return re.sub(r'<g id="[\w.]+">', "<g>", text[text.index("<svg") :])  # several drawings share a page: no twin ids
