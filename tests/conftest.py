"""Options and places that all tests share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MARKET = ROOT.parent / "shared" / "market" / "sets"
SET_A = MARKET / "A_binance_20240808_6inst"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files from what is rendered now")


@pytest.fixture
def set_a() -> Path:
    """Folder of recorded set A, or a skip that says why."""
    if not SET_A.is_dir():
        pytest.skip(f"recorded market data is not beside this repository ({SET_A.parent.name})")
    return SET_A
