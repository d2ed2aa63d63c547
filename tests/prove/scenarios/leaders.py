"""Three brokers are restarted one after the other under load: leaders move, nothing is lost, no answer is forbidden.

One instance is a dynamic member, as in production by default, the other a static one: where its
coordinator dies for longer than its session, Kafka may take its return for another member and
fence it; it joins anew without a new start.
"""

import os
import signal
import time

from judge import Judge
from load import Load, questions

BROKERS = 3
NAMES = ("kafka", "kafka-2", "kafka-3")
# What reads the log finds its new leader some moments after what writes to it; it looks twice a second.
NEW_LEADER_MS = 3000


def is_running(pid):
    """A process that has ended and that nobody has asked after is still listed, as a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def restart(proof, name, away_secs, by):
    """By process id: `kafka` names every broker to scripts/services."""
    pid = proof.services.pid(name)
    os.kill(pid, by)
    began = time.monotonic()
    while is_running(pid) and time.monotonic() - began < 60:
        time.sleep(0.05)
    time.sleep(away_secs)
    proof.services.start(name)


def run(proof, options):
    # Redis is not what is broken here; two processes, three brokers and Redis share this machine.
    topology = proof.topology({"response_timeout: 20ms": "response_timeout: 2s"})
    proof.apply_topics(topology)
    dynamic = proof.instance("dynamic", topology, static=False).start()
    static = proof.instance("static", topology).start()
    load = Load(proof, questions(vendors=40, weddings=10))
    load.start(per_sec=100 if options.quick else 300)
    turns = [(NAMES[1], signal.SIGKILL)] if options.quick else \
        [(name, by) for by in (signal.SIGTERM, signal.SIGKILL) for name in NAMES]
    for name, by in turns:
        for _ in range(5):
            load.change()
            time.sleep(0.2)
        restart(proof, name, 1 if options.quick else 15, by)
        # The brokers' replicas follow before the next one goes.
        time.sleep(4 if options.quick else 15)
    load.stop()
    fenced = static.logged().count("was fenced; it joins anew")
    print(f"       members with a static id were fenced, and joined anew, {fenced} times", flush=True)
    proof.report.check("all is worked off and committed", proof.wait_until_worked_off(120))
    for one in (dynamic, static):
        proof.report.check(f"{one.name}: has lived through it and is ready", [] if one.is_running() and one.metric("wedcache_ready") == 1
                           else [one.child.tail()])
        proof.report.equal(f"{one.name}: records that a producer gave up on",
                           one.metric(r'wedcache_output_failures_total\{output="(?:answers|log)"\}'), 0)
    judge = Judge(proof, load, grace_ms=NEW_LEADER_MS)
    judge.check_answered()
    judge.check_facts()
    proof.check_staleness(topology)
    for one in (dynamic, static):
        code, _ = one.terminate()
        proof.report.check(f"{one.name}: ends cleanly", [] if code == 0 else [one.child.tail()])
