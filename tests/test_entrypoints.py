"""prefect.yaml: every entrypoint loads the way a worker loads it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ENTRYPOINTS = [item["entrypoint"] for item in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]]

LOAD = "from prefect.flows import load_flow_from_entrypoint as load; import sys; print(load(sys.argv[1]).name)"


@pytest.mark.prefect
@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_an_entrypoint_loads(entrypoint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, entrypoint], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == entrypoint.rsplit(":", 1)[1]


def test_no_file_of_flows_hides_a_package() -> None:
    """A file entrypoint puts flows/ first on the path."""
    names = {path.stem for path in (ROOT / "flows").glob("*.py")}

    assert not names & {"config", "tasks", "engine", "reports"}
