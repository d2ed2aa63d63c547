"""A million queries wait at the start: memory stays bounded, no member is evicted, and they are worked off."""

import re
import time

from judge import Judge
from load import Load, questions
from scenarios.pressure import memory

# Caches, prefetch and queues have their bounds; how much waits in Kafka adds nothing.
MAX_BYTES = 400 << 20


def arguments(parser):
    parser.add_argument("--waiting", type=int, metavar="N", help="backlog: queries (default 1000000, quick 20000)")


def run(proof, options):
    waiting = options.waiting or (20_000 if options.quick else 1_000_000)
    topology = proof.topology({"response_timeout: 20ms": "response_timeout: 2s"})
    proof.apply_topics(topology)
    load = Load(proof, questions(vendors=500, weddings=100, each=4))
    began = time.monotonic()
    load.run(total=waiting)
    load.finish()
    print(f"       {waiting} queries produced in {time.monotonic() - began:.1f} s", flush=True)
    one = proof.instance("a", topology)
    one.start()
    began = time.monotonic()
    behind = proof.wait_until_worked_off(1800, [f"{proof.name}.queries"])
    took = time.monotonic() - began
    proof.report.check(f"{waiting} queries are worked off and committed", behind)
    most = memory(one, "VmHWM")
    print(f"       {waiting / took:.0f} a second, {took:.1f} s; most memory at any time {most >> 20} MB", flush=True)
    proof.report.check(f"memory stays below {MAX_BYTES >> 20} MB", [] if most < MAX_BYTES else [f"{most >> 20} MB"])
    log = one.logged()
    # That a second poll thread joins, and takes its half of the first one's, is no eviction.
    proof.report.equal("no partition was lost", len(re.findall(r'"partitions revoked".*"lost":true', log)), 0)
    proof.report.equal("no poll came too late", log.count("MAXPOLL"), 0)
    Judge(proof, load).check_answered()
    calls = proof.provider.calls()
    again = len(calls) - len({call["key"] for call in calls})
    proof.report.check(f"no key is bought twice ({len(calls)} calls)", [f"{again} again"] if again else [])
    proof.report.check("it ends cleanly", [] if one.terminate()[0] == 0 else [one.child.tail()])
