"""A paid answer is never bought twice because of a crash.

SIGKILL at each point of a call's way, then at random. What the provider's own log shows decides: a
key has no second call, except where the first was in flight at a crash, or answered and not yet
stored.
"""

import collections
import random
import time

from judge import Judge
from load import Load, question

FAILPOINTS = True
# The point at which the process stops and is killed, and how many calls its key may have in all.
POINTS = {"before-call": 1, "during the call": 2, "replied": 2, "fill-stored": 1, "answered": 1, "before-commit": 1}
# A reply that is older than this at a crash must have been stored by then: a fill waits two seconds
# for the disk, and on a busy machine a flush can take long. One that was used for an answer must
# have been stored in any case.
STORED_WITHIN_MS = 3000
# A question is asked about this often, by neighbouring queries.
ASKED = 3


def arguments(parser):
    parser.add_argument("--kills", type=int, metavar="N", help="bought_twice: at random (default 300, quick 20)")
    parser.add_argument("--seed", type=int, default=7, help="bought_twice: of the random kills")


def stop_at(proof, instance, load, point, which):
    """Asks, and kills the instance where the point says; returns when it was killed."""
    calls = proof.provider.stats()["calls"]
    if point == "during the call":
        instance.start()
        proof.provider.control(hang=True)
    else:
        instance.start(FAILPOINT=point)
    for _ in range(ASKED):
        load.ask(which)
    load.finish()
    if point == "during the call":
        proof.provider.wait_for_calls(1)
    else:
        instance.wait_for_log('"point":"%s"' % point)
    at = instance.kill9()
    proof.provider.control(hang=False)
    expected = 0 if point == "before-call" else 1
    made = proof.provider.stats()["calls"] - calls
    if made != expected:
        raise SystemExit(f"at `{point}` {made} calls had been made, not {expected}: the point is not where it should be")
    return at


def at_each_point(proof, load, instance, first, rounds):
    """Questions from the number `first` on, one a point and round."""
    which = first
    for _ in range(rounds):
        for point, allowed in POINTS.items():
            stop_at(proof, instance, load, point, which)
            instance.start()
            behind = proof.wait_until_worked_off(60, [f"{proof.name}.queries"])
            calls = sum(call["question"] == load.asked[which].text for call in proof.provider.calls())
            proof.report.check(f"killed at `{point}`: answered, by {allowed} call{'s' if allowed > 1 else ' alone'} at the most",
                               behind + ([f"{calls} calls"] if not 1 <= calls <= allowed else []))
            instance.kill9()
            which += 1


def at_random(proof, load, instance, first, kills, seed):
    """Kills at random moments of a load of new questions; returns when each was sent."""
    dice, killed = random.Random(seed), []
    instance.start()
    proof.provider.control(latency_ms=[5, 250])
    base = len(load.at_ms)
    load.start(per_sec=150, which=lambda n: first + min((n - base) // ASKED + dice.randrange(4), len(load.asked) - first - 1))
    for _ in range(kills):
        time.sleep(dice.uniform(0, 1.2))
        killed.append(instance.kill9())
        instance.start(wait=False)
        # Often it is killed while it starts, too.
        if dice.random() < 0.8:
            instance.wait_ready()
    load.stop()
    instance.wait_ready()
    return killed


def reaches(kills, ready):
    """For each kill, until when a call can still be the killed process's: the provider may read a
    request after its sender is gone, and the next process makes none before it is ready."""
    return [(sent, next((at for at in ready if at > sent), float("inf"))) for sent in kills]


def unjustified(calls, kills, answered_ms):
    """Second calls that no crash explains, of calls by question; and for those that one does, how
    old the first reply was at the crash. `kills` are as `reaches` has them."""
    wrong, ages = [], []
    for which, made in calls.items():
        made.sort(key=lambda call: call["begin"])
        for first, second in zip(made, made[1:]):
            between = [(sent, until) for sent, until in kills if until >= first["begin"] and sent <= second["begin"]]
            replied = first["end"] if first["status"] == 200 else float("inf")
            answered = answered_ms.get(which, float("inf"))
            excuses = [sent for sent, _ in between if replied > sent - STORED_WITHIN_MS and answered > sent]
            if excuses:
                ages += [max(0.0, excuses[0] - replied)]
            else:
                wrong.append(f"question {which}: called at {first['begin']:.0f}, replied {first['end']}, first answered "
                             f"{answered}, called again at {second['begin']:.0f}; killed in between at {between}")
    return wrong, ages


def run(proof, options):
    kills = options.kills or (20 if options.quick else 300)
    rounds = 1 if options.quick else 5
    # Disk alone: Redis would hide what the disk does not keep.
    topology = proof.topology()
    proof.apply_topics(topology)
    instance = proof.instance("a", topology, redis=False, failpoints=True)
    # New questions for as long as the kills take, lest there be no calls left to hit.
    exact, at_large = rounds * len(POINTS), kills * 250
    asked = [question(f"v-{n % 40}", "vendor_matching", f"A question of its own, number {n}?") for n in range(exact + at_large)]
    load = Load(proof, asked)
    at_each_point(proof, load, instance, 0, rounds)
    sent = at_random(proof, load, instance, exact, kills, options.seed)
    proof.report.check("everything is worked off", proof.wait_until_worked_off(120))
    proof.report.check("SIGTERM ends it cleanly", [instance.child.tail()] if instance.terminate()[0] else [])
    judge = Judge(proof, load)
    judge.check_answered()
    judge.check_facts()
    numbers, calls = {one.text: n for n, one in enumerate(asked)}, collections.defaultdict(list)
    for call in proof.provider.calls():
        if numbers[call["question"]] >= exact:
            calls[numbers[call["question"]]].append(call)
    wrong, ages = unjustified(calls, reaches(sent, instance.logged_times('"message":"ready"')), judge.answered_ms)
    proof.report.check(f"{kills} kills at random: of {len(calls)} keys none is called again without a crash to explain it", wrong)
    proof.report.check("the kills hit calls", [] if ages or kills < 20 else ["no kill fell into a call: it proves nothing"])
    print(f"       {len(ages)} keys were called again after a crash in the middle; replies lost between the provider and the "
          f"store: {sum(age > 0 for age in ages)}, the oldest {max(ages, default=0):.0f} ms old", flush=True)
    proof.check_staleness(topology)
