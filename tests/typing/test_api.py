"""basedpyright accepts `api.py`: what it says about Flock's types is true."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_a_type_checker_knows_what_users_write() -> None:
    pytest.importorskip("basedpyright", reason="comes with the development tools")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", str(HERE / "api.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [
        f"{HERE.name}/api.py:{it['range']['start']['line'] + 1}: {it['message']}"
        for it in json.loads(done.stdout)["generalDiagnostics"]
    ]
    assert found == []
    assert done.returncode == 0, done.stderr
