"""The virtual environment of the foreign clients, made once for each list of pins. Needs nothing
but Python itself."""

import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VENV = ROOT / "target/foreign"
PYTHON = VENV / "bin/python"
REQUIREMENTS = ROOT / "tests/foreign/requirements.txt"


def run_plainly(_what, command):
    return subprocess.run(command).returncode == 0


def make(run=run_plainly):
    """Whether it is there; `run(what, command)` runs the steps where it has to be made."""
    made = VENV / "requirements.txt"
    if made.exists() and made.read_text() == REQUIREMENTS.read_text():
        return True
    shutil.rmtree(VENV, ignore_errors=True)
    if not run("foreign clients: environment", [sys.executable, "-m", "venv", VENV]):
        return False
    pip = [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", REQUIREMENTS]
    if not run("foreign clients: packages", pip):
        return False
    shutil.copy(REQUIREMENTS, made)
    return True
