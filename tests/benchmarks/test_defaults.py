"""Each benchmark answers within five minutes by default, and its `--json` prints one object with `ratio`.

`make benchmarks` prints the seconds and the ratio of each; others at work make the seconds an upper bound.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 300
MAKE_FILES = {"make_review_examples", "make_sample_clip", "prefect_pages"}
"""They measure nothing."""
NEEDS = {"workers": "ray", "review_page": "playwright"}
"""Packages of extras."""
NAMES = sorted({path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")} - MAKE_FILES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_answers_in_time_with_a_ratio(name: str, tmp_path: Path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    began = time.monotonic()
    figures = json.loads(answer_of(name, tmp_path))
    print(f"\n{name}: {time.monotonic() - began:.0f} s, ratio {figures['ratio']}", flush=True)
    assert isinstance(figures["ratio"], float)
    assert math.isfinite(figures["ratio"])


def answer_of(name: str, folder: Path) -> bytes:
    """What the benchmark prints by default. It ends well, and in time."""
    with (folder / "errors").open("wb") as errors:
        running = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{name}", "--json"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            answer, _ = running.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGTERM)  # It ends what it started.
            running.communicate()
            raise
    assert running.returncode == 0, (folder / "errors").read_text()[-3000:]
    return answer
