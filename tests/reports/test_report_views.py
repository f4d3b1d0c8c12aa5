"""What a report takes from the evidence: each window at its place in time."""

from typing import Any

import numpy as np
import pytest

from engine.rollout.evidence import Evidence
from tasks.report import mode_tracks
from tests.making import T0, S

SYMBOLS = ("ETHUSDT.x", "BTCUSDT.x")
FINGERPRINTS = {"baseline": "b" * 12, "canary": "c" * 12}
TICKS_PER_S = 20


def evidence(windows: dict[str, Any]) -> Evidence:
    return Evidence(windows, {}, (*SYMBOLS, "SOLUSDT.x"), FINGERPRINTS, T0, T0 + 4 * S, 1)


def rows(*starts_s: int) -> dict[str, Any]:
    """Both arms of the first symbol at these seconds; the canary is active half of each, the baseline never."""
    arms = [arm for arm in FINGERPRINTS for _ in starts_s]
    return {
        "symbol": np.array([SYMBOLS[0]] * len(arms), object),
        "arm": np.array(arms, object),
        "fingerprint": np.array([FINGERPRINTS[arm] for arm in arms], object),
        "window_start_ns": np.array([T0 + start * S for _ in FINGERPRINTS for start in starts_s]),
        "active_ticks": np.array([TICKS_PER_S // 2 * (arm == "canary") for arm in arms]),
        "transitions": np.array([1 * (arm == "canary") for arm in arms]),
    }


def test_a_missing_window_leaves_a_gap_where_it_would_be() -> None:
    track = mode_tracks(evidence(rows(3, 0)), SYMBOLS)[0]

    assert track.active_share == pytest.approx([0.5, np.nan, np.nan, 0.5], nan_ok=True)
    assert track.transitions == 2


def test_a_window_outside_the_stage_is_not_drawn() -> None:
    assert mode_tracks(evidence(rows(0, 4, -1)), SYMBOLS)[0].transitions == 1


@pytest.mark.parametrize("windows", [{}, rows()], ids=["no table", "no rows"])
def test_without_windows_the_tracks_are_blank(windows: dict[str, Any]) -> None:
    tracks = mode_tracks(evidence(windows), SYMBOLS)

    assert [(track.symbol, track.transitions) for track in tracks] == [(SYMBOLS[0], 0), (SYMBOLS[1], 0)]
    assert all(np.isnan(track.active_share).all() for track in tracks)
