"""What a proof stands on: services that can be broken, instances that can be killed, a provider
that remembers, and a report.

A scenario is a module in scenarios/ with a function `run(proof, options)`; see main.py.
"""

import contextlib
import datetime
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request

import yaml
from confluent_kafka import KafkaException

from child import Child, check_variables, derive, free_port, metric
from mixed_load import Broker, wait_until
from records import Topics

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent


class Services:
    """Kafka and Redis of one scenario, by scripts/services: `kafka`, `kafka-2`, `kafka-3`, `redis`."""

    def __init__(self, folder, brokers):
        self.folder, self.brokers = folder, brokers

    def do(self, command, *names):
        done = subprocess.run([sys.executable, ROOT / "scripts/services", command, *names, "--dir", self.folder,
                               "--brokers", str(self.brokers)], capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise SystemExit(f"services {command} {' '.join(names)}:\n{done.stderr}")

    def start(self, *names):
        """Starts, or brings back on their ports; without names Kafka and Redis."""
        self.do("start", *(names or ("kafka", "redis")))
        self.env = dict(line.split("=", 1) for line in (self.folder / "env").read_text().splitlines())

    def stop(self, *names):
        self.do("stop", *names)

    def kill(self, *names):
        """SIGKILL; note that `kafka` names every broker."""
        self.do("kill", *names)

    def restart(self, *names):
        self.do("restart", *names)

    def pid(self, name):
        """For signals that scripts/services has no command for, such as SIGSTOP."""
        return json.loads((self.folder / "services.json").read_text())[name]["pid"]

    @property
    def kafka(self):
        return self.env["WEDCACHE_TEST_KAFKA"]

    @property
    def redis(self):
        return self.env["WEDCACHE_TEST_REDIS"]


class Instance:
    """One `wedcache run`: started, ended and started again on the same folder and port."""

    def __init__(self, proof, name, topology, binary, env):
        self.proof, self.name, self.topology, self.binary, self.env = proof, name, topology, binary, env
        self.child, self.starts = None, 0

    @property
    def url(self):
        return f"http://{self.env['WEDCACHE_LISTEN']}"

    @property
    def log(self):
        return self.proof.folder / f"{self.name}.log"

    def start(self, wait=True, **env):
        """`env` holds for this start alone, as FAILPOINT does; `wait` is for /readyz."""
        self.starts += 1
        # What this start logs begins here.
        self.log_begin = self.log.stat().st_size if self.log.exists() else 0
        command = [self.binary, "run", "--topology", self.topology]
        self.child = Child(self.name, command, self.proof.folder, {**self.env, **env})
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        return self.child.wait_for(f"{self.url}/readyz")

    def is_running(self):
        return self.child is not None and self.child.process.poll() is None

    def kill9(self):
        """SIGKILL; returns when it was sent, in Unix milliseconds; on a busy machine the process may
        have worked on for a while after that."""
        at = time.time() * 1000
        self.child.process.kill()
        self.child.process.wait()
        return at

    def terminate(self):
        """SIGTERM, waits for the drain; the exit code and the seconds it took."""
        return self.child.stop()

    def signal(self, number):
        self.child.process.send_signal(number)

    def metric(self, pattern):
        """The sum of the samples whose name matches (0 where there is none)."""
        return metric(f"{self.url}/metrics", pattern) or 0

    def logged(self):
        """What it has logged since its last start."""
        with open(self.log, "rb") as log:
            log.seek(self.log_begin)
            return log.read().decode(errors="replace")

    def logged_times(self, text):
        """When it logged lines with this text, over all its starts, in Unix milliseconds."""
        lines = [json.loads(line) for line in self.log.read_text(errors="replace").splitlines() if text in line]
        return [datetime.datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00")).timestamp() * 1000 for line in lines]

    def wait_for_log(self, pattern, deadline_secs=30):
        """Waits for a line that matches, and returns the match."""
        began = time.monotonic()
        while not (found := re.search(pattern, self.logged())):
            if time.monotonic() - began > deadline_secs or not self.is_running():
                raise SystemExit(f"{self.name} does not log {pattern!r}:\n{self.child.tail()}")
            time.sleep(0.02)
        return found


class Provider:
    """provider.py as a process of its own."""

    def __init__(self, folder):
        self.port, self.calls_file = free_port(), folder / "calls.jsonl"
        self.url = f"http://127.0.0.1:{self.port}"
        self.child = Child("provider", [sys.executable, HERE / "provider.py", "--port", str(self.port),
                                        "--log", self.calls_file], folder)
        self.child.wait_for(f"{self.url}/stats")

    def control(self, **wanted):
        """Sets fields of provider.Behaviour; returns when they hold."""
        request = urllib.request.Request(f"{self.url}/control", json.dumps(wanted).encode())
        with urllib.request.urlopen(request, timeout=10) as reply:
            reply.read()

    def set_facts(self, **versions):
        """The facts have changed: answers to calls that begin from now on are made from these."""
        self.control(facts=versions)

    def stats(self):
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as reply:
            return json.load(reply)

    def calls(self):
        """Every call that it saw, by its own log: dicts of call, key, question, facts, begin, and
        end and status, which are None while it runs."""
        calls = {}
        with open(self.calls_file) as log:
            for line in log:
                if not line.endswith("\n"):
                    break
                line = json.loads(line)
                calls.setdefault(line["call"], {"end": None, "status": None}).update(line)
        return list(calls.values())

    def wait_for_calls(self, count, deadline_secs=30):
        """Waits until so many calls are running."""
        late = wait_until("calls", deadline_secs, lambda: None if (n := self.stats()["now"]) >= count else f"{n} of {count}")
        if late:
            raise SystemExit(f"provider: {late[0]}")


def answered(look):
    """`look`, for which a cluster that cannot tell yet is one that is late: a coordinator moves when
    brokers are restarted."""
    def late():
        try:
            return look()
        except KafkaException as error:
            return str(error)

    return late


class Proof:
    """One scenario's surroundings; everything ends with it."""

    def __init__(self, name, folder, report, options, brokers=1):
        self.name, self.folder, self.report, self.options = name, folder, report, options
        self.services = Services(folder / "services", brokers)
        self.instances, self.stack = [], contextlib.ExitStack()
        prefix = f"{name}."
        self.topics = Topics(**{field: prefix + topic for field, topic in vars(Topics()).items()})
        self.groups = {f"{prefix}queries": [self.topics.queries],
                       f"{prefix}rules": [self.topics.vendors, self.topics.weddings]}

    def __enter__(self):
        # Whatever of it was started is stopped, also where starting fails half-way.
        self.stack.callback(self.services.stop)
        try:
            self.services.start()
            self.provider = Provider(self.folder)
            self.stack.callback(self.provider.child.stop)
            self.broker = Broker(self.services.kafka)
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        for instance in self.instances:
            if instance.is_running():
                instance.kill9()
        self.broker.reader.close()
        # Its clients end before what they are connected to.
        self.broker = None
        self.stack.close()

    def topology(self, overrides=None, base="wedsync.yaml", name="topology.yaml"):
        """A copy of a topology with this scenario's names of topics, groups and keys in it, and
        the overrides, text to text."""
        derived = derive(ROOT / "topologies" / base, self.folder / name, overrides or {})
        text = derived.read_text()
        text = re.sub(r"name: (wedsync\.)", rf"name: {self.name}.\1", text)
        text = re.sub(r"^    (queries|rules): wedcache-\w+$", rf"    \1: {self.name}.\1", text, flags=re.M)
        text = re.sub(r"^(    server: \{single: .*)$", rf'\1\n    key_prefix: "{self.name}:"', text, flags=re.M)
        derived.write_text(text)
        found = yaml.safe_load(text)
        if found["kafka"]["groups"] != {"queries": f"{self.name}.queries", "rules": f"{self.name}.rules"}:
            raise SystemExit(f"{base} names its groups otherwise than the harness expects")
        return derived

    def instance(self, name, topology, *, redis=True, static=True, failpoints=False):
        """A new instance, not yet started. `static`: a member by its name, so that a restart
        costs no session timeout. `failpoints`: the binary that has them."""
        env = {
            "WEDCACHE_KAFKA": self.services.kafka,
            "WEDCACHE_AI_URL": f"{self.provider.url}/v1",
            "WEDCACHE_AI_KEY": "no-secret",
            "WEDCACHE_DATA": str(self.folder / f"{name}-data"),
            "WEDCACHE_LISTEN": f"127.0.0.1:{free_port()}",
            **({"WEDCACHE_REDIS": self.services.redis} if redis else {}),
            **({"WEDCACHE_INSTANCE_ID": name} if static else {}),
        }
        check_variables(topology, env)
        binary = self.options.failpoints_binary if failpoints else self.options.binary
        one = Instance(self, name, topology, binary, {**env, "WEDCACHE_LOG_FORMAT": "json"})
        self.instances.append(one)
        return one

    def wedcache(self, *arguments, topology, timeout=120):
        """A command of ours that ends by itself: exit code and output."""
        env = {**os.environ, "WEDCACHE_KAFKA": self.services.kafka, "WEDCACHE_TOPOLOGY": str(topology)}
        done = subprocess.run([self.options.binary, *map(str, arguments)], env=env, capture_output=True, text=True,
                              cwd=self.folder, timeout=timeout)
        return done.returncode, done.stdout + done.stderr

    def apply_topics(self, topology):
        few = ["--replication-factor", "1"] if self.services.brokers < 3 else []
        code, output = self.wedcache("topics", "apply", *few, topology=topology)
        if code:
            raise SystemExit(f"`topics apply` ended with {code}:\n{output}")
        # A partition that is just made may not have its leader yet.
        for topic in vars(self.topics).values():
            wait_until("it has leaders", 30, lambda: self.has_no_leader(topic))

    def has_no_leader(self, topic):
        try:
            self.broker.ends([topic])
        except KafkaException as error:
            return str(error)
        return None

    def wait_until_balanced(self, members, deadline_secs=60):
        """Waits until so many members share the queries' partitions: every poll thread is one, they
        join one after the other, and each that comes moves partitions of those that were there."""
        group, partitions = f"{self.name}.queries", len(self.broker.partitions([self.topics.queries]))

        def late():
            found = self.broker.admin.describe_consumer_groups([group])[group].result(10)
            owned = sorted(len(member.assignment.topic_partitions) for member in found.members)
            # `stable` is also what it is between the two rounds of a cooperative rebalance.
            if len(owned) == members and sum(owned) == partitions and owned[0] >= partitions // members:
                return None
            return f"{found.state.name}, partitions by member: {owned}"

        if behind := wait_until(f"{group} is balanced", deadline_secs, answered(late)):
            raise SystemExit(behind[0])

    def wait_until_worked_off(self, deadline_secs=120, groups=None):
        """Waits until the groups have committed what stands in their topics now; returns what is
        behind."""
        behind = []
        for group, topics in self.groups.items():
            if groups is None or group in groups:
                behind += self.wait_for_group(group, topics, deadline_secs)
        return behind

    def wait_for_group(self, group, topics, deadline_secs):
        ends, consumer = self.broker.ends(topics), self.broker.member_of(group)

        def late():
            committed = self.broker.committed(consumer, topics)
            return {f"{t}[{p}]": f"{committed[t, p]} of {end}" for (t, p), end in ends.items()
                    if committed[t, p] < end} or None

        try:
            return wait_until(f"{group} has committed", deadline_secs, answered(late))
        finally:
            consumer.close()

    def check_staleness(self, topology, *arguments):
        """`wedcache check`: no answer that the log forbids."""
        began = time.monotonic()
        code, output = self.wedcache("check", *arguments, topology=topology, timeout=600)
        print("\n".join(f"       {line}" for line in output.splitlines()), flush=True)
        print(f"       (checked in {time.monotonic() - began:.1f} s)", flush=True)
        self.report.check("`wedcache check` finds no forbidden answer", [] if code == 0 else [output[-2000:]])
