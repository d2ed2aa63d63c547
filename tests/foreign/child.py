"""What every check from outside needs: a process with its log, a topology derived from ours, metrics."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

VARIABLE = re.compile(r"\$\{(\w+)(:-[^}]*)?\}")
START_DEADLINE_SECS = 60
STOP_DEADLINE_SECS = 30


def free_port():
    """A port below those that the kernel gives to connections: who is killed and started again finds
    it free."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


class Child:
    """A process of this run with its log; ended by its own id."""

    def __init__(self, name, command, folder, env=None):
        self.name, self.log = name, folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                                            env={**os.environ, **(env or {})})

    def wait_for(self, url):
        """Polls until the URL answers 200."""
        began = time.monotonic()
        last = "no answer"
        while time.monotonic() - began < START_DEADLINE_SECS:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(url, timeout=2) as reply:
                    reply.read()
                return time.monotonic() - began
            except urllib.error.HTTPError as error:
                last = f"{error.code} {error.read()[:200]!r}"
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        raise SystemExit(f"{url} is not ready after {START_DEADLINE_SECS} s ({last}):\n{self.tail()}")

    def tail(self, lines=40):
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in text)

    def stop(self):
        """SIGTERM, then SIGKILL; returns the exit code and how long it took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_DEADLINE_SECS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode, time.monotonic() - began


def derive(topology, derived, overrides):
    """A copy of the topology with the overrides in it, text to text. Text that the file does not
    have exactly once is an error, so that no table of overrides can rot."""
    text = topology.read_text()
    for given, wanted in overrides.items():
        if text.count(given) != 1:
            raise SystemExit(f"{topology} has `{given}` {text.count(given)} times, not once")
        text = text.replace(given, wanted)
    derived.write_text(text)
    return derived


def check_variables(topology, env):
    """The environment of a run and its topology must name each other."""
    text = re.sub(r"^\s*#.*$", "", topology.read_text(), flags=re.M)
    named = {name: bool(default) for name, default in VARIABLE.findall(text)}
    unset = [name for name, has_default in named.items() if not has_default and name not in env]
    unread = [name for name in env if name not in named]
    if unset or unread:
        raise SystemExit(f"{topology}: no value here for {unset}, no use there for {unread}")


def metric(url, pattern):
    """The sum of all samples whose name matches, or None where there is no such metric."""
    with urllib.request.urlopen(url, timeout=5) as reply:
        text = reply.read().decode()
    values = re.findall(rf"^{pattern}(?:\{{[^}}]*\}})? (\S+)$", text, re.M)
    return sum(map(float, values)) if values else None
