"""The whole job end to end: `wedcache run` against real services, judged by foreign clients.

Starts a schema registry, an OpenAI-compatible server that is not ours (llmock) and `wedcache run`
with a topology derived from topologies/wedsync.yaml; lets mixed_load.py produce and judge; ends
everything that it started. Kafka and Redis are given by the environment:

  scripts/services with kafka redis --brokers 3 -- target/foreign/bin/python tests/foreign/run.py
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

import mixed_load
from registry import Registry

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VARIABLE = re.compile(r"\$\{(\w+)(:-[^}]*)?\}")
START_DEADLINE_SECS = 60
STOP_DEADLINE_SECS = 30

# What this run wants otherwise than the production topology has it: text to text. Text that the
# file does not have is an error, so that this table cannot rot.
OVERRIDES = {
    # A change that cannot be read and has no key owes a refresh, and its offset stays uncommitted
    # until that is appended: within the run, so that commits reach the ends.
    "widen_refresh_interval: 5m": "widen_refresh_interval: 3s",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
                raise SystemExit(f"run: {self.name} ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(url, timeout=2) as reply:
                    reply.read()
                return time.monotonic() - began
            except urllib.error.HTTPError as error:
                last = f"{error.code} {error.read()[:200]!r}"
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        raise SystemExit(f"run: {url} is not ready after {START_DEADLINE_SECS} s ({last}):\n{self.tail()}")

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


def derive(topology, folder):
    """A copy of the topology with OVERRIDES in it."""
    text = topology.read_text()
    for given, wanted in OVERRIDES.items():
        if text.count(given) != 1:
            raise SystemExit(f"run: {topology} does not have `{given}` exactly once")
        text = text.replace(given, wanted)
    derived = folder / "topology.yaml"
    derived.write_text(text)
    return derived


def variables(topology, folder, registry, provider_port, listen):
    """The environment of the run; variables and topology must name each other."""
    out = {
        "WEDCACHE_KAFKA": os.environ["WEDCACHE_TEST_KAFKA"],
        "WEDCACHE_REDIS": os.environ["WEDCACHE_TEST_REDIS"],
        "WEDCACHE_REGISTRY": registry.url,
        "WEDCACHE_AI_URL": f"http://127.0.0.1:{provider_port}/v1",
        "WEDCACHE_AI_KEY": "no-secret",
        "WEDCACHE_DATA": str(folder / "data"),
        "WEDCACHE_LISTEN": listen,
    }
    text = re.sub(r"^\s*#.*$", "", topology.read_text(), flags=re.M)
    named = {name: bool(default) for name, default in VARIABLE.findall(text)}
    unset = [name for name, has_default in named.items() if not has_default and name not in out]
    unread = [name for name in out if name not in named]
    if unset or unread:
        raise SystemExit(f"run: {topology}: no value here for {unset}, no use there for {unread}")
    return out


def types_of(topology):
    """The topology's cache types, and which of them are private."""
    types = yaml.safe_load(topology.read_text())["cache_types"]
    return list(types), [name for name, one in types.items() if one.get("sharing") == "private"]


def metric(url, pattern):
    """The sum of all samples whose name matches, or None where there is no such metric."""
    with urllib.request.urlopen(url, timeout=5) as reply:
        text = reply.read().decode()
    values = re.findall(rf"^{pattern}(?:\{{[^}}]*\}})? (\S+)$", text, re.M)
    return sum(map(float, values)) if values else None


def run(options, folder, stack):
    listen = f"127.0.0.1:{free_port()}"
    registry = Registry().start()
    stack.callback(registry.stop)
    port = free_port()
    llmock = pathlib.Path(sys.executable).parent / "llmock"
    provider = Child("llmock", [llmock, "serve", "--port", str(port), "--log-level", "warning"], folder)
    stack.callback(provider.stop)
    print(f"llmock is up in {provider.wait_for(f'http://127.0.0.1:{port}/_llmock/verdict'):.1f} s")

    topology = derive(options.topology, folder)
    env = variables(topology, folder, registry, port, listen)
    binary = options.binary.resolve()
    # The production topology wants three brokers.
    few = os.environ["WEDCACHE_TEST_KAFKA"].count(",") < 2
    apply = [binary, "topics", "apply", "--topology", topology, *(["--replication-factor", "1"] if few else [])]
    done = subprocess.run(apply, env={**os.environ, **env},
                          capture_output=True, text=True, cwd=folder, timeout=60)
    if done.returncode:
        raise SystemExit(f"run: `topics apply` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    wedcache = Child("wedcache", [binary, "run", "--topology", topology], folder, env)
    stack.callback(wedcache.stop)
    print(f"wedcache is ready in {wedcache.wait_for(f'http://{listen}/readyz'):.1f} s")

    report = mixed_load.Report()
    types, private = types_of(topology)
    load = mixed_load.parser().parse_args([
        "--kafka", os.environ["WEDCACHE_TEST_KAFKA"], "--registry", registry.url,
        "--schemas", str(options.schemas), "--records", str(options.records),
        "--cache-types", *types, "--private-types", *private, *options.load])
    topics = mixed_load.Topics(**{name: getattr(load, f"{name}_topic") for name in vars(mixed_load.Topics())})
    check = mixed_load.Check(load, topics, report)
    check.run()

    nulls = sum(sent.value is None for sent in check.sent)
    report.equal("null values are counted", metric(f"http://{listen}/metrics", r'wedcache_records_total\{[^}]*result="null"[^}]*\}'), nulls)
    code, took = wedcache.stop()
    report.check("SIGTERM ends it cleanly", [] if code == 0 else [f"exit code {code}:\n{wedcache.tail()}"])
    print(f"       wedcache ended in {took:.1f} s")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_llmock/verdict", timeout=5) as reply:
        verdict = json.load(reply)
    report.check("the provider was asked", [] if verdict["attempts"] else ["it saw no call"])
    report.equal("every call that the provider saw is told as one metric", check.calls(), verdict["attempts"])
    report.check("the provider finds no fault with its client", verdict["findings"])
    if report.failed:
        print(f"wedcache's log ends with:\n{wedcache.tail()}")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/wedcache")
    parser.add_argument("--topology", type=pathlib.Path, default=ROOT / "topologies/wedsync.yaml")
    parser.add_argument("--schemas", type=pathlib.Path, default=ROOT / "schemas")
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("load", nargs="*", help="after `--`: further arguments for mixed_load.py")
    options = parser.parse_args()
    for name in ("WEDCACHE_TEST_KAFKA", "WEDCACHE_TEST_REDIS"):
        if name not in os.environ:
            parser.error(f"{name} is not set: run it by scripts/services with kafka redis -- …")
    # A terminated run ends its children too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="wedcache-foreign-") as folder, contextlib.ExitStack() as stack:
        report = run(options, pathlib.Path(folder), stack)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
