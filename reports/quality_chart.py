"""Rank IC by horizon: each signal in both arms, and what the canary changes."""

from typing import TYPE_CHECKING

import numpy as np

from engine.rollout.quality import Quality, SignalQuality, StageQuality
from reports.charts import BASELINE_COLOUR, CANARY_COLOUR, new_figure, styled, to_svg
from reports.quality import horizon_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP_COLOURS = ("#1d4ed8", "#b45309")
GAP_MARKERS = ("o", "s")
GAP_SHIFT = 0.2


@styled
def quality_chart(quality: StageQuality, labels: dict[str, str]) -> str | None:
    """One panel per signal on a common scale, and one of canary minus baseline with two standard errors.

    None where no rank IC is known.
    """
    shown = [signal for signal in quality.signals if _is_known(signal)]
    if not shown:
        return None
    figure, panels = new_figure(7.6, 2.7, len(shown) + 1)
    for panel, signal in zip(panels, shown, strict=False):
        panel.sharey(panels[0])
        _draw_arms(panel, signal, labels)
    for index, signal in enumerate(shown):
        _draw_gaps(panels[-1], signal, index, index - (len(shown) - 1) / 2)
    panels[-1].set_ylabel(labels["chart_gap"])
    panels[0].set_ylabel(labels["rank_ic"])
    for panel in panels:
        panel.axhline(0.0, color="#9ca3af", linewidth=1, zorder=0)
        _horizon_axis(panel, shown[0], labels)
        _legend_above(panel)
    return to_svg(figure)


def _is_known(signal: SignalQuality) -> bool:
    return any(horizon.baseline.rank_ic is not None for horizon in signal.horizons)


def _number(quality: Quality) -> float:
    """The rank IC, NaN where it is not known: a gap in the line."""
    return np.nan if quality.rank_ic is None else quality.rank_ic


def _draw_arms(axes: "Axes", signal: SignalQuality, labels: dict[str, str]) -> None:
    at = range(len(signal.horizons))
    baseline = [_number(horizon.baseline) for horizon in signal.horizons]
    canary = [_number(horizon.canary) for horizon in signal.horizons]
    axes.plot(at, baseline, "s--", color=BASELINE_COLOUR, linewidth=1.6, markersize=5, label=labels["baseline"])
    axes.plot(at, canary, "o-", color=CANARY_COLOUR, linewidth=1.8, markersize=5, label=labels["canary"])
    axes.set_title(signal.signal.upper(), loc="left", fontsize=9)


def _draw_gaps(axes: "Axes", signal: SignalQuality, index: int, offset: float) -> None:
    gaps = [_number(horizon.canary) - _number(horizon.baseline) for horizon in signal.horizons]
    errors = [2 * horizon.gap_error if horizon.gap_error is not None else np.nan for horizon in signal.horizons]
    axes.errorbar(
        np.arange(len(gaps)) + GAP_SHIFT * offset, gaps, yerr=errors,
        color=GAP_COLOURS[index], fmt=GAP_MARKERS[index], markersize=5, capsize=3, label=signal.signal.upper(),
    )  # fmt: skip


def _legend_above(axes: "Axes") -> None:
    axes.legend(
        frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2,
        borderaxespad=0.2, handlelength=1.5, handletextpad=0.4, columnspacing=0.9,
    )  # fmt: skip


def _horizon_axis(axes: "Axes", signal: SignalQuality, labels: dict[str, str]) -> None:
    axes.set_xticks(range(len(signal.horizons)), [horizon_text(horizon.horizon_ms) for horizon in signal.horizons])
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(-0.4, len(signal.horizons) - 0.6)
    axes.set_xlabel(labels["chart_horizon"])
