"""Of several instances one buys an answer, and without Redis none waits for another.

Every question is asked at one moment on many partitions, so that each of the instances has it.
"""

import collections
import dataclasses

from judge import Judge
from load import Load, question

# A machine that is too busy lets leases lapse, whose questions are then bought again.
ALONE = True
# A busy machine's Redis is late; what a late one does is another proof's.
ROOM = {"concurrency: 64": "concurrency: 4000", "response_timeout: 20ms": "response_timeout: 5s"}
# So many record keys a question: of three instances each has some with near certainty.
COPIES = 12


def arguments(parser):
    parser.add_argument("--questions", type=int, metavar="N", help="fleet: asked at one moment (default 500, quick 100)")


def ask_all(proof, load, name, count):
    """New questions, each on many partitions; how often each was bought."""
    base, before = len(load.asked), len(proof.provider.calls())
    for n in range(count):
        one = question(f"v-{name}{n}", "vendor_matching", f"Who has it ({name} {n})?")
        load.asked += [dataclasses.replace(one, key=f"{name}-{n}-{copy}".encode()) for copy in range(COPIES)]
    # One after the other in turns, so that the copies of one question do not come in a row.
    for copy in range(COPIES):
        for n in range(count):
            load.ask(base + n * COPIES + copy)
    load.producer.flush(60)
    return lambda: collections.Counter(call["question"] for call in proof.provider.calls()[before:])


def run(proof, options):
    count = options.questions or (100 if options.quick else 500)
    topology = proof.topology(ROOM)
    proof.apply_topics(topology)
    group = f"{proof.name}.queries"
    fleet = [proof.instance(name, topology).start() for name in "abc"]
    proof.wait_until_balanced(2 * len(fleet))
    load = Load(proof, [])

    proof.provider.control(latency_ms=(1500, 2500))
    bought = ask_all(proof, load, "together", count)
    proof.report.check("asked on all instances at once, all is worked off", proof.wait_until_worked_off(60, [group]))
    calls = bought()
    proof.report.equal("questions bought", len(calls), count)
    proof.report.check("each is bought once", [f"{q}: {n} calls" for q, n in calls.items() if n > 1])
    waited = sum(one.metric(r'wedcache_leases_total\{result="not_needed"\}') for one in fleet)
    proof.report.check("instances waited for each other", [] if waited else ["none did: it proves nothing"])

    proof.provider.control(hang=True)
    bought = ask_all(proof, load, "apart", count)
    proof.provider.wait_for_calls(count)
    proof.services.kill("redis")
    # Who waits for another instance's call finds that it cannot know of it any more.
    proof.provider.wait_for_calls(count + 1)
    proof.provider.control(hang=False)
    proof.report.check("without Redis nothing waits for another instance", proof.wait_until_worked_off(60, [group]))
    proof.report.check("no more than one call an instance", [f"{q}: {n} calls" for q, n in bought().items() if n > len(fleet)])
    proof.services.start("redis")

    Judge(proof, load).check_answered()
    proof.check_staleness(topology)
    proof.report.check("they end cleanly", [one.child.tail() for one in fleet if one.terminate()[0]])
