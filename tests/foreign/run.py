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
import signal
import subprocess
import sys
import tempfile
import urllib.request

import yaml

import mixed_load
from child import Child, check_variables, derive, free_port, metric
from registry import Registry

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# What this run wants otherwise than the production topology has it: text to text. Text that the
# file does not have is an error, so that this table cannot rot.
OVERRIDES = {
    # A change that cannot be read and has no key owes a refresh, and its offset stays uncommitted
    # until that is appended: within the run, so that commits reach the ends.
    "widen_refresh_interval: 5m": "widen_refresh_interval: 3s",
}


def types_of(topology):
    """The topology's cache types, and which of them are private."""
    types = yaml.safe_load(topology.read_text())["cache_types"]
    return list(types), [name for name, one in types.items() if one.get("sharing") == "private"]


def run(options, folder, stack):
    listen = f"127.0.0.1:{free_port()}"
    registry = Registry().start()
    stack.callback(registry.stop)
    port = free_port()
    llmock = pathlib.Path(sys.executable).parent / "llmock"
    provider = Child("llmock", [llmock, "serve", "--port", str(port), "--log-level", "warning"], folder)
    stack.callback(provider.stop)
    print(f"llmock is up in {provider.wait_for(f'http://127.0.0.1:{port}/_llmock/verdict'):.1f} s")

    topology = derive(options.topology, folder / "topology.yaml", OVERRIDES)
    env = {
        "WEDCACHE_KAFKA": os.environ["WEDCACHE_TEST_KAFKA"],
        "WEDCACHE_REDIS": os.environ["WEDCACHE_TEST_REDIS"],
        "WEDCACHE_REGISTRY": registry.url,
        "WEDCACHE_AI_URL": f"http://127.0.0.1:{port}/v1",
        "WEDCACHE_AI_KEY": "no-secret",
        "WEDCACHE_DATA": str(folder / "data"),
        "WEDCACHE_LISTEN": listen,
    }
    check_variables(topology, env)
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
