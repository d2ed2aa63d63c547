"""Members join and leave with a thousand calls under way: nothing is lost, committed past or bought twice.

A first member alone, a second and a third that join, one that is killed, one that is told to end,
each time with misses in flight; incremental and eager assignment, static membership, and a drain
that is too short for the calls. Calls go on where they began, and whoever owns the partition by
then waits for them. Throughout it is looked at what the group has committed, and held
against the answers that stood on their topic at that moment. Hits are asked for all along: how
long they wait in a rebalance is measured.
"""

import dataclasses
import json
import threading
import time

from confluent_kafka import TopicPartition

from commits import committed
from judge import Judge, quantile, stream
from load import Load, question

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
HEAD = len("wc1r") + 5
# The characters of the topic\'s id, where it is told.
TOPIC_ID = 22
# The exit code of a drain that its deadline ended.
UNDRAINED = 3
# A reply that came so shortly before a kill may not have been stored yet, and a request that was
# sent so shortly before it begins after it.
STORING_MS, SENDING_MS = 1500, 500


@dataclasses.dataclass
class Variant:
    overrides: dict
    static: bool = False


# Three processes, Kafka and Redis share this machine's cores: a Redis that answers late is another proof's.
ROOM = {"concurrency: 64": "concurrency: 4000", "response_timeout: 20ms": "response_timeout: 30s"}
EAGER = {"assignment: cooperative_sticky": "assignment: range"}
SHORT = {"drain_deadline: 10s": "drain_deadline: 1s"}
VARIANTS = {
    "incremental": Variant(ROOM),
    "eager": Variant(ROOM | EAGER),
    "static": Variant(ROOM, static=True),
    "short-drain": Variant(ROOM | EAGER | SHORT),
}


def arguments(parser):
    parser.add_argument("--misses", type=int, metavar="N", help="rebalances: in flight at once (default 1000, quick 250)")
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), help="rebalances: default all, quick the first")


def finished_by(next_offset, metadata):
    """The offsets from `next_offset` on that commit metadata claims: written by the format's words."""
    if not metadata:
        return set()
    if metadata[:4] not in ("wc1r", "wc1b", "wc2r", "wc2b"):
        raise SystemExit(f"commit metadata that is not ours: {metadata[:20]!r}")
    body = HEAD + (TOPIC_ID if metadata[2] == "2" else 0)
    digits = [DIGITS.index(digit) for digit in metadata[body:]]
    if metadata[3] == "b":
        return {next_offset + 6 * at + bit for at, digit in enumerate(digits) for bit in range(6) if digit >> bit & 1}
    numbers, number, shift = [], 0, 0
    for digit in digits:
        number |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            numbers.append(number)
            number, shift = 0, 0
    out, at = set(), next_offset
    for gap, length in zip(numbers[::2], numbers[1::2]):
        out |= set(range(at + gap, at + gap + length))
        at += gap + length
    return out


class Placed(Load):
    """A load that remembers where on its topic each query stands."""

    def __init__(self, proof, asked):
        super().__init__(proof, asked)
        self.places = {}

    def ask(self, which=None):
        with self.lock:
            number = len(self.at_ms)
            self.at_ms.append(float("inf"))
            self.question_of.append(which)

        def delivered(error, message):
            if error:
                self.failures.append(f"q-{number}: {error}")
                return
            self.at_ms[number] = message.timestamp()[1]
            self.places[message.partition(), message.offset()] = number

        one = self.asked[which]
        self.send(self.producer, self.proof.topics.queries, one.key, one.value(f"q-{number}"), delivered)
        return number


