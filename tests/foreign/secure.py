"""The stream against a broker that wants TLS and SASL/SCRAM, in batches of every codec.

Runs a binary that was built with `--features kafka-ssl`: topics are made, `validate --connect` finds
everything, queries go in compressed by each codec, and each has its answer. Then it is told a wrong
password, a wrong authority and a listener without TLS, and has to say what is wrong.

  scripts/services with kafka redis --sasl-ssl -- target/foreign/bin/python tests/foreign/secure.py
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
import time

from confluent_kafka import Consumer, Producer

from child import Child, derive, free_port
from mixed_load import Report

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
QUERIES_A_CODEC = 20
ANSWER_DEADLINE_SECS = 60
# In place of the shipped topology's own.
PROPERTIES = """\
  properties:
    security.protocol: SASL_SSL
    sasl.mechanism: SCRAM-SHA-512
    sasl.username: ${WEDCACHE_KAFKA_USER}
    sasl.password: ${WEDCACHE_KAFKA_PASSWORD}
    ssl.ca.location: ${WEDCACHE_KAFKA_CA}
"""
NEEDS = ["WEDCACHE_TEST_KAFKA", "WEDCACHE_TEST_REDIS"] + [
    f"WEDCACHE_TEST_KAFKA_{name}" for name in ("SASL_SSL", "CA", "USER", "PASSWORD")]


def client_settings():
    return {
        "bootstrap.servers": os.environ["WEDCACHE_TEST_KAFKA_SASL_SSL"],
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": os.environ["WEDCACHE_TEST_KAFKA_USER"],
        "sasl.password": os.environ["WEDCACHE_TEST_KAFKA_PASSWORD"],
        "ssl.ca.location": os.environ["WEDCACHE_TEST_KAFKA_CA"],
    }


def query(query_id):
    # Long enough that every codec makes it smaller.
    return json.dumps({
        "queryId": query_id,
        "query": {"type": "menu_suggestions", "content": f"What do we serve, {query_id}? " + "Fish or fowl? " * 20},
        "weddingContext": {"location": {"city": "Miami", "state": "FL"}},
    })


def ask():
    """Sends the queries of every codec; returns their ids by codec."""
    asked = {}
    for codec in CODECS:
        producer = Producer({**client_settings(), "compression.codec": codec, "linger.ms": 100})
        asked[codec] = [f"{codec}-{number}" for number in range(QUERIES_A_CODEC)]
        for query_id in asked[codec]:
            producer.produce("wedsync.ai.queries", key=query_id, value=query(query_id))
        if producer.flush(30):
            raise SystemExit(f"{codec}: the queries were not delivered")
    return asked


def answers(count):
    """The answers by query id: until there are so many, or the time is up."""
    consumer = Consumer({**client_settings(), "group.id": "secure", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    consumer.subscribe(["wedsync.ai.responses"])
    found, deadline = {}, time.monotonic() + ANSWER_DEADLINE_SECS
    while len(found) < count and time.monotonic() < deadline:
        record = consumer.poll(0.5)
        if record is not None and record.error() is None:
            answer = json.loads(record.value())
            found[answer["queryId"]] = answer
    consumer.close()
    return found


class Program:
    """The binary with the topology of this test."""

    def __init__(self, binary, folder):
        shipped = ROOT / "topologies/wedsync.yaml"
        self.topology = derive(shipped, folder / "topology.yaml", {"  properties: {}\n": PROPERTIES})
        self.binary, self.folder, self.listen = binary.resolve(), folder, f"127.0.0.1:{free_port()}"
        self.env = {
            "WEDCACHE_KAFKA": os.environ["WEDCACHE_TEST_KAFKA_SASL_SSL"],
            "WEDCACHE_KAFKA_USER": os.environ["WEDCACHE_TEST_KAFKA_USER"],
            "WEDCACHE_KAFKA_PASSWORD": os.environ["WEDCACHE_TEST_KAFKA_PASSWORD"],
            "WEDCACHE_KAFKA_CA": os.environ["WEDCACHE_TEST_KAFKA_CA"],
            "WEDCACHE_REDIS": os.environ["WEDCACHE_TEST_REDIS"],
            "WEDCACHE_REPLICATION_FACTOR": "1",
            "WEDCACHE_PROVIDER": "simulated",
            "WEDCACHE_DATA": str(folder / "data"),
            "WEDCACHE_LISTEN": self.listen,
            "WEDCACHE_TOPOLOGY": str(self.topology),
        }

    def run(self, *arguments, **env):
        """Exit code and output."""
        done = subprocess.run([self.binary, *arguments], env={**os.environ, **self.env, **env}, cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return done.returncode, done.stdout

    def start(self):
        return Child("wedcache", [self.binary, "run"], self.folder, self.env)


def succeeds(report, program, name, *arguments, **env):
    code, output = program.run(*arguments, **env)
    report.check(name, [] if code == 0 else [f"exit code {code}:\n{output}"])


def says(report, program, name, wanted, **env):
    """Whether `validate --connect` fails and says why."""
    code, output = program.run("validate", "--connect", **env)
    line = next((line for line in output.splitlines() if "FAILED  Kafka" in line), "")
    good = code == 1 and all(part in line for part in wanted)
    report.check(name, [] if good else [f"exit code {code}, not {wanted} in:\n{output}"])


def check(options, folder, stack):
    report, program = Report(), Program(options.binary, folder)
    code, output = program.run("--version")
    if "features: kafka-ssl" not in output:
        raise SystemExit(f"secure: this binary has no TLS:\n{output}")
    succeeds(report, program, "topics are made", "topics", "apply")
    succeeds(report, program, "everything is found", "validate", "--connect")
    wedcache = program.start()
    stack.callback(wedcache.stop)
    print(f"wedcache is ready in {wedcache.wait_for(f'http://{program.listen}/readyz'):.1f} s")
    asked = ask()
    found = answers(sum(map(len, asked.values())))
    for codec, ids in asked.items():
        unanswered = [one for one in ids if found.get(one, {}).get("status") != "answered"]
        report.check(f"queries in {codec} are answered", unanswered)
    succeeds(report, program, "sample questions are answered", "sample", "--for", "2s", "--rate", "20", "--changes")
    code, _ = wedcache.stop()
    report.check("SIGTERM ends it cleanly", [] if code == 0 else [f"exit code {code}:\n{wedcache.tail()}"])
    says(report, program, "a wrong password is told", ["refuses the credentials", "sasl.password"],
         WEDCACHE_KAFKA_PASSWORD="wrong")
    # Some certificate, and not of the broker's authority.
    other = folder / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    folder / "other.key", "-out", other, "-days", "2", "-subj", "/CN=other"], check=True, capture_output=True)
    says(report, program, "a wrong authority is told", ["TLS failed", "ssl.ca.location"], WEDCACHE_KAFKA_CA=str(other))
    says(report, program, "a listener without TLS is told", ["SSL", "security.protocol"], WEDCACHE_KAFKA=os.environ["WEDCACHE_TEST_KAFKA"])
    code, output = program.run("validate", WEDCACHE_KAFKA_CA=str(folder / "none.pem"))
    told = code == 1 and "`ssl.ca.location`" in output
    report.check("a missing certificate is found before any connection", [] if told else [output])
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/debug/wedcache-kafka-ssl")
    options = parser.parse_args()
    missing = [name for name in NEEDS if name not in os.environ]
    if missing:
        parser.error(f"{', '.join(missing)} not set: run it by scripts/services with kafka redis --sasl-ssl -- …")
    # A terminated run ends its children too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="wedcache-secure-") as folder, contextlib.ExitStack() as stack:
        report = check(options, pathlib.Path(folder), stack)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
