"""What is away comes back: Kafka, Redis, registry, provider, disk, dead letters, a wedged worker; no query is lost.

Each outage has an instance of its own on the same Kafka and Redis. It is taken away under load,
what then degrades is looked at where an operator would look, and after it is back everything that
was asked meanwhile must be answered, without anybody's help.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from commits import committed
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from judge import stream
from load import PLACE
from mixed_load import wait_until
from registry import Registry

SHORT = {
    # Expired soon, so that a provider that is away can be answered for.
    "florist: {ttl: 4h,": "florist: {ttl: 2s,",
    "breaker: {failures: 10, open_for: 15s}": "breaker: {failures: 10, open_for: 2s}",
    "breaker: {failures: 5, open_for: 5s}": "breaker: {failures: 5, open_for: 1s}",
    "max_invalidation_lag: {lag: 10s, then: stale}": "max_invalidation_lag: {lag: 3s, then: stale}",
    "concurrency: 64": "concurrency: 512",
    # A change that cannot be read owes a refresh, and its offset waits for that.
    "widen_refresh_interval: 5m": "widen_refresh_interval: 2s",
}
# Where Redis is not what is slow, this machine may be.
CALM = SHORT | {"response_timeout: 20ms": "response_timeout: 2s"}
WEDGED = CALM | {"watchdog: 2m": "watchdog: 2s", "drain_deadline: 10s": "drain_deadline: 2s"}


def arguments(parser):
    parser.add_argument("--outages", nargs="*", choices=list(OUTAGES), metavar="NAME",
                        help=f"outages: which of {', '.join(OUTAGES)} (default all, quick {', '.join(QUICK)})")


class Asker:
    """Queries of one outage: remembers them, and finds their answers."""

    def __init__(self, proof, name):
        self.proof, self.name, self.asked = proof, name, []
        self.begins = {place: end for place, end in proof.broker.ends([proof.topics.answers]).items()}
        self.producer = proof.producer

    def ask(self, text, cache_type="vendor_matching", florist=False, key=None):
        """One query; its number within this outage."""
        number = len(self.asked)
        query = {"type": cache_type, "content": f"{text} ({self.name})?", "vendorTypes": ["florist"] if florist else []}
        value = {"queryId": f"{self.name}-{number}", "query": query,
                 "weddingContext": {"weddingId": "w-1", "location": PLACE}}
        self.asked.append(text)
        self.produce(self.proof.topics.queries, json.dumps(value).encode(), key or f"k-{number}")
        return number

    def produce(self, topic, value, key, partition=-1):
        self.producer.produce(topic, value, key, partition=partition)
        self.producer.poll(0)

    def many(self, text, count, **how):
        return [self.ask(f"{text} {n}", **how) for n in range(count)]

    def answers(self):
        out = {}
        for message in stream(self.proof.broker, self.begins):
            answer = json.loads(message.value())
            if answer["queryId"].startswith(f"{self.name}-"):
                out.setdefault(int(answer["queryId"].rpartition("-")[2]), answer)
        return out

    def wait_for(self, numbers, deadline_secs=60):
        """The answers to these queries; what is missing after the deadline is reported."""
        self.producer.flush(120)
        found = {}

        def missing():
            found.update(self.answers())
            left = [n for n in numbers if n not in found]
            return f"{len(left)} of {len(numbers)} without an answer: {left[:5]}" if left else None

        self.proof.report.check(f"{self.name}: {len(numbers)} queries are answered", wait_until("waiting", deadline_secs, missing))
        return [found[n] for n in numbers if n in found]


def all_are(proof, what, answers, good):
    proof.report.check(what, [json.dumps(answer)[:400] for answer in answers if not good(answer)] or
                       ([] if answers else ["there are none"]))


def fresh(answer):
    return answer["status"] == "answered" and answer["freshness"] == "fresh"


def until(proof, what, look, deadline_secs=30):
    """Reports whether it comes true in time."""
    proof.report.check(what, wait_until("waiting", deadline_secs, lambda: None if look() else "not yet"))


def is_up(proof, name, one):
    proof.report.check(f"{name}: the process has lived through it", [] if one.is_running() else [one.child.tail()])


def status(one, path="/readyz"):
    try:
        with urllib.request.urlopen(one.url + path, timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return None, str(error)


def breaker(one, kind, name):
    return one.metric(rf'wedcache_{kind}_breaker_state\{{[^}}]*"{name}"[^}}]*\}}')


def looked_up(one, layer, result):
    return one.metric(rf'wedcache_layer_lookups_total\{{layer="{layer}",result="{result}"\}}')


# --- the outages ---


def kafka(proof, one, asker):
    """The broker is killed for a while: nothing is lost, the lag shows, and it goes on by itself."""
    asker.wait_for(asker.many("before", 50))
    proof.services.kill("kafka")
    # The client keeps what is asked meanwhile, as an upstream service's would.
    numbers = asker.many("while the broker is away", 200)
    time.sleep(6 if proof.options.quick else 60)
    lag = one.metric("wedcache_log_lag_seconds")
    proof.report.check(f"kafka: the log's lag shows ({lag:.0f} s)", [] if lag >= 3 else [f"{lag} s"])
    label = one.metric(r'wedcache_lag_state\{state="label"\}')
    proof.report.check("kafka: look-ups are labelled meanwhile", [] if label == 1 else [f"lag state label is {label}"])
    is_up(proof, "kafka", one)
    proof.services.start("kafka")
    back = time.monotonic()
    asker.wait_for(numbers, 120)
    print(f"       kafka: all answered {time.monotonic() - back:.1f} s after it was back", flush=True)
    until(proof, "kafka: the lag is gone again", lambda: one.metric(r'wedcache_lag_state\{state="current"\}') == 1)
    all_are(proof, "kafka: what is asked afterwards is fresh", asker.wait_for(asker.many("afterwards", 50)), fresh)


def redis_away(proof, one, asker):
    """Redis is killed: queries are answered all the same, and it is filled again once it is back."""
    asker.wait_for(asker.many("known", 50))
    proof.services.kill("redis")
    asked = asker.many("new", 100) + asker.many("known", 50)
    all_are(proof, "redis-away: every query is answered fresh without it", asker.wait_for(asked), fresh)
    proof.report.check("redis-away: look-ups say that it was unavailable",
                       [] if looked_up(one, "redis", "unavailable") > 0 else ["no unavailable look-up"])
    proof.services.start("redis")
    stored = r'wedcache_layer_fills_total\{layer="redis",result="stored"\}'
    before = one.metric(stored)

    def fills_again():
        asker.many(f"back {time.monotonic()}", 5)
        time.sleep(0.5)
        return one.metric(stored) > before

    until(proof, "redis-away: it is filled again once it is back", fills_again)
    until(proof, "redis-away: its breaker is closed again", lambda: breaker(one, "layer", "redis") == 0)


def redis_slow(proof, one, asker):
    """Redis stands still: a look-up waits no longer than its time-out, and hits do not wait at all."""
    asker.wait_for(asker.many("known", 50))
    pid = proof.services.pid("redis")
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        asked = asker.many("new", 100) + asker.many("known", 50)
        answers = asker.wait_for(asked)
        took = time.monotonic() - began
        until(proof, "redis-slow: its breaker is open",
              lambda: asker.many(f"slow {time.monotonic()}", 10) and not time.sleep(0.2) and breaker(one, "layer", "redis") > 0)
    finally:
        os.kill(pid, signal.SIGCONT)
    all_are(proof, "redis-slow: every query is answered fresh", answers, fresh)
    proof.report.check(f"redis-slow: 150 queries take {took:.1f} s, no more than with time-outs of 20 ms", [] if took < 10 else [f"{took} s"])
    proof.report.check("redis-slow: look-ups say that it was unavailable",
                       [] if looked_up(one, "redis", "unavailable") > 0 else ["no unavailable look-up"])
    until(proof, "redis-slow: its breaker is closed again",
          lambda: asker.many(f"back {time.monotonic()}", 3) and not time.sleep(0.5) and breaker(one, "layer", "redis") == 0)


def redis_flushed(proof, one, asker):
    """Redis loses everything: what memory and disk hold is not bought again."""
    asker.wait_for(asker.many("known", 50))
    calls = proof.provider.stats()["calls"]
    with socket.create_connection(proof.services.redis.split("/")[2].split(":"), 5) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        reply = connection.recv(16)
    proof.report.check("redis-flushed: it is empty", [] if reply == b"+OK\r\n" else [repr(reply)])
    one.kill9()
    one.start()
    all_are(proof, "redis-flushed: after a kill, too, disk has it", asker.wait_for(asker.many("known", 50)),
            lambda answer: fresh(answer) and answer["layer"] in ("memory", "disk"))
    bought = proof.provider.stats()["calls"] - calls
    proof.report.check("redis-flushed: nothing is bought again", [f"{bought} calls"] if bought else [])


def provider(proof, one, asker):
    """The provider drops every connection: known answers go on, expired ones are labelled, new ones fail."""
    asker.wait_for(asker.many("known", 30))
    asker.wait_for(asker.many("of florists", 30, florist=True))
    time.sleep(2.5)
    proof.provider.control(drop=True)
    known = asker.many("known", 30)
    expired, new = asker.many("of florists", 30, florist=True), asker.many("new", 30)
    all_are(proof, "provider: hits go on", asker.wait_for(known), lambda answer: fresh(answer) and answer["source"] == "cache")
    all_are(proof, "provider: expired answers are served and say so", asker.wait_for(expired),
            lambda answer: answer["status"] == "answered" and answer["staleReason"] == "expired")
    all_are(proof, "provider: what nobody knows fails, to be tried again", asker.wait_for(new),
            lambda answer: answer["status"] == "failed" and answer["error"]["retryable"])
    until(proof, "provider: its breaker is open", lambda: breaker(one, "provider", "main") > 0)
    proof.provider.control(drop=False)
    time.sleep(2.5)

    def serves():
        answers = asker.wait_for([asker.ask(f"afterwards {time.monotonic()}")])
        return bool(answers) and fresh(answers[0])

    until(proof, "provider: it is asked again once it is back", serves)
    until(proof, "provider: its breaker is closed again",
          lambda: asker.many(f"back {time.monotonic()}", 3) and not time.sleep(0.5) and breaker(one, "provider", "main") == 0)


def registry(proof, one, asker):
    """The registry is away: unknown schemas wait, a change among them forbids at once, the rest goes on."""
    known = proof.registry.store.register("queries-value", json.dumps({"type": "object"}), "JSON")
    later = proof.registry.store.register("later-value", json.dumps({"type": "object", "title": "later"}), "JSON")

    def framed(schema_id, number):
        value = {"queryId": f"{asker.name}-{number}", "query": {"type": "vendor_matching", "content": f"Framed {number}?"},
                 "weddingContext": {"location": PLACE}}
        return b"\0" + schema_id.to_bytes(4, "big") + json.dumps(value).encode()

    def ask_framed(schema_id):
        asker.asked.append("framed")
        number = len(asker.asked) - 1
        asker.produce(proof.topics.queries, framed(schema_id, number), f"k-{number}")
        return number

    asker.wait_for([ask_framed(known) for _ in range(5)])
    vendor = asker.ask("Is v-77 free")
    asker.wait_for([vendor])
    proof.registry.stop()
    parked = [ask_framed(later) for _ in range(20)]
    flowing = [ask_framed(known) for _ in range(20)] + asker.many("plain", 20)
    asker.produce(proof.topics.vendors, b"\0" + later.to_bytes(4, "big") + b'{"eventId": "e"}', "v-77")
    asker.wait_for(flowing)
    time.sleep(1)
    early = [n for n in parked if n in asker.answers()]
    proof.report.check("registry: records with a schema that nobody knows yet wait", early)
    again = asker.wait_for([asker.ask("Is v-77 free")])
    proof.report.check("registry: a change that cannot be read yet forbids what its key names at once",
                       [] if again and again[0]["source"] == "ai" else again)
    proof.report.check("registry: it stays ready meanwhile", [] if status(one)[0] == 200 else [status(one)])
    proof.registry.start()
    asker.wait_for(parked, 30)


def disk_full(proof, one, asker):
    """The disk is full: answers go on, Redis keeps them; with room again the disk keeps them too."""
    folder = pathlib.Path(one.env["WEDCACHE_DATA"])
    one.terminate()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        proof.leave_out("disk-full", f"a small file system cannot be mounted: {mounted.stderr.strip()}")
        one.start()
        return
    proof.stack.callback(subprocess.run, ["umount", "-l", folder])
    one.start()
    filler = folder / "filler"
    with contextlib.suppress(OSError), open(filler, "wb") as file:
        while True:
            file.write(bytes(64 << 10))
            file.flush()
    asked = asker.many("while it is full", 300)
    all_are(proof, "disk-full: every query is answered fresh", asker.wait_for(asked), fresh)
    is_up(proof, "disk-full", one)
    failed = one.metric(r'wedcache_layer_fills_total\{layer="disk",result="(?:unavailable|pending)"\}')
    proof.report.check(f"disk-full: fills say that it was unavailable ({failed:.0f})", [] if failed else ["no fill failed"])
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    stored = r'wedcache_layer_fills_total\{layer="disk",result="stored"\}'
    before = one.metric(stored)

    def fills_again():
        asker.many(f"with room {time.monotonic()}", 5)
        time.sleep(0.5)
        return one.metric(stored) > before

    until(proof, "disk-full: it is filled again once there is room", fills_again, 60)


def disk_gone(proof, one, asker):
    """The disk layer's folder is deleted under it: queries are answered; a start makes it anew."""
    asker.wait_for(asker.many("known", 50))
    shutil.rmtree(one.env["WEDCACHE_DATA"])
    asked = asker.many("known", 50) + asker.many("new", 100)
    all_are(proof, "disk-gone: every query is answered fresh", asker.wait_for(asked), fresh)
    is_up(proof, "disk-gone", one)
    one.kill9()
    one.start()
    calls = proof.provider.stats()["calls"]
    all_are(proof, "disk-gone: after a kill, too, Redis has it", asker.wait_for(asker.many("new", 100)), fresh)
    bought = proof.provider.stats()["calls"] - calls
    proof.report.check("disk-gone: nothing is bought again", [f"{bought} calls"] if bought else [])


