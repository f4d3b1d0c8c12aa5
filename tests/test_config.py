"""Configuration: everything shipped loads, everything broken is refused by file and field."""

import re
from pathlib import Path
from typing import Any

import pytest

from config.loader import CONFIG_DIR, load_programme, load_release
from config.strict_yaml import load_yaml
from engine.errors import ConfigError

PLANS = ("rollout.yaml", "rehearsal.yaml")
SHIPPED = sorted(CONFIG_DIR.rglob("*.yaml"))
RELEASES = [path for path in SHIPPED if path.name not in PLANS and "monitoring" not in path.parts]


def relative(path: Path) -> str:
    return str(path.relative_to(CONFIG_DIR))


@pytest.mark.parametrize("name", PLANS)
def test_a_shipped_plan_loads(name: str) -> None:
    programme = load_programme(CONFIG_DIR / name, None, {})

    assert [stage.name for stage in programme.plan.stages] == ["10pct", "50pct", "100pct"]
    assert set(programme.releases) == {"10pct", "50pct", "100pct"}


@pytest.mark.parametrize("path", RELEASES, ids=relative)
def test_a_shipped_configuration_loads(path: Path) -> None:
    assert re.fullmatch("[0-9a-f]{12}", load_release(path, {}, {}).fingerprint)


@pytest.mark.parametrize("path", SHIPPED, ids=relative)
def test_a_shipped_file_is_strict_yaml(path: Path) -> None:
    assert load_yaml(path)


@pytest.mark.parametrize("name", PLANS)
def test_a_candidate_given_replaces_that_of_every_stage(name: str) -> None:
    bad = CONFIG_DIR / "examples" / "bad_candidate.yaml"

    programme = load_programme(CONFIG_DIR / name, bad, {})

    assert {release.path for release in programme.releases.values()} == {bad}


