"""A small share of the crash matrix: real processes of a real rollout, killed at their steps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


def test_after_every_kill_the_journal_the_service_and_the_evidence_agree() -> None:
    command = [sys.executable, "-m", "benchmarks.crash_matrix", "--count", "30", "--seed", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    result = json.loads(done.stdout.strip().splitlines()[-1])

    assert result["kills"] >= 30
    assert (result["wrong_states"], result["lost_decisions"]) == (0, 0), result["examples"]