class Watch:
    """Looks at the group's commits again and again, and where the answers' ends were after each look."""

    def __init__(self, proof, load):
        self.proof, self.load, self.looks, self.ended = proof, load, [], threading.Event()
        self.group = f"{proof.name}.queries"
        self.begins = {p: o for p, o in load.begun.items() if p[0] == proof.topics.answers}
        self.partitions = [partition for topic, partition in load.begun if topic == proof.topics.queries]
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def run(self):
        reader = self.proof.broker.member_of(f"{self.group}-ends")
        while not self.ended.wait(0.25):
            commits = committed(self.proof.services.kafka, self.group, self.proof.topics.queries, self.partitions)
            ends = {place: reader.get_watermark_offsets(TopicPartition(*place), timeout=10)[1] for place in self.begins}
            self.looks.append((commits, ends))
        reader.close()

    def check(self):
        """At no look was a query committed, by offset or metadata, whose answer was not there yet."""
        first, answered_ms = {}, {}
        for message in stream(self.proof.broker, self.begins):
            number = int(json.loads(message.value())["queryId"][2:])
            if number not in first:
                first[number] = (message.topic(), message.partition()), message.offset()
                answered_ms[number] = message.timestamp()[1]
        by_partition = {}
        for (partition, offset), number in self.load.places.items():
            by_partition.setdefault(partition, []).append((offset, number))
        past, claims, by_metadata = set(), 0, 0
        for commits, ends in self.looks:
            for partition, (next_offset, metadata) in commits.items():
                above = finished_by(next_offset, metadata)
                for offset, number in by_partition.get(partition, ()):
                    if offset < next_offset or offset in above:
                        claims += 1
                        by_metadata += offset in above
                        place, at = first.get(number, (None, None))
                        if place is None or at >= ends[place]:
                            past.add(f"q-{number} at {partition}@{offset}, committed {next_offset}")
        self.proof.report.check(f"no commit passes what is unfinished ({len(self.looks)} looks, {claims} claims, "
                                f"{by_metadata} of them by metadata)", sorted(past))
        return answered_ms


def bought_twice(calls, kills):
    """Keys with a second call that no kill excuses; and how many were excused."""
    by_key, wrong, excused = {}, [], 0
    for call in sorted(calls, key=lambda call: call["begin"]):
        by_key.setdefault(call["key"], []).append(call)
    for key, of_key in by_key.items():
        for before, again in zip(of_key, of_key[1:]):
            ended = before["end"] or float("inf")
            if any(before["begin"] - SENDING_MS <= kill <= ended + STORING_MS for kill in kills):
                excused += 1
            else:
                wrong.append(f"{key}: from {before['begin']:.0f} to {ended:.0f}, again from {again['begin']:.0f}; kills {kills}")
    return wrong, excused


def flood(proof, load, prefix, name, count):
    """So many misses, each of a key of its own; returns when nearly all are at the provider."""
    before = proof.provider.stats()["calls"]
    base = len(load.asked)
    load.asked += [question(f"v-{prefix}{name}{n}", "vendor_matching", f"What does it cost ({prefix} {name} {n})?")
                   for n in range(count)]
    for n in range(count):
        load.ask(base + n)
    load.producer.flush(60)
    began = time.monotonic()
    while proof.provider.stats()["calls"] - before < count * 0.9:
        if time.monotonic() - began > 60:
            raise SystemExit(f"only {proof.provider.stats()['calls'] - before} of {count} calls began")
        time.sleep(0.02)
    return range(base, base + count)


