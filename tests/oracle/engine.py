"""The strategy of one symbol in plain Python: the readable twin that the compiled kernels are held against.

It keeps everything it ever heard (no rings, nothing cleared) and looks back by time. Depth is in `book.py`.
"""

import math
import statistics
from collections import defaultdict
from typing import Any

from engine.strategy.layout import ACTIVE, BIN_NS, GAP, QUOTE, TRADE
from tests.oracle.numbers import (
    NAN,
    Moments,
    ZScore,
    add_pair,
    clip,
    hist_bin,
    joint_bin,
    order_flow,
    signed_sqrt,
    winsorised_sum,
)  # fmt: skip

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
Pairs = dict[str, Any]


def no_pairs() -> Pairs:
    return {"n": 0, "sx": 0.0, "sy": 0.0, "sxx": 0.0, "syy": 0.0, "sxy": 0.0}


class OracleArm:
    """What depends on parameters. `modes` holds a parameter row per mode."""

    def __init__(self, modes: Any, caps: Any, horizons: int) -> None:
        self.modes, self.caps, self.horizons = modes, caps, horizons
        self.mode = ACTIVE if modes[0]["pin"] == ACTIVE else 0
        self.next_ns, self.frozen_until = 0, 0
        self.ofi_z = self.cvd_z = NAN
        self.ofi, self.cvd, self.size, self.ema = ZScore(20), ZScore(50), Moments(), 0.0
        self.position = self.wanted = self.due_ns = 0
        self.mark, self.equity, self.orders_ns = 0.0, 0.0, []
        self.published: list[tuple[Any, ...]] = []
        self.clear()

    @property
    def p(self) -> Any:
        return self.modes[self.mode]

    def clear(self) -> None:
        self.sums = [
            {"n": 0, "total": 0.0, "squares": 0.0, "hist": [0] * 102,
             "ic": [{**no_pairs(), "hits": 0, "joint": [0] * 144} for _ in range(self.horizons)]}
            for _ in range(2)
        ]  # fmt: skip
        self.fit = no_pairs()
        self.active_ticks = 0
        self.paper = dict.fromkeys(("gross", "fees", "turnover", "drawdown"), 0.0)
        self.paper |= dict.fromkeys(("orders", "refused", "capped"), 0)
        self.peak = self.equity

    def on_trade(self, value: float, side: float) -> None:
        p, kept = self.p, value
        cut = self.size.mean + p["denoise_sigma"] * math.sqrt(self.size.var)
        if self.size.count >= 50 and value > cut:
            kept = cut
        self.size.update(value, p["size_alpha"])
        self.ema += p["ema_alpha"] * (kept * side - self.ema)
        x = signed_sqrt(self.ema) if p["cvd_signed_sqrt"] else self.ema
        self.cvd_z = self.cvd.next(x, p["cvd_z"], p["cvd_z_alpha"], p["cvd_z_window"], p["cvd_z_floor"])

    def strength(self) -> float:
        p = self.p
        if p["require_agreement"] and self.ofi_z * self.cvd_z < 0:
            return 0.0
        return float(
            (p["weight_ofi"] * self.ofi_z + p["weight_cvd"] * self.cvd_z) / (p["weight_ofi"] + p["weight_cvd"])
        )

    def direction(self) -> int:
        s, p = self.strength(), self.p
        if math.isnan(s):
            return 0
        if abs(s) >= p["enter"]:
            return 1 if s > 0 else -1
        return self.position if self.position * s >= p["exit"] and self.position else 0

    def want(self, wanted: int, now: int) -> None:
        p, caps = self.p, self.caps
        if self.wanted and p["position_limit"] * p["allocation_usd"] > caps["max_position_usd"]:
            self.paper["capped"] += 1
            self._order(0, now)
            return
        if wanted == self.wanted:
            return
        recent = sum(1 for at in self.orders_ns if at > now - MINUTE)
        unit = p["position_limit"] * p["allocation_usd"]
        if recent >= p["order_rate_limit"]:
            self.paper["refused"] += 1
            return
        opens = wanted != 0 and not (
            caps["is_tradable"] and abs(wanted) * unit <= caps["max_position_usd"]
            and abs(wanted - self.position) * unit <= caps["max_order_value_usd"]
        )  # fmt: skip
        if recent >= caps["max_orders_per_min"] or opens:
            self.paper["capped"] += 1
            return
        self._order(wanted, now)

    def _order(self, wanted: int, now: int) -> None:
        self.orders_ns.append(now)
        self.paper["orders"] += 1
        self.wanted, self.due_ns = wanted, now + self.p["latency_ns"]

    def on_quote(self, ts: int, bid: float, ask: float) -> None:
        mid = 0.5 * (bid + ask)
        if self.position:
            self._earn(self.position * (mid / self.mark - 1.0) * 1e4)
        self.mark = mid
        if not (self.due_ns > 0 and ts >= self.due_ns):
            return
        self.due_ns = 0
        traded = self.wanted - self.position
        price = ask if traded > 0 else bid
        if traded and abs(price / mid - 1.0) * 1e4 > self.caps["max_price_deviation_bps"]:
            self.wanted = self.position
            self.paper["capped"] += 1
            return
        cost = abs(traded) * self.p["fee_bps"]
        self.paper["fees"] += cost
        self.paper["turnover"] += abs(traded)
        self._earn(-traded * (price / mid - 1.0) * 1e4)
        self.equity -= cost
        self._mark_drawdown()
        self.position = self.wanted

    def _earn(self, bps: float) -> None:
        self.paper["gross"] += bps
        self.equity += bps
        self._mark_drawdown()

    def _mark_drawdown(self) -> None:
        self.peak = max(self.peak, self.equity)
        self.paper["drawdown"] = max(self.paper["drawdown"], self.peak - self.equity)


