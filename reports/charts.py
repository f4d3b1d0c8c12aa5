"""Charts as SVG text, byte-identical for the same input on every machine.

Fonts are named, not embedded: the browser draws the text. Colour is never the only sign.
"""

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.rollout.verdict import Finding, Verdict
from reports.model import Distribution, ModeTrack, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

COLOURS = {Verdict.PASS: "#1a7f4b", Verdict.INCONCLUSIVE: "#9a6700", Verdict.FAIL: "#b42318"}
MARKERS = {Verdict.PASS: "o", Verdict.INCONCLUSIVE: "s", Verdict.FAIL: "X"}
BASELINE_COLOUR = "#6b7280"
CANARY_COLOUR = "#1d4ed8"
REACH = 6.0
"""The verdict chart shows this many tolerances to each side; what lies beyond ends in an arrow at the edge."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "graygate",
    "font.family": ["DejaVu Sans", "Noto Sans CJK SC"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": "#374151",
    "xtick.color": "#374151",
    "ytick.color": "#374151",
}


def verdict_chart(findings: tuple[Finding, ...], labels: dict[str, str]) -> str | None:
    """Difference of each compared metric in units of its tolerance; left of -1 is worse than tolerated.

    None when nothing was compared.
    """
    rows = [finding for finding in findings if _in_tolerances(finding) is not None]
    if not rows:
        return None
    figure, axes = _figure(7.6, 0.9 + 0.42 * len(rows))
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
    axes.tick_params(axis="y", length=0)
    return _svg(figure)


def _in_tolerances(finding: Finding) -> tuple[float, float, float] | None:
    """Estimate, lower and upper end in tolerances, better to the right. None if not comparable."""
    if finding.value is None or finding.low is None or finding.high is None or not finding.limit:
        return None
    if finding.unit == "sd":
        value, low, high = (-part / finding.limit for part in (finding.value, finding.high, finding.low))
        return value, low, high
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


def series_chart(series: Series, start_ns: int, labels: dict[str, str]) -> str | None:
    """Cumulative sum of both arms over market time, and the running mean difference below. None without blocks."""
    both = np.isfinite(series.baseline) & np.isfinite(series.canary)
    if both.sum() < 2:
        return None
    ends = np.array([start_ns / 1e9 + (i + 1) * series.block_s for i in np.flatnonzero(both)])
    times = np.array([_number(datetime.fromtimestamp(t, UTC)) for t in ends])
    figure, axes = _figure(7.6, 2.5)
    axes.plot(
        times,
        np.cumsum(series.baseline[both]),
        color=BASELINE_COLOUR,
        linewidth=1.6,
        linestyle="--",
        label=labels["baseline"],
    )
    axes.plot(times, np.cumsum(series.canary[both]), color=CANARY_COLOUR, linewidth=1.8, label=labels["canary"])
    axes.fill_between(
        times,
        np.cumsum(series.baseline[both]),
        np.cumsum(series.canary[both]),
        color=CANARY_COLOUR,
        alpha=0.10,
        linewidth=0,
    )
    axes.xaxis_date()
    axes.set_ylabel(labels["chart_cumulative"])
    _time_axis(axes, labels)
    _legend(axes)
    return _svg(figure)


def distribution_chart(distribution: Distribution, labels: dict[str, str]) -> str | None:
    """Share of z-scores per quarter of a standard deviation, both arms. None without samples."""
    if not distribution.baseline.sum() or not distribution.canary.sum():
        return None
    figure, axes = _figure(7.6, 2.3)
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
    return _svg(figure)


def _coarse(counts: Array) -> tuple[Array, Array]:
    """Join the 100 inner bins by twos; the outer two stay, drawn as one bin each."""
    inner = counts[1:-1].reshape(50, 2).sum(axis=1)
    edges = np.concatenate([[-5.4], np.linspace(-5.0, 5.0, 51), [5.4]])
    joined = np.concatenate([counts[:1], inner, counts[-1:]])
    return edges, joined / joined.sum()


def mode_chart(modes: tuple[ModeTrack, ...], start_ns: int, window_s: int, labels: dict[str, str]) -> str | None:
    """When each symbol's canary arm was active. None without windows."""
    shown = [track for track in modes if len(track.active_share)]
    if not shown:
        return None
    figure, axes = _figure(7.6, 0.9 + 0.34 * len(shown))
    for position, track in enumerate(reversed(shown)):
        start = datetime.fromtimestamp(start_ns / 1e9, UTC)
        end = datetime.fromtimestamp(start_ns / 1e9 + len(track.active_share) * window_s, UTC)
        axes.imshow(
            track.active_share[None, :], aspect="auto", cmap="Blues", vmin=-0.15, vmax=1.2, interpolation="nearest",
            extent=(_number(start), _number(end), position - 0.36, position + 0.36),
        )  # fmt: skip
    axes.xaxis_date()
    axes.set_yticks(range(len(shown)), [f"{t.symbol} ({t.transitions})" for t in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.tick_params(axis="y", length=0)
    _time_axis(axes, labels)
    return _svg(figure)


def _number(at: datetime) -> float:
    from matplotlib.dates import date2num

    return float(date2num(at))


def _legend(axes: "Axes") -> None:
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.0)


def _time_axis(axes: "Axes", labels: dict[str, str]) -> None:
    from matplotlib.dates import AutoDateLocator, DateFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(AutoDateLocator(maxticks=7, tz=UTC))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S" if high - low < 1.0 else "%m-%d %H:%M", tz=UTC))
    axes.set_xlabel(labels["chart_time"])


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
