"""The rollout that is simulated: the shipped production plan, 24 days, with six symbols."""

from functools import cache
from pathlib import Path

from config.loader import load_programme
from engine.rollout.spec import ReleaseSpec, RolloutSpec

CONFIG = Path(__file__).resolve().parents[2] / "config"
SYMBOLS = tuple(f"{ticker}USDT.simulated" for ticker in ("BTC", "ETH", "SOL", "BNB", "XRP", "DOGE"))


@cache
def spec() -> RolloutSpec:
    """One symbol, then four, then all."""
    plan = load_programme(CONFIG / "rollout.yaml", None, {}).plan
    symbols = dict(zip((stage.name for stage in plan.stages), (SYMBOLS[:1], SYMBOLS[:4], SYMBOLS), strict=True))
    return RolloutSpec(
        rollout="simulated", plan=plan, baseline=ReleaseSpec("{}", "baseline"),
        releases={stage.name: ReleaseSpec("{}", f"candidate-{stage.name}") for stage in plan.stages},
        symbols=symbols, all_symbols=SYMBOLS, changes={}, feed_name="model", is_simulated=True, seed=None,
        approve="ask", requester="Rita", market_start_ns=0, language="en",
    )  # fmt: skip