class OracleSymbol:
    """One symbol and its two arms. Modes stay as they start: the policy has tests of its own."""

    def __init__(self, rows: Any, caps: Any, measurement: Any, begun_ns: int, contract_usd: float = 0.0) -> None:
        self.window_ns, self.grid_ns, *self.horizons = (int(x) for x in measurement.as_array())
        self.arms = [OracleArm(rows[j], caps, len(self.horizons)) for j in range(2)]
        self.now, self.contract_usd = begun_ns, contract_usd
        self.quote: tuple[float, ...] | None = None
        self.last_trade_id = self.last_quote_id = -1
        self.flow: dict[int, float] = defaultdict(float)
        self.mids: dict[int, float] = {}
        self.trades: list[tuple[int, int]] = []
        self.trade_prices: list[float] = []
        self.gap_until, self.crossed_run, self.taken = 0, 0, 0
        self.heard = {"trade": 0, "quote": 0}
        self.odd = {"trade": 0, "quote": 0}
        self.reference: float | None = None
        self.samples: dict[int, tuple[float, list[float]]] = {}
        self.scales = [Moments() for _ in self.horizons]
        self.windows: list[Any] = []
        self.activity: list[tuple[int, int, float, float, float]] = []
        self._tick: list[float] = []
        self._tick_quotes = 0
        self.clear()

    def clear(self) -> None:
        names = ("trades", "quotes", "depths", "gaps", "lost", "late", "crossed", "duplicates", "refused", "inferred")
        self.counts = dict.fromkeys(names, 0)

    def run(self, events: list[tuple[Any, ...]], until_ns: int) -> None:
        """`events` are layout.EVENT rows in arrival order."""
        waiting = list(events)
        while self.now + BIN_NS <= until_ns:
            edge = self.now + BIN_NS
            while waiting and waiting[0][1] <= edge:
                self._on_event(waiting.pop(0))
            self.now = edge
            self._on_tick()

    def _is_silent(self, kind: str, minutes: int) -> bool:
        return self.now - self.heard[kind] > minutes * MINUTE

    def _is_plausible(self, price: float) -> bool:
        """Less than a factor of two from the last known mid, or trade."""
        reference = self.reference or (self.trade_prices[-1] if self.trade_prices else None)
        return reference is None or 0.5 * reference < price < 2.0 * reference

    def _odd(self, kind: str, counter: str) -> None:
        """Count what does not fit; ten thousand in a row are believed."""
        self.counts[counter] += 1
        self.odd[kind] += 1
        if self.odd[kind] > 10_000:
            self.odd[kind] = 0
            self.reference = None
            self.trade_prices.clear()
            if kind == "trade":
                self.last_trade_id = -1
            else:
                self.last_quote_id, self.quote = -1, None

    def _on_event(self, event: tuple[Any, ...]) -> None:
        kind, _, ts, _, *_ = event
        if not self.now - 60 * SECOND <= ts <= self.now + BIN_NS + 5 * SECOND or kind not in (TRADE, QUOTE, GAP):
            self.counts["refused"] += 1
        elif kind == TRADE:
            self._on_trade(*event)
        elif kind == QUOTE:
            self._on_quote(*event)
        else:
            self.counts["gaps"] += 1
            self.gap_until = max(self.gap_until, ts)
            self.quote = None
            for arm in self.arms:
                arm.cvd_z = NAN

    def _on_trade(
        self, _: int, arrival: int, ts: int, ident: int, price: float, qty: float, side: float, inferred: float
    ) -> None:
        if not (0 < price < 1e15 and 0 < qty * 1e8 <= 2**53 and self._is_plausible(price)):
            self._odd("trade", "refused")
            return
        if ident >= 0 and self.last_trade_id >= 0:
            if ident <= self.last_trade_id:
                self._odd("trade", "duplicates")
                return
            if ident - self.last_trade_id - 1 > 10_000_000:
                self._odd("trade", "refused")
                return
            if ident > self.last_trade_id + 1:
                self.counts["lost"] += ident - self.last_trade_id - 1
                self.counts["gaps"] += 1
        self.last_trade_id = max(self.last_trade_id, ident)
        self.odd["trade"] = 0
        if side == 0.0 and inferred == 1.0:
            side = self._inferred_side(price)
        self.trade_prices.append(price)
        if side not in (1.0, -1.0):
            self.counts["refused"] += 1
            return
        self.heard["trade"] = arrival
        self.counts["trades"] += 1
        self.counts["inferred"] += inferred == 1.0
        self.counts["late"] += ts < self.taken
        self.trades.append((ts, round(side * qty * 1e8)))
        value = price * qty if self.contract_usd == 0.0 else qty * self.contract_usd
        self._tick.append(value)
        for arm in self.arms:
            arm.on_trade(value, side)

    def _inferred_side(self, price: float) -> float:
        """Lee and Ready (1991): by the mid, else by the last trade at another price."""
        if self.quote is not None and price != (mid := 0.5 * (self.quote[0] + self.quote[2])):
            return 1.0 if price > mid else -1.0
        before = next((other for other in reversed(self.trade_prices) if other != price), None)
        return 0.0 if before is None else 1.0 if price > before else -1.0

    def _on_quote(
        self, _: int, arrival: int, ts: int, ident: int, bid: float, bid_qty: float, ask: float, ask_qty: float
    ) -> None:
        quote = (bid, bid_qty, ask, ask_qty)
        is_sound = all(x > 0 for x in quote) and sum(quote) < 1e15
        jumps = self.last_quote_id >= 0 and ident - self.last_quote_id > 10**12
        if not (is_sound and self._is_plausible(0.5 * (bid + ask))) or jumps:
            self._odd("quote", "refused")
            return
        if 0 <= ident <= self.last_quote_id:
            self._odd("quote", "duplicates")
            return
        self.last_quote_id = max(self.last_quote_id, ident)
        self.odd["quote"] = 0
        if bid >= ask:
            self.counts["crossed"] += 1
            self.crossed_run += 1
            if self.crossed_run > 5:
                self.quote = None
            return
        self.crossed_run = 0
        self.counts["quotes"] += 1
        self._tick_quotes += 1
        self.counts["late"] += ts < self.taken
        self.heard["quote"] = arrival
        self.reference = 0.5 * (bid + ask)
        if self.quote is not None:
            self.flow[ts // BIN_NS] += order_flow(self.quote, quote)
        else:
            self.gap_until = max(self.gap_until, ts)
        self.mids[ts // BIN_NS] = 0.5 * (bid + ask)
        self.quote = quote
        for arm in self.arms:
            arm.on_quote(ts, bid, ask)

    def flow_between(self, start: int, end: int) -> float:
        return sum((self.flow[b] for b in range(start // BIN_NS, end // BIN_NS) if b in self.flow), 0.0)

    def mid_at(self, end: int) -> float:
        """Of the newest bin before `end` that has a quote."""
        known = [b for b in self.mids if b < end // BIN_NS]
        return self.mids[max(known)] if known else NAN

    def _on_tick(self) -> None:
        spread = NAN
        if self.quote is not None:
            bid, _, ask, _ = self.quote
            spread = (ask - bid) / (0.5 * (bid + ask)) * 1e4
        self.activity.append((self.now, len(self._tick), self._tick_quotes, math.fsum(self._tick), spread))
        self._tick, self._tick_quotes = [], 0
        for arm in self.arms:
            arm.active_ticks += arm.mode == ACTIVE
            self._take_buckets(arm)
            if self._is_silent("trade", 10):
                arm.cvd_z = NAN
            arm.want(arm.direction(), self.now)
        if self.quote is not None and self.now % self.grid_ns == 0:
            self._sample(self.now // self.grid_ns, 0.5 * (self.quote[0] + self.quote[2]))
        if self.now % self.window_ns == 0:
            self.windows.append((self.now, self.counts, [(a.sums, a.fit, a.active_ticks, a.paper) for a in self.arms]))
            self.clear()
            for arm in self.arms:
                arm.clear()

    def _take_buckets(self, arm: OracleArm) -> None:
        p = arm.p
        bucket, window = int(p["bucket_ns"]), int(p["window_ns"])
        if arm.next_ns == 0:
            arm.next_ns = (self.now // bucket + 1) * bucket + window // bucket * bucket
        while arm.next_ns <= self.now - p["watermark_ns"]:
            end, arm.next_ns = arm.next_ns, arm.next_ns + bucket
            start = end - window
            value = self.flow_between(start, end)
            x = signed_sqrt(value) if p["signed_sqrt"] else value
            after = self.mid_at(end)
            arm.ofi_z = NAN
            if start >= self.gap_until and self.quote is not None and not self._is_silent("quote", 1):
                arm.ofi_z = arm.ofi.next(x, p["ofi_z"], p["ofi_z_alpha"], p["ofi_z_window"], p["ofi_z_floor"])
                before = self.mid_at(start)
                if end % window == 0 and not math.isnan(before + after):
                    add_pair(arm.fit, value, (after / before - 1.0) * 1e4)
            lots = sum(amount for ts, amount in self.trades if ts < end)
            best = self.flow_between(end - bucket, end)
            arm.published.append((end, lots, best, arm.ofi_z, arm.cvd_z, arm.strength(), after))
            self.taken = max(self.taken, end)

    def _sample(self, step: int, mid: float) -> None:
        for index, horizon in enumerate(self.horizons):
            then = self.samples.get(step - horizon)
            if then is not None:
                self._score(index, mid / then[0] - 1.0, then[1])
        values = [z for arm in self.arms for z in (arm.ofi_z, arm.cvd_z)]
        self.samples[step] = (mid, values)
        for position, z in enumerate(values):
            if not math.isnan(z):
                sums = self.arms[position // 2].sums[position % 2]
                sums["n"] += 1
                sums["total"] += z
                sums["squares"] += z * z
                sums["hist"][hist_bin(z)] += 1

    def _score(self, index: int, change: float, values: list[float]) -> None:
        scale = self.scales[index]
        if scale.count >= 20 and scale.mean > 0:
            for position, z in enumerate(values):
                if not math.isnan(z):
                    ic = self.arms[position // 2].sums[position % 2]["ic"][index]
                    x, y = clip(z), clip(change / scale.mean)
                    add_pair(ic, x, y)
                    ic["hits"] += x * y > 0
                    if x * y != 0:
                        ic["joint"][joint_bin(x) * 12 + joint_bin(y)] += 1
        scale.update(abs(change), 1.0 / 300)

    def activity_summary(self, start: int, end: int) -> tuple[float, float, float, float]:
        """Trades a minute, quotes a second, median spread and volume a minute of start < tick <= end."""
        width = -(-(end - start) // (64 * BIN_NS)) * BIN_NS
        bins: dict[int, list[tuple[int, int, float, float, float]]] = defaultdict(list)
        for tick in self.activity:
            if start < tick[0] <= end:
                bins[(tick[0] - start - 1) // width].append(tick)
        minutes = (end - start) / MINUTE
        spreads = [known[-1] for ticks in bins.values() if (known := [t[4] for t in ticks if not math.isnan(t[4])])]
        sums = [winsorised_sum([sum(t[k] for t in ticks) for ticks in bins.values()]) for k in (1, 2, 3)]
        spread = statistics.median(spreads) if spreads else NAN
        return sums[0] / minutes, sums[1] / minutes / 60, spread, sums[2] / minutes