def dead_letters(proof, one, asker):
    """The dead-letter topic cannot be written: the partition's commits stop there, nothing is skipped."""
    topic, partition = proof.topics.queries, 3
    # Smaller than any letter: the broker refuses them for good, unlike one that is away.
    set_config(proof, proof.topics.dead_letters, "max.message.bytes", "10")
    begins = proof.broker.ends([proof.topics.dead_letters])
    asker.produce(topic, b"{rubbish", "k", partition)
    proof.producer.flush(30)
    at = proof.broker.ends([topic])[topic, partition] - 1
    asked = []
    for n in range(50):
        asker.asked.append("behind")
        value = {"queryId": f"{asker.name}-{len(asker.asked) - 1}", "query": {"type": "vendor_matching", "content": f"Behind {n}?"},
                 "weddingContext": {"location": PLACE}}
        asker.produce(topic, json.dumps(value).encode(), "k", partition)
        asked.append(len(asker.asked) - 1)
    asker.wait_for(asked)
    time.sleep(3 if proof.options.quick else 20)
    stands = committed(proof.services.kafka, f"{proof.name}.queries", topic, [partition]).get(partition, (0, ""))
    proof.report.equal("dead-letters: the commit stands at the record that cannot be buried", stands[0], at)
    letters = [m for m in stream(proof.broker, begins)]
    proof.report.check("dead-letters: none has been written", [m.value() for m in letters])
    set_config(proof, proof.topics.dead_letters, "max.message.bytes", str(8 << 20))
    until(proof, "dead-letters: the letter is written once it can be",
          lambda: [m.value() for m in stream(proof.broker, begins)] == [b"{rubbish"], 60)
    until(proof, "dead-letters: and the commits go on", lambda: committed(
        proof.services.kafka, f"{proof.name}.queries", topic, [partition])[partition][0] == at + 51)


