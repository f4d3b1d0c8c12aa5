"""The section on signal quality: numbers as text, in the order they are read."""

from dataclasses import dataclass

from engine.rollout.quality import (
    MIN_FIT,
    MIN_PAIRS,
    Fit,
    HorizonQuality,
    Quality,
    QualitySlice,
    SignalQuality,
    StageQuality,
)

ABSENT = "–"
MINUS = "−"

Arms = tuple[str, str]
"""Text of one number, baseline then canary."""


@dataclass(frozen=True)
class HorizonRow:
    """One signal at one horizon; `pairs` of both arms where they differ."""

    horizon: str
    rank_ic: Arms
    gap: str
    hit_rate: Arms
    auc: Arms
    pairs: str


@dataclass(frozen=True)
class SignalTable:
    """One signal: its horizons and how often it triggers."""

    name: str
    rows: list[HorizonRow]
    triggers: Arms


@dataclass(frozen=True)
class FitRow:
    """One symbol's regression of mid return on OFI."""

    symbol: str
    r_squared: Arms
    slope: Arms


@dataclass(frozen=True)
class SliceRow:
    """One kind of market; `rank_ic` holds one pair per signal, in the tables' order."""

    name: str
    windows: str
    rank_ic: list[Arms]


@dataclass(frozen=True)
class QualitySection:
    """What templates loop over."""

    note: str
    signals: list[SignalTable]
    fits_note: str
    fits: list[FitRow]
    slices_note: str
    slices: list[SliceRow]


def quality_section(quality: StageQuality | None, labels: dict[str, str]) -> QualitySection | None:
    """Word a stage's signal quality; None where it was not measured."""
    if quality is None:
        return None
    horizon = horizon_text(quality.slice_horizon_ms)
    return QualitySection(
        note=labels["quality_note"].format(pairs=MIN_PAIRS),
        signals=[_table(signal) for signal in quality.signals],
        fits_note=labels["fits_note"].format(fits=MIN_FIT),
        fits=[_fit_row(symbol, arms) for symbol, arms in quality.fits.items()],
        slices_note=labels["slices_note"].format(horizon=horizon),
        slices=[_slice_row(piece, labels) for piece in quality.slices],
    )


def horizon_text(horizon_ms: int) -> str:
    """A horizon in its own size: 250 ms, 5 s.

    >>> horizon_text(250), horizon_text(1500), horizon_text(300_000)
    ('250 ms', '1.5 s', '300 s')
    """
    return f"{horizon_ms} ms" if horizon_ms < 1000 else f"{horizon_ms / 1000:g} s"


def _table(signal: SignalQuality) -> SignalTable:
    rows = [_horizon_row(horizon) for horizon in signal.horizons]
    baseline, canary = signal.trigger_rates
    return SignalTable(signal.signal.upper(), rows, (_percent(baseline), _percent(canary)))


def _horizon_row(horizon: HorizonQuality) -> HorizonRow:
    baseline, canary = horizon.baseline, horizon.canary
    return HorizonRow(
        horizon=horizon_text(horizon.horizon_ms),
        rank_ic=_rank_ics(baseline, canary),
        gap=_gap(horizon),
        hit_rate=(_percent(baseline.hit_rate), _percent(canary.hit_rate)),
        auc=(_plain(baseline.auc), _plain(canary.auc)),
        pairs=" / ".join(dict.fromkeys((f"{baseline.pairs:,}", f"{canary.pairs:,}"))),
    )


def _gap(horizon: HorizonQuality) -> str:
    before, after = horizon.baseline.rank_ic, horizon.canary.rank_ic
    if before is None or after is None:
        return ABSENT
    gap = _signed(after - before)
    return f"{gap} ± {2 * horizon.gap_error:.3f}" if horizon.gap_error is not None else gap


def _fit_row(symbol: str, arms: tuple[Fit, Fit]) -> FitRow:
    baseline, canary = arms
    return FitRow(
        symbol,
        (_plain(baseline.r_squared), _plain(canary.r_squared)),
        (_slope(baseline.slope), _slope(canary.slope)),
    )


def _slice_row(piece: QualitySlice, labels: dict[str, str]) -> SliceRow:
    name = f"{labels[f'slice_{piece.kind}']}: {labels[f'slice_{piece.name}']}"
    return SliceRow(name, f"{piece.windows:,}", [_rank_ics(*arms) for arms in piece.signals.values()])


def _rank_ics(baseline: Quality, canary: Quality) -> Arms:
    return _signed(baseline.rank_ic), _signed(canary.rank_ic)


def _signed(value: float | None) -> str:
    return ABSENT if value is None else f"{round(value, 3) + 0.0:+.3f}".replace("-", MINUS)


def _plain(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return ABSENT if share is None else f"{100 * share:.1f} %"


def _slope(value: float | None) -> str:
    return ABSENT if value is None else f"{value:#.3g}".rstrip(".").replace("-", MINUS)
