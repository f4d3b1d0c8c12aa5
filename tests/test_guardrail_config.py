"""The limits of a live candidate as they are written down: all of them, and by nobody but the service's owner."""

from pathlib import Path

import pytest

from config.loader import CAPS_FILE, CONFIG_DIR, load_guardrails, load_release
from engine.errors import ConfigError

CAPS = CAPS_FILE.read_text()


def test_the_shipped_limits_are_read() -> None:
    limits = load_guardrails()

    assert (limits.max_loss_bps, limits.max_feed_age_s, limits.max_loop_lag_ms) == (500, 30, 2000)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("guardrails:", "spare:", "guardrails is missing; without limits nothing goes live", id="none"),
        pytest.param("  max_loss_bps: 500\n", "", r"guardrails\.max_loss_bps: ", id="one is missing"),
        pytest.param("max_loss_bps: 500", "max_loss_bps: .nan", r"guardrails\.max_loss_bps: ", id="not a number"),
        pytest.param("max_feed_age_s: 30", "max_feed_age_s: .inf", r"guardrails\.max_feed_age_s: ", id="without end"),
        pytest.param("max_feed_age_s: 30", "max_feed_age_s: 0", "max_feed_age_s must be > 0", id="zero"),
        pytest.param("max_loop_lag_ms: 2000", "max_lag_ms: 2000", r"guardrails\.max_", id="another name"),
    ],
)
def test_limits_that_limit_nothing_are_refused_by_file_and_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in CAPS
    path = tmp_path / "caps.yaml"
    path.write_text(CAPS.replace(old, new, 1))

    with pytest.raises(ConfigError, match=says) as refused:
        load_guardrails(path)

    assert str(path) in str(refused.value)


def test_a_candidate_cannot_set_them(tmp_path: Path) -> None:
    path = tmp_path / "candidate.yaml"
    path.write_text(f"extends: {CONFIG_DIR / 'baseline.yaml'}\nstrategy: {{guardrails: {{max_loss_bps: 9999}}}}\n")

    with pytest.raises(ConfigError, match=r"guardrails live in config/caps\.yaml; a candidate cannot set them"):
        load_release(path, {}, {})
