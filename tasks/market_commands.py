"""Commands of the command line that are about a market, not about a rollout: signals, record."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Json = Annotated[bool, typer.Option("--json", help="Print one JSON line last, for scripts.")]

market_app = typer.Typer()
console = Console(stderr=True)


@market_app.command()
def signals(
    feed: Annotated[Path, typer.Option(help="Folder of a recorded market, Parquet or raw captures.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    config: Annotated[Path | None, typer.Option(help="Parameters; config/baseline.yaml if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Write every signal of a recorded market: one row per symbol and bucket.

    Example: graygate signals --feed FOLDER --out signals.parquet
    """
    from config.loader import CONFIG_DIR, load_caps, load_release
    from engine.adapters.replay import RecordedMarket
    from tasks.signals import write_signals

    release = load_release(config or CONFIG_DIR / "baseline.yaml", {}, dict(os.environ))
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(f"reading {feed.name}", total=None)
        market = RecordedMarket(feed, with_depth=True)
        bar.update(task, description="folding", total=1.0)
        rows = write_signals(market, release.params, load_caps(), out, lambda share: bar.update(task, completed=share))
    console.print(f"{rows:,} rows of {len(market.instruments())} symbols in {out}", highlight=False)
    if as_json:
        print(json.dumps({"rows": rows, "out": str(out.resolve()), "fingerprint": release.fingerprint}))


@market_app.command()
def record(
    symbols: Annotated[str, typer.Option(help="Tickers, separated by commas: BTCUSDT,ETHUSDT.")],
    out: Annotated[Path, typer.Option(help="Folder for the captures; nothing in it is overwritten.")],
    market: Annotated[str, typer.Option(help="Binance market: spot, usdm or cm.")] = "usdm",
    length: Annotated[
        str | None, typer.Option("--for", help="How long: 90s, 30m, 1h; until stopped if not given.")
    ] = None,
    trades: Annotated[str, typer.Option(help="trade (each fill) or aggTrade (fills of one taker merged).")] = "trade",
    depth: Annotated[bool, typer.Option(help="Record the order book as well.")] = True,
    ws_url: Annotated[str | None, typer.Option(help="Another websocket address than Binance's.")] = None,
    rest_url: Annotated[str | None, typer.Option(help="Another REST address than Binance's.")] = None,
    as_json: Json = False,
) -> None:
    """Record a live market as raw captures, which replay reads back as they came.

    Example: graygate record --market usdm --symbols BTCUSDT,ETHUSDT --out captures --for 1h
    """
    from tasks.record import live_spec, record_command

    spec = live_spec(market, symbols, trades, "100ms" if depth else None, ws_url, rest_url)
    recorded = record_command(spec, out, length, console)
    if as_json:
        print(json.dumps({"messages": recorded.lines, "bytes": recorded.bytes, "seconds": round(recorded.seconds, 1)}))