def set_config(proof, topic, name, value):
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in proof.broker.admin.incremental_alter_configs([resource]).values():
        future.result(30)


def wedged(proof, one, asker):
    """A record stays unfinished: readiness fails, then the process ends, and the next start finishes it."""
    proof.provider.control(hang=True)
    number = asker.ask("Will this ever end")
    proof.producer.flush(30)
    until(proof, "wedged: /readyz says so", lambda: status(one)[0] == 503 and "unfinished" in status(one)[1])
    # Its drain, which it then tries, is bounded.
    until(proof, "wedged: the process ends by itself", lambda: not one.is_running(), 40)
    code = one.child.process.poll()
    proof.report.equal("wedged: with an error", code, 1)
    proof.provider.control(hang=False)
    one.start()
    all_are(proof, "wedged: the next start answers it", asker.wait_for([number]), fresh)


def foreign_commits(proof, one, asker):
    """Another client has written into our group: an offset of the past, with metadata that is not ours."""
    topic, partition, group = proof.topics.queries, 5, f"{proof.name}.queries"
    numbers = []
    for n in range(20):
        asker.asked.append("before")
        value = {"queryId": f"{asker.name}-{n}", "query": {"type": "vendor_matching", "content": f"Before {n}?"},
                 "weddingContext": {"location": PLACE}}
        asker.produce(topic, json.dumps(value).encode(), "k", partition)
        numbers.append(n)
    asker.wait_for(numbers)
    proof.report.check("foreign-commits: all is committed", proof.wait_until_worked_off(60, [group]))
    one.terminate()
    end, calls = committed(proof.services.kafka, group, topic, [partition])[partition][0], proof.provider.stats()["calls"]
    foreign = proof.broker.member_of(group)

    def commit():
        """Accepted once the group is empty: a static member stays in it for its session."""
        with contextlib.suppress(KafkaException):
            foreign.commit(offsets=[TopicPartition(topic, partition, end - 10, metadata="flink:42")], asynchronous=False)
            return True

    until(proof, "foreign-commits: the group takes another client's commit", commit)
    foreign.close()
    # The client counts the zero that ends its text.
    stands, metadata = committed(proof.services.kafka, group, topic, [partition])[partition]
    proof.report.equal("foreign-commits: it stands there", (stands, metadata.rstrip("\0")), (end - 10, "flink:42"))
    one.start()

    def committed_by_ours():
        at, metadata = committed(proof.services.kafka, group, topic, [partition])[partition]
        return at == end and metadata.startswith("wc")

    until(proof, "foreign-commits: what it asks for again is answered and committed", committed_by_ours)
    ids = {}
    for message in stream(proof.broker, asker.begins):
        answer = json.loads(message.value())
        ids.setdefault(answer["queryId"], []).append(answer["answerId"])
    twice = {query: of for query, of in ids.items() if len(of) > 1}
    proof.report.equal("foreign-commits: ten answers came twice", len(twice), 10)
    proof.report.check("foreign-commits: and say so by their answerId", [f"{q}: {of}" for q, of in twice.items() if len(set(of)) > 1])
    bought = proof.provider.stats()["calls"] - calls
    proof.report.check("foreign-commits: nothing is bought again", [f"{bought} calls"] if bought else [])
    one.wait_for_log("commit metadata is ignored")


