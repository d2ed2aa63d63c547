"""A reply that nobody waits for any more is kept: after a deadline, and after a revoke."""

import datetime
import time

from judge import Judge
from load import Load, question

TEXT = "Is it too late for an answer?"


def calls_of(proof, load, which):
    return sum(call["question"] == load.asked[which].text for call in proof.provider.calls())


def ask_and_wait(proof, load, numbers):
    for which in numbers:
        load.ask(which)
    load.finish()
    proof.report.check("all is answered", proof.wait_until_worked_off(60, [f"{proof.name}.queries"]))


def wait_until_quiet(proof, deadline_secs=30):
    """Until no call runs, and what came of them is stored."""
    began = time.monotonic()
    while proof.provider.stats()["now"] and time.monotonic() - began < deadline_secs:
        time.sleep(0.05)
    time.sleep(0.5)


def after_a_deadline(proof, load, hurried, patient):
    """The same question, first with a deadline that the provider does not keep."""
    proof.provider.control(latency_ms=[6000, 6000])
    deadline = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
    load.asked[hurried] = question("v-1", "vendor_matching", TEXT,
                                   deadline=deadline.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    load.ask(hurried)
    load.finish()
    # In time, or it would have been expired without a call.
    proof.provider.wait_for_calls(1)
    proof.report.check("all is answered", proof.wait_until_worked_off(60, [f"{proof.name}.queries"]))
    wait_until_quiet(proof)
    ask_and_wait(proof, load, [patient])
    proof.report.equal("after a deadline: the reply that came too late answers the next query, calls", calls_of(proof, load, patient), 1)
    proof.provider.control(latency_ms=[20, 40])


def after_a_revoke(proof, load, topology, first, numbers):
    """A second instance takes partitions over while their calls hang at the provider."""
    proof.provider.control(hang=True)
    for which in numbers:
        load.ask(which)
    load.finish()
    proof.provider.wait_for_calls(len(numbers))
    second = proof.instance("b", topology, redis=False).start()
    # What moves is asked again by its new owner, which has neither the call nor its layers.
    second.wait_for_log("partitions assigned")
    proof.provider.wait_for_calls(len(numbers) + 1)
    time.sleep(1)
    proof.provider.control(hang=False)
    proof.report.check("both answer", proof.wait_until_worked_off(60, [f"{proof.name}.queries"]))
    wait_until_quiet(proof)
    before = {which: calls_of(proof, load, which) for which in numbers}
    moved = [which for which, count in before.items() if count > 1]
    proof.report.check("partitions moved while their calls hung", [] if moved else ["none did: it proves nothing"])
    proof.report.check("no more than one call an instance", [f"{w}: {c}" for w, c in before.items() if c > 2])
    proof.report.check("SIGTERM ends the second", [second.child.tail()] if second.terminate()[0] else [])
    ask_and_wait(proof, load, numbers)
    proof.report.check(f"after a revoke: the first has kept all {len(moved)} replies that came after it", [
        f"question {which}: {calls_of(proof, load, which)} calls, {count} before" for which, count in before.items()
        if calls_of(proof, load, which) != count])
    proof.report.check("SIGTERM ends the first", [first.child.tail()] if first.terminate()[0] else [])


def run(proof, options):
    # Shorter than the provider takes, so that the revoke leaves calls in flight.
    topology = proof.topology({"drain_deadline: 10s": "drain_deadline: 1s"})
    proof.apply_topics(topology)
    first = proof.instance("a", topology, redis=False).start()
    asked = [question("v-1", "vendor_matching", TEXT)] * 2
    asked += [question(f"v-{n}", "vendor_matching", f"Does number {n} survive a revoke?") for n in range(24)]
    load = Load(proof, asked)
    after_a_deadline(proof, load, 0, 1)
    after_a_revoke(proof, load, topology, first, range(2, len(asked)))
    judge = Judge(proof, load)
    judge.check_answered(wanted=("answered", "failed"))
    proof.report.check("only what came too late is expired", [u for u in judge.unusable if not u.startswith("q-0: expired")])
    proof.report.equal("expired", judge.kinds["expired none"], 1)
    proof.check_staleness(topology)