class Hits:
    """Asks for what is cached, a hundred times a second, over all partitions."""

    def __init__(self, load, which):
        self.load, self.which, self.asked, self.ended = load, list(which), [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def run(self):
        while not self.ended.wait(0.01):
            self.asked.append(self.load.ask(self.which[len(self.asked) % len(self.which)]))


def play(proof, load, prefix, variant, count):
    """The members' coming and going; returns the kills and what hits waited for, by phase."""
    topology = proof.topology(variant.overrides, name=f"{prefix}.yaml")
    a, b, c = (proof.instance(f"{prefix}-{name}", topology, static=variant.static) for name in "abc")
    a.start()
    kills, phases, latency = [], [], (1500, 2500) if proof.options.quick else (3000, 4000)
    proof.provider.control(latency_ms=(5, 10))
    warm = flood(proof, load, prefix, "hits", 48)
    proof.report.check(f"{prefix}: what is to be hit is cached", proof.wait_until_worked_off(60, [f"{proof.name}.queries"]))
    proof.provider.control(latency_ms=latency)

    def phase(name, action):
        phases.append((name, time.time() * 1000))
        action()

    def kill():
        kills.append(c.kill9())
        if variant.static:
            c.start()

    def end():
        code, _ = b.terminate()
        # Its deadline passed with calls under way: their replies come to nobody, as after a kill.
        if code == UNDRAINED:
            kills.append(time.time() * 1000)

    with Hits(load, warm) as hits:
        phase("alone", lambda: time.sleep(2))
        for name, action in (("second joins", b.start), ("third joins", c.start), ("third is killed", kill),
                             ("second ends", end)):
            flood(proof, load, prefix, name.replace(" ", ""), count)
            phase(name, action)
        proof.wait_until_worked_off(90, [f"{proof.name}.queries"])
        phases.append(("end", float("inf")))
    load.producer.flush(60)
    behind = proof.wait_until_worked_off(90, [f"{proof.name}.queries"])
    proof.report.check(f"{prefix}: all is worked off and committed", behind)
    ended = {one.name: one.terminate()[0] for one in (a, c) if one.is_running()}
    # Where the machine stood still for longer than a fill waits: such an answer can be bought again.
    unstored = sum(one.log.read_text().count("an answer is in memory only") for one in (a, b, c))
    if unstored:
        print(f"       {prefix}: {unstored} answers were given before a layer had stored them", flush=True)
    proof.report.check(f"{prefix}: who is told to end ends cleanly", [f"{ended}"] if any(ended.values()) else [])
    return kills, phases, hits


def tell_pauses(prefix, load, answered_ms, phases, hits):
    """By when they were answered: what holds up a hit happens after it was asked."""
    for (name, begin), (_, end) in zip(phases, phases[1:]):
        waited = [answered_ms[n] - load.at_ms[n] for n in hits.asked if n in answered_ms and begin <= answered_ms[n] < end]
        if waited:
            print(f"       {prefix}, {name}: {len(waited)} hits, p50 {quantile(waited, 0.5):.0f} ms, p99 "
                  f"{quantile(waited, 0.99):.0f} ms, longest {max(waited):.0f} ms", flush=True)


def run(proof, options):
    names = options.variants or (["incremental"] if options.quick else list(VARIANTS))
    count = options.misses or (250 if options.quick else 1000)
    proof.apply_topics(proof.topology())
    load, played = Placed(proof, []), []
    with Watch(proof, load) as watch:
        for name in names:
            before = len(proof.provider.calls())
            played.append((name, *play(proof, load, name, VARIANTS[name], count)))
            calls = proof.provider.calls()[before:]
            wrong, excused = bought_twice(calls, played[-1][1])
            proof.report.check(f"{name}: no key is bought twice but for what was in flight at a kill "
                               f"({len(calls)} calls, {excused} again)", wrong)
    load.finish()
    judge = Judge(proof, load)
    judge.check_answered()
    answered_ms = watch.check()
    for name, _, phases, hits in played:
        tell_pauses(name, load, answered_ms, phases, hits)
    check_kept(proof, load)
    proof.check_staleness(proof.topology())


def check_kept(proof, load):
    """What was bought is there: also what came back after a revoke."""
    topology = proof.topology(ROOM, name="afterwards.yaml")
    one = proof.instance("afterwards", topology).start()
    before = proof.provider.stats()["calls"]
    behind = []
    for begin in range(0, len(load.asked), 500):
        for which in range(begin, min(begin + 500, len(load.asked))):
            load.ask(which)
        load.finish()
        behind += proof.wait_until_worked_off(90, [f"{proof.name}.queries"])
    again = proof.provider.stats()["calls"] - before
    proof.report.check(f"each of the {len(load.asked)} answers was kept: asked again, none is bought again",
                       behind + ([f"{again} calls"] if again else []))
    one.terminate()