OUTAGES = {
    "provider": provider,
    "registry": registry,
    "redis-away": redis_away,
    "redis-slow": redis_slow,
    "redis-flushed": redis_flushed,
    "dead-letters": dead_letters,
    "wedged": wedged,
    "disk-gone": disk_gone,
    "disk-full": disk_full,
    "foreign-commits": foreign_commits,
    "kafka": kafka,
}
QUICK = ["provider", "registry", "redis-slow", "dead-letters", "wedged", "disk-full", "kafka"]


def run(proof, options):
    proof.registry = Registry().start()
    proof.stack.callback(lambda: proof.registry.stop())
    proof.leave_out = lambda what, why: print(f"!! LEFT OUT: {what}: {why}", flush=True)
    proof.producer = Producer({"bootstrap.servers": proof.services.kafka, "acks": "all", "enable.idempotence": True,
                               "linger.ms": 2, "partitioner": "murmur2_random", "delivery.timeout.ms": 300_000,
                               # A broker that is away is what is wanted here.
                               "log_level": 2})
    proof.apply_topics(proof.topology())
    for name in options.outages or (QUICK if options.quick else OUTAGES):
        outage = OUTAGES[name]
        began = time.monotonic()
        print(f"   {name}: {outage.__doc__}", flush=True)
        overrides = {wedged: WEDGED, redis_slow: SHORT}.get(outage, CALM)
        topology = proof.topology(overrides, name=f"{name}.yaml")
        one = proof.instance(name, topology)
        one.env["WEDCACHE_REGISTRY"] = proof.registry.url
        one.start()
        outage(proof, one, Asker(proof, name))
        proof.provider.control(hang=False, drop=False)
        proof.report.check(f"{name}: all is worked off and committed", proof.wait_until_worked_off(60))
        if one.is_running():
            code, _ = one.terminate()
            proof.report.check(f"{name}: it ends cleanly", [] if code == 0 else [f"exit code {code}:\n{one.child.tail()}"])
        print(f"       {name}: {time.monotonic() - began:.1f} s", flush=True)
    proof.check_staleness(proof.topology())