GOOD = (CONFIG_DIR / "baseline.yaml").read_text()


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(changed("fee_bps: 1.7", "fee_bps: 1.7, tip: 1"), r"strategy\.paper\.tip: ", id="an unknown key"),
        pytest.param(GOOD + "turbo: true\n", "turbo: unknown key", id="an unknown key at the top"),
        pytest.param(changed("fee_bps: 1.7", "fee_bps: .nan"), r"strategy\.paper\.fee_bps: ", id="not a number"),
        pytest.param(changed("fee_bps: 1.7", "fee_bps: .inf"), r"strategy\.paper\.fee_bps: ", id="infinity"),
        pytest.param(changed("fee_bps: 1.7", 'fee_bps: "1.7"'), r"strategy\.paper\.fee_bps: ", id="text for a number"),
        pytest.param(changed("latency_ms: 100", "latency_ms: 0.5"), r"strategy\.paper\.latency_ms: ", id="half a ms"),
        pytest.param(changed("latency_ms: 100", "latency_ms: true"), r"strategy\.paper\.latency_ms: ", id="true for 1"),
        pytest.param(changed("fee_bps: 1.7, ", ""), r"strategy\.paper\.fee_bps: ", id="a missing field"),
        pytest.param(changed("fee_bps: 1.7", "fee_bps: -1"), r"strategy\.paper: .*fee_bps must be >= 0", id="negative"),
        pytest.param(changed("mode: quiet", "mode: fast"), r"strategy\.mode: .*'fast'", id="an unknown choice"),
        pytest.param(
            changed("dynamic_mode_enabled: false", "dynamic_mode_enabled: no"),
            r"strategy\.dynamic_mode_enabled: ",
            id="no for false",
        ),
        pytest.param(changed("mode: quiet", "mode: quiet\n  mode: auto"), "line 4.*'mode' occurs twice", id="twice"),
        pytest.param(changed("strategy:", "a: &a {}\nb: *a\nstrategy:"), "aliases are not allowed", id="an alias"),
        pytest.param(changed("mode: quiet", "mode: !!python/name:os.system x"), "line 3", id="a Python tag"),
        pytest.param(changed("mode: quiet", "mode: !secret x"), "line 3", id="a tag of its own"),
        pytest.param(changed("timezone: Asia/Hong_Kong", "timezone: Mars"), r"strategy\.schedule: .*Mars", id="a zone"),
        pytest.param(changed('"09:00-12:00"', '"25:00-26:00"'), r"strategy\.schedule.*25:00", id="a schedule window"),
        pytest.param(changed("windows: [", "windows: [9, "), r"strategy\.schedule\.windows\.0: ", id="a number listed"),
        pytest.param(
            changed("holidays: []", "holidays: [Christmas]"), r"strategy\.schedule.*Christmas", id="a holiday"
        ),
        pytest.param(changed("weekdays: [0,", "weekdays: [7,"), r"strategy\.schedule: .*weekdays", id="an eighth day"),
        pytest.param("strategy: 5\n", "strategy: expected a mapping, found 5", id="a number for a mapping"),
        pytest.param("symbols: [ETHUSDT]\n", "strategy: expected a mapping, found nothing", id="no strategy"),
        pytest.param(GOOD + "symbols: ETHUSDT\n", "symbols: ", id="text for a list"),
        pytest.param("", "expected a mapping at the top", id="an empty file"),
        pytest.param("- a\n", "expected a mapping at the top", id="a list at the top"),
        pytest.param("strategy: {\n", "line 2", id="an open bracket"),
        pytest.param("5: x\n", "key 5 is not text", id="a key that is a number"),
        pytest.param("extends: broken.yaml\n", "extends: .*circle", id="it extends itself"),
        pytest.param("extends: [a, b]\n", "extends: expected a file name", id="it extends a list"),
        pytest.param("extends: gone.yaml\n", "gone.yaml: cannot be read", id="it extends what is not there"),
        pytest.param("x: " + "y" * 300_000, "at most", id="a huge file"),
        pytest.param("a: " + "[" * 5000, "not YAML|line", id="deep nesting"),
    ],
)
def test_a_broken_configuration_is_refused_by_file_and_field(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=says) as refused:
        load_release(path, {}, {})

    assert str(path) in str(refused.value) or "gone.yaml" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [pytest.param(b"strategy: \xff\n", id="not UTF-8"), pytest.param(b"a: \x00\n", id="a zero byte")],
)
def test_bytes_that_are_not_text_are_refused_by_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(text)

    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load_release(path, {}, {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(str(tmp_path / 'none.yaml'))}: cannot be read"):
        load_release(tmp_path / "none.yaml", {}, {})


def test_two_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")

    with pytest.raises(ConfigError, match=r"\.yaml: extends: .*circle"):
        load_release(tmp_path / "a.yaml", {}, {})


PLAN = (CONFIG_DIR / "rollout.yaml").read_text()


def plan_with(tmp_path: Path, old: str, new: str) -> Path:
    """A copy of the shipped plan with one change, beside copies of what it names."""
    assert old in PLAN
    for path in CONFIG_DIR.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    changed_plan = tmp_path / "rollout.yaml"
    changed_plan.write_text(PLAN.replace(old, new, 1))
    return changed_plan


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("kind: production", "kind: dress", "kind: .*'dress'", id="an unknown kind"),
        pytest.param("warmup_s: 3600", "warmup_s: .nan", "warmup_s: ", id="not a number"),
        pytest.param("warmup_s: 3600", "warmup_s: 3600\nturbo: 1", "turbo: ", id="an unknown key"),
        pytest.param(
            "baseline: baseline.yaml", "baseline: 5", "baseline: expected a file name, found 5", id="baseline"
        ),
        pytest.param("weight_pct: 50", "weight_pct: 5", "must rise strictly to 100", id="weights that fall"),
        pytest.param("candidate: production_full.yaml", "candidate: gone.yaml", "gone.yaml: cannot be", id="no file"),
        pytest.param("candidate: production_full.yaml", "max: 5", r"stages\.100pct\.candidate: ", id="no candidate"),
        pytest.param("test: distribution", "test: guess", r"conditions\.2.*test.*: .*'guess'", id="an unknown test"),
        pytest.param("tolerance_pct: 5, unit: IC", "unit: IC", r"conditions\.0.*tolerance_pct", id="no tolerance"),
        pytest.param("alpha_advance: 0.05", "alpha_advance: 0.5", "alpha_advance must be in", id="a lax level"),
        pytest.param("min_blocks: 8", "min_blocks: 2", "min_blocks must be >= 8, was 2", id="too few blocks"),
        pytest.param("observe_s: 259200", "observe_s: 259201", "stage 10pct: observe_s", id="half a slot"),
        pytest.param("cadence_s: 14400", "cadence_s: 0", "stage 10pct", id="no cadence"),
    ],
)
def test_a_broken_plan_is_refused_by_file_and_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = plan_with(tmp_path, old, new)

    with pytest.raises(ConfigError, match=says) as refused:
        load_programme(path, None, {})

    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "field", "value"),
    [
        pytest.param({"STRATEGY_MODE": "active"}, "mode", "active", id="the mode"),
        pytest.param({"DYNAMIC_MODE_ENABLED": "true"}, "dynamic_mode_enabled", True, id="switching on"),
        pytest.param({"DYNAMIC_MODE_ENABLED": "False"}, "dynamic_mode_enabled", False, id="switching off"),
        pytest.param(
            {"GRAYGATE__strategy__hysteresis__min_active_windows": "7"}, "hysteresis.min_active_windows", 7,
            id="a nested number",
        ),
        pytest.param({"GRAYGATE__strategy__paper__fee_bps": "2.5"}, "paper.fee_bps", 2.5, id="a nested float"),
        pytest.param({"UNRELATED": "x"}, "mode", "quiet", id="something unrelated"),
    ],
)  # fmt: skip
def test_the_environment_overrides_the_file(environment: dict[str, str], field: str, value: Any) -> None:
    found: Any = load_release(CONFIG_DIR / "baseline.yaml", {}, environment).params

    for name in field.split("."):
        found = getattr(found, name)
    assert found == value


def test_the_environment_overrides_baseline_and_candidates_of_a_plan() -> None:
    programme = load_programme(CONFIG_DIR / "rehearsal.yaml", None, {"STRATEGY_MODE": "quiet"})

    modes = [programme.baseline.params.mode, *(release.params.mode for release in programme.releases.values())]
    assert modes == ["quiet"] * 4


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param({"STRATEGY_MODE": "fast"}, r"strategy\.mode: .*'fast'", id="an unknown mode"),
        pytest.param({"DYNAMIC_MODE_ENABLED": "maybe"}, r"strategy\.dynamic_mode_enabled: ", id="neither yes nor no"),
        pytest.param({"GRAYGATE__strategy__turbo": "1"}, r"strategy\.turbo: ", id="an unknown field"),
        pytest.param({"GRAYGATE__strategy__paper__fee_bps": "NaN"}, r"strategy\.paper\.fee_bps: ", id="no number"),
        pytest.param({"GRAYGATE__strategy__paper": "5"}, r"strategy\.paper: ", id="a number for a mapping"),
        pytest.param({"STRATEGY_MODE": "auto", "GRAYGATE__strategy__mode__x": "1"}, r"strategy\.mode", id="both"),
    ],
)
def test_a_wrong_environment_is_refused_by_field(environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_release(CONFIG_DIR / "baseline.yaml", {}, environment)
