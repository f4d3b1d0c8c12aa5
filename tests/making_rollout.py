"""A rollout to test with: the shipped production plan, three symbols, parameters that nobody reads."""

from pathlib import Path

from config.loader import load_programme
from engine.rollout.spec import ReleaseSpec, RolloutSpec

ROOT = Path(__file__).resolve().parents[1]
SYMBOLS = ("ETHUSDT.simulated", "BTCUSDT.simulated", "SOLUSDT.simulated")
PLAN = load_programme(ROOT / "config" / "rollout.yaml", None, {}).plan
RELEASES = {stage.name: ReleaseSpec("{}", f"candidate-{stage.name}") for stage in PLAN.stages}

SPEC = RolloutSpec(
    rollout="production-test",
    plan=PLAN,
    baseline=ReleaseSpec("{}", "baseline-0001"),
    releases=RELEASES,
    symbols={"10pct": SYMBOLS[:1], "50pct": SYMBOLS, "100pct": SYMBOLS},
    all_symbols=SYMBOLS,
    changes={},
    feed_name="model",
    is_simulated=True,
    seed=1,
    approve="ask",
    requester="Rita",
    market_start_ns=0,
    language="en",
)
