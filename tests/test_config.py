"""Configuration: everything shipped loads, everything broken is refused by file and field."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from config.loader import CALENDARS_FILE, CAPS_FILE, CONFIG_DIR, load_calendars, load_caps, load_programme, load_release
from config.strict_yaml import load_yaml
from engine.errors import ConfigError
from engine.strategy.caps import FOUR
from engine.strategy.params import StrategyParams

PLANS = ("rollout.yaml", "rehearsal.yaml")
SHIPPED = sorted(CONFIG_DIR.rglob("*.yaml"))
RELEASES = sorted(
    [*CONFIG_DIR.glob("examples/*.yaml"), *CONFIG_DIR.glob("production*.yaml"), CONFIG_DIR / "baseline.yaml"]
)


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
        pytest.param(changed("dry_run: false", "dry_run: 0"), r"strategy\.dry_run: ", id="a number for a claim"),
        pytest.param(changed("form: best", "form: worst"), r"strategy\.active\.ofi\.form: .*'worst'", id="a form"),
        pytest.param(
            changed("depth_levels: 10", "depth_levels: 11"), r"strategy\.active\.ofi: .*depth_levels", id="a level more"
        ),
        pytest.param(
            changed("window: 600", "window: 2000"), r"strategy\.active\.ofi\.z: .*ofi\.z\.window must be", id="a long z"
        ),
        pytest.param(changed("calendar: none", "calendar: mars"), r"schedule\.calendar: .*'mars'", id="a calendar"),
        pytest.param(changed("calendar: none", "calendar: [none]"), r"schedule\.calendar: ", id="listed calendars"),
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


def release_with(tmp_path: Path, per_symbol: str, more: str = "") -> Path:
    """A configuration beside the shipped baseline that has these overrides."""
    path = tmp_path / "candidate.yaml"
    path.write_text(f"extends: {CONFIG_DIR / 'baseline.yaml'}\nstrategy:\n  per_symbol: {per_symbol}\n{more}")
    return path


def overridden(tmp_path: Path, per_symbol: str, more: str = "") -> StrategyParams:
    return load_release(release_with(tmp_path, per_symbol, more), {}, {}).params


def test_an_override_says_only_the_differences(tmp_path: Path) -> None:
    params = overridden(tmp_path, "{BTCUSDT: {active: {ofi: {bucket_ms: 50}}}}")
    general, own = params.for_symbol("ETHUSDT.simulated"), params.for_symbol("BTCUSDT.simulated")

    assert (general.active.ofi.bucket_ms, own.active.ofi.bucket_ms) == (100, 50)
    assert own.active.ofi.window_ms == general.active.ofi.window_ms
    assert (own.quiet, own.fusion, own.market) == (general.quiet, general.fusion, general.market)


def test_a_symbol_differs_from_its_ticker_where_both_are_overridden(tmp_path: Path) -> None:
    both = "{BTCUSDT: {paper: {fee_bps: 3, latency_ms: 7}}, BTCUSDT.binance_spot: {paper: {fee_bps: 4}}}"

    params = overridden(tmp_path, both)

    assert params.for_symbol("BTCUSDT.binance_usdm").paper.fee_bps == 3
    spot = params.for_symbol("BTCUSDT.binance_spot").paper
    assert (spot.fee_bps, spot.latency_ms) == (4, 7)


def test_overrides_of_a_plan_reach_a_symbol_unless_it_has_its_own(tmp_path: Path) -> None:
    path = release_with(tmp_path, "{BTCUSDT: {market: {min_volume_usd: 5}}, ETHUSDT: {market: {window_secs: 30}}}")

    params = load_release(path, {"market": {"window_secs": 1}}, {}).params

    assert params.for_symbol("BTCUSDT").market.window_secs == 1
    assert params.for_symbol("BTCUSDT").market.min_volume_usd == 5
    assert params.for_symbol("ETHUSDT").market.window_secs == 30


def test_the_environment_overrides_one_symbol() -> None:
    environment = {"GRAYGATE__strategy__per_symbol__BTCUSDT__active__ofi__bucket_ms": "50"}

    params = load_release(CONFIG_DIR / "baseline.yaml", {}, environment).params

    assert params.for_symbol("BTCUSDT").active.ofi.bucket_ms == 50


@pytest.mark.parametrize(
    ("per_symbol", "says"),
    [
        pytest.param("5", r"strategy\.per_symbol: expected a mapping, found 5", id="a number for a mapping"),
        pytest.param("{BTCUSDT: 5}", r"strategy\.per_symbol\.BTCUSDT: expected a mapping, found 5", id="for a symbol"),
        pytest.param("{BTCUSDT: }", r"strategy\.per_symbol\.BTCUSDT: expected a mapping, found nothing", id="empty"),
        pytest.param("{BTCUSDT: {mode: active}}", r"strategy\.per_symbol\.BTCUSDT\.mode: ", id="a global switch"),
        pytest.param(
            "{BTCUSDT: {active: {ofi: {bucket_ms: 60}}}}",
            r"per_symbol\.BTCUSDT\.active\.ofi: .*bucket_ms",
            id="invalid",
        ),
        pytest.param("{btcusdt: {paper: {fee_bps: 3}}}", r"strategy: per_symbol must be by ticker", id="small letters"),
        pytest.param(
            "{BTCUSDT: {schedule: {calendar: mars}}}", r"per_symbol\.BTCUSDT\.schedule\.calendar: ", id="a calendar"
        ),
    ],
)
def test_a_broken_override_is_refused_by_file_and_field(tmp_path: Path, per_symbol: str, says: str) -> None:
    path = release_with(tmp_path, per_symbol)

    with pytest.raises(ConfigError, match=says) as refused:
        load_release(path, {}, {})

    assert str(path) in str(refused.value)


def test_a_plan_knows_every_symbol_its_files_name(tmp_path: Path) -> None:
    candidate = release_with(tmp_path, "{DOGEUSDT: {paper: {fee_bps: 3}}}", "symbols: [ETHUSDT]\n")

    programme = load_programme(CONFIG_DIR / "rehearsal.yaml", candidate, {})

    assert programme.named_symbols == ((candidate, "ETHUSDT"), (candidate, "DOGEUSDT"))


def test_a_calendar_adds_its_days_to_the_holidays_listed(tmp_path: Path) -> None:
    path = tmp_path / "candidate.yaml"
    schedule = "{calendar: hong_kong, holidays: [2025-01-02, 2025-12-25]}"
    path.write_text(f"extends: {CONFIG_DIR / 'baseline.yaml'}\nstrategy:\n  schedule: {schedule}\n")

    holidays = load_release(path, {}, {}).params.schedule.holidays

    assert holidays == tuple(sorted({"2025-01-02", *load_calendars(CALENDARS_FILE)["hong_kong"]}))


def test_one_symbol_may_keep_another_calendar(tmp_path: Path) -> None:
    params = overridden(tmp_path, "{BTCUSDT: {schedule: {calendar: hong_kong}}}")

    assert params.for_symbol("ETHUSDT").schedule.holidays == ()
    assert "2025-01-29" in params.for_symbol("BTCUSDT").schedule.holidays


def test_the_shipped_calendars_are_dates_in_order_and_never_sundays() -> None:
    calendars = load_calendars(CALENDARS_FILE)
    days = [date.fromisoformat(text) for text in calendars["hong_kong"]]

    assert calendars["none"] == []
    assert days == sorted(set(days))
    assert all(day.weekday() != 6 for day in days)
    assert [sum(day.year == year for day in days) for year in (2025, 2026)] == [17, 17]


CAPS = CAPS_FILE.read_text()


def test_the_shipped_caps_allow_what_the_shipped_parameters_may_do() -> None:
    caps = load_caps()

    for path in RELEASES:
        params = load_release(path, {}, {}).params
        for chosen in (params.active, params.quiet):
            value_usd = chosen.risk.position_limit * params.paper.allocation_usd
            assert value_usd <= caps.positions.max_usd
            assert 2 * value_usd <= caps.orders.max_value_usd
            assert chosen.risk.order_rate_limit_per_min <= caps.orders.max_per_min
    assert caps.allows("ETHUSDT.simulated")
    assert not caps.allows("ETHUSDT.elsewhere")


@pytest.mark.parametrize("name", FOUR)
def test_caps_without_one_of_the_four_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "caps.yaml"
    path.write_text(re.sub(rf"^{name}:.*\n(?: .*\n)*", "", CAPS, flags=re.MULTILINE))

    with pytest.raises(ConfigError, match=rf"caps\.yaml: {name} is missing; all four caps must be set: "):
        load_caps(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("max_per_min: 600", "max_per_hour: 600", r"orders\.max_per_min: ", id="a missing number"),
        pytest.param("max_per_min: 600", "max_per_min: 0", r"orders: .*max_per_min must be in", id="no orders at all"),
        pytest.param("max_usd: 100000", "max_usd: .inf", r"positions\.max_usd: ", id="a position without end"),
        pytest.param("max_usd: 100000", "max_usd: .nan", r"positions\.max_usd: ", id="not a number"),
        pytest.param("positions:\n", "positions: 5\nspare:\n", r"spare|positions: ", id="a number for a mapping"),
        pytest.param("venues: [", "turbo: 1\nvenues: [", "turbo: ", id="a fifth cap"),
        pytest.param("venues: [binance_spot,", "venues: [Mars,", "venues must be", id="a venue in capitals"),
    ],
)
def test_broken_caps_are_refused_by_file_and_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in CAPS
    path = tmp_path / "caps.yaml"
    path.write_text(CAPS.replace(old, new, 1))

    with pytest.raises(ConfigError, match=says) as refused:
        load_caps(path)

    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("caps: {positions: {max_usd: 1000000000}}\n", id="at the top"),
        pytest.param("strategy: {caps: {positions: {max_usd: 1000000000}}}\n", id="in the strategy"),
        pytest.param("strategy: {per_symbol: {BTCUSDT: {caps: 5}}}\n", id="of one symbol"),
    ],
)
def test_a_candidate_cannot_set_caps(tmp_path: Path, text: str) -> None:
    path = tmp_path / "candidate.yaml"
    path.write_text(f"extends: {CONFIG_DIR / 'baseline.yaml'}\n{text}")

    with pytest.raises(ConfigError, match=r"caps live in config/caps\.yaml; a candidate cannot set them"):
        load_release(path, {}, {})


@pytest.mark.parametrize(
    ("overrides", "environment"),
    [
        pytest.param({"caps": {"positions": {"max_usd": 1e9}}}, {}, id="a plan"),
        pytest.param({}, {"GRAYGATE__strategy__caps__positions__max_usd": "1e9"}, id="the environment"),
    ],
)
def test_nothing_else_can_set_caps_either(overrides: dict[str, Any], environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="caps live in"):
        load_release(CONFIG_DIR / "baseline.yaml", overrides, environment)
