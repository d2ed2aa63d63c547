"""Ten thousand calls in flight at once are held in bounded memory, and hits go on meanwhile."""

import json
import time

from judge import Judge, quantile, stream
from load import Load, question

# All calls must be in flight before the first one's time is up.
ALONE = True
ROOM = {"    records: 32768": "    records: 40000", "concurrency: 64": "concurrency: 20000",
        "response_timeout: 20ms": "response_timeout: 2s"}
# Of one instance of topologies/wedsync.yaml.
POLL_THREADS = 2
# What a call may hold at the most, its connection's buffers included, and the process without any.
BYTES_PER_CALL, BYTES_BASE = 64 << 10, 400 << 20


def arguments(parser):
    parser.add_argument("--calls", type=int, metavar="N", help="pressure: in flight at once (default 10000, quick 2000)")


def memory(one, field="VmRSS"):
    """Bytes of the process, as the kernel counts them."""
    with open(f"/proc/{one.child.process.pid}/status") as status:
        for line in status:
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) << 10
    raise SystemExit(f"no {field} in /proc")


def answered_ms(proof, load):
    out = {}
    begins = {place: begin for place, begin in load.begun.items() if place[0] == proof.topics.answers}
    for message in stream(proof.broker, begins):
        out.setdefault(int(json.loads(message.value())["queryId"][2:]), message.timestamp()[1])
    return out


def run(proof, options):
    calls = options.calls or (2_000 if options.quick else 10_000)
    topology = proof.topology(ROOM)
    proof.apply_topics(topology)
    one = proof.instance("a", topology).start()
    hot = [question(f"v-hot{n}", "vendor_matching", f"What is asked all the time ({n})?") for n in range(24)]
    load = Load(proof, hot + [question(f"v-{n}", "vendor_matching", f"What nobody asked before ({n})?") for n in range(calls)])
    for which in range(len(hot)):
        load.ask(which)
    load.finish()
    proof.report.check("what is to be hit is cached", proof.wait_until_worked_off(60))
    # A partition that moves is drained first, and these calls hang.
    proof.wait_until_balanced(POLL_THREADS)
    before = memory(one)
    proof.provider.control(hang=True)
    for which in range(len(hot), len(hot) + calls):
        load.ask(which)
    load.producer.flush(120)
    began = time.monotonic()
    proof.provider.wait_for_calls(calls, 240)
    reached = time.monotonic() - began
    held = memory(one)
    # Hits while all of them are in flight.
    first = len(load.at_ms)
    for n in range(400):
        load.ask(n % len(hot))
        time.sleep(0.005)
    load.producer.flush(60)
    time.sleep(1)
    at_ms = answered_ms(proof, load)
    missing = [n for n in range(first, first + 400) if n not in at_ms]
    waited = [at_ms[n] - load.at_ms[n] for n in range(first, first + 400) if n in at_ms]
    proof.report.check(f"400 hits are answered while {calls} calls are in flight", [f"q-{n}" for n in missing])
    if waited:
        print(f"       hits meanwhile: p50 {quantile(waited, 0.5):.0f} ms, p99 {quantile(waited, 0.99):.0f} ms", flush=True)
    print(f"       {calls} calls in flight after {reached:.1f} s: {held >> 20} MB, {(held - before) // calls} bytes a call", flush=True)
    proof.report.check(f"they take {(held - before) >> 20} MB more, within {BYTES_PER_CALL >> 10} KB each",
                       [] if held - before < calls * BYTES_PER_CALL and held < BYTES_BASE + calls * BYTES_PER_CALL else [f"{held}"])
    proof.report.check("the process stays ready", [] if one.metric("wedcache_ready") == 1 else ["it does not"])
    proof.provider.control(hang=False)
    proof.report.check("all is worked off and committed", proof.wait_until_worked_off(120))
    load.finish()
    Judge(proof, load).check_answered()
    print(f"       most memory at any time: {memory(one, 'VmHWM') >> 20} MB", flush=True)
    proof.report.check("it ends cleanly", [] if one.terminate()[0] == 0 else [one.child.tail()])
