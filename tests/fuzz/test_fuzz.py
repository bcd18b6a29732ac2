"""Files changed at random: readers load or refuse them in one line; the unchanged ones load."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fuzz(*options):
    command = [sys.executable, str(ROOT / "tests" / "fuzz" / "run.py"), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def test_the_samples_of_all_readers_load_as_they_are():
    done = fuzz("--unchanged")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 refused in one line; 0 other exceptions, 0 hangs, 0 beyond 2 GB" in done.stdout


def test_changed_files_load_or_are_refused_in_one_line():
    done = fuzz("--cases", "300")
    assert done.returncode == 0, done.stdout + done.stderr
