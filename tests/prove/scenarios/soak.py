"""No answer that a change has forbidden, over many answers, restarts and kills.

Two instances on Kafka, Redis and disk; changes all along; SIGTERM and SIGKILL in turn. Judged by
`wedcache check` (the answers' word against the log) and by the facts that the provider put into
each answer (nobody's word). Measured on the way: how long after a change the last old answer is
served, idle and under full load.
"""

import threading
import time

from judge import Judge
from load import Load, questions

# Its judge grants an instance a second behind the log, and it measures delays.
ALONE = True
SUBJECTS_UNDER_LOAD = 8


def arguments(parser):
    parser.add_argument("--answers", type=int, metavar="N", help="soak: how many (default 1000000, quick 20000)")
    parser.add_argument("--per-sec", type=int, metavar="N", help="soak: queries a second (default 3000, quick 1500)")
    parser.add_argument("--faults", type=int, metavar="N", help="soak: restarts and kills (default 40, quick 3)")


class Changes:
    """Changes at a rate on a thread of their own, four purges to a refresh."""

    def __init__(self, load, per_sec, subjects=None):
        self.load, self.pause, self.ended = load, 1 / per_sec, threading.Event()
        self.subjects = subjects or load.subjects()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def run(self):
        number = 0
        while not self.ended.wait(self.pause):
            number += 1
            self.load.change(self.subjects[number % len(self.subjects)], purges=number % 5 != 0)

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        # The last change may have been sent after everybody else flushed.
        self.load.finish()


def idle(load, count):
    """One change at a time, while one question is asked 500 times a second."""
    load.start(per_sec=500, which=0)
    time.sleep(1)
    changes = []
    for _ in range(count):
        changes.append(load.change(load.asked[0].subject, wait=True))
        time.sleep(0.25)
    load.stop()
    return changes


def under_full_load(proof, load, count):
    """As many queries as the producer can send, about few subjects so that each is asked about all
    the time, until these have changed so often."""
    subjects = sorted({one.subject for one in load.asked})[:SUBJECTS_UNDER_LOAD]
    before, asked = len(load.changes), len(load.at_ms)
    load.start(which=[n for n, one in enumerate(load.asked) if one.subject in subjects])
    began = time.monotonic()
    with Changes(load, per_sec=10, subjects=subjects):
        while len(load.changes) - before < count:
            time.sleep(0.05)
        load.stop()
    took, asked = time.monotonic() - began, len(load.at_ms) - asked
    print(f"       full load: {asked} queries, {asked / took:.0f} a second, {count} changes", flush=True)
    proof.report.check("the full load is worked off", proof.wait_until_worked_off(300, [f"{proof.name}.queries"]))
    return load.changes[before:]


def fire(load, instances, total, faults):
    """Faults at even distances of the load: SIGKILL and SIGTERM in turn, on each instance in turn."""
    base = len(load.at_ms)
    for number in range(faults):
        while len(load.at_ms) - base < total * (number + 1) // (faults + 1) and load.is_running():
            time.sleep(0.02)
        victim = instances[number // 2 % len(instances)]
        if number % 2 == 0:
            victim.kill9()
        else:
            victim.terminate()
        victim.start(wait=False)
        victim.wait_ready()


def run(proof, options):
    total = options.answers or (20_000 if options.quick else 1_000_000)
    per_sec = options.per_sec or (1500 if options.quick else 3000)
    faults = options.faults if options.faults is not None else (3 if options.quick else 40)
    topology = proof.topology()
    proof.apply_topics(topology)
    instances = [proof.instance(name, topology) for name in ("a", "b")]
    for one in instances:
        one.start()
    load = Load(proof, questions(vendors=40, weddings=10))
    calm = idle(load, 15 if options.quick else 200)
    began = time.monotonic()
    with Changes(load, per_sec=5):
        load.start(total=total, per_sec=per_sec)
        fire(load, instances, total, faults)
        load.finish()
    proof.report.check("everything is worked off", proof.wait_until_worked_off(300))
    took = time.monotonic() - began
    print(f"       {total} queries with {faults} restarts and kills in {took:.0f} s", flush=True)
    busy = under_full_load(proof, load, 10 if options.quick else 200)
    proof.report.check("every change is worked off", proof.wait_until_worked_off(60))
    proof.report.check("SIGTERM ends each cleanly", [f"{one.name}: {code}\n{one.child.tail()}" for one in instances
                                                     if (code := one.terminate()[0]) != 0])
    judge = Judge(proof, load)
    judge.check_answered()
    judge.check_facts()
    judge.tell_delays("idle", calm)
    judge.tell_delays("under full load", busy)
    proof.check_staleness(topology)
