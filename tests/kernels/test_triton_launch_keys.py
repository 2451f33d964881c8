"""What is compiled ahead of time is not compiled again at the launch: Triton keeps both under one key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


def test_a_launch_finds_what_was_compiled_ahead() -> None:
    script = Path(__file__).with_name("triton_launch_keys.py")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 4
    for name, (ahead, launched) in found.items():
        assert ahead == launched, name
