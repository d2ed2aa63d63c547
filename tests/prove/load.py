"""Queries and changes of a scenario. Every subject (a vendor or a wedding) has a version, which
the provider tells in its answers: so it shows how old the facts of an answer are, whatever the
answer says of itself."""

import array
import dataclasses
import json
import random
import threading
import time

from confluent_kafka import Producer

SHARED = ["vendor_matching", "venue_recommendations", "menu_suggestions", "decor_inspiration"]
PRIVATE = ["guest_management", "timeline_generation"]
QUESTIONS = ["Which one fits a barn", "What to ask first", "How early to book", "What does a good one cost"]
PLACE = {"city": "Austin", "state": "TX", "country": "US"}
# What changes, and what the production topology's rules make of it for every type used here.
PURGES = {"v": "availability_changed", "w": "date_changed"}
REFRESH = "details_changed"


@dataclasses.dataclass
class Change:
    """One change of a subject's facts, as Kafka has it."""

    subject: str
    version: int
    purges: bool
    topic: str = None
    partition: int = None
    offset: int = None
    at_ms: int = None


@dataclasses.dataclass
class Question:
    """A query but for its id. Of one cache key, and of one record key: so of one partition."""

    subject: str
    text: str
    key: bytes
    before: bytes
    after: bytes

    def value(self, query_id):
        return self.before + query_id.encode() + self.after


def question(subject, cache_type, text, **options):
    """`text` may be anything; a private type's names its wedding, so that the provider sees it."""
    context = {"location": PLACE, "weddingDate": "2027-06-12", "budgetRange": "moderate", "weddingStyle": "rustic",
               "guestCount": 120, "weddingId": subject if subject.startswith("w-") else "w-of-nobody"}
    query = {"type": cache_type, "content": text, "vendorIds": [subject] if subject.startswith("v-") else []}
    value = json.dumps({"queryId": "\0", "query": query, "weddingContext": context, "options": options}).encode()
    before, after = value.split(b"\\u0000")
    return Question(subject, text, subject.encode(), before, after)


def questions(vendors=40, weddings=10, each=4):
    """Some questions about each of the subjects."""
    out = []
    for n in range(vendors):
        out += [question(f"v-{n}", SHARED[m % len(SHARED)], f"{QUESTIONS[m % len(QUESTIONS)]} ({m})?") for m in range(each)]
    for n in range(weddings):
        out += [question(f"w-{n}", PRIVATE[m % len(PRIVATE)], f"Our plan for w-{n}, part {m}?") for m in range(each)]
    return out


class Load:
    """Produces queries `q-0`, `q-1`, … and changes; any thread may call it."""

    def __init__(self, proof, asked, seed=7):
        self.proof, self.asked, self.random = proof, asked, random.Random(seed)
        self.versions, self.changes, self.failures = {}, [], []
        # When Kafka says that each query was produced, and which question it is.
        self.at_ms, self.question_of = array.array("d"), array.array("l")
        self.lock, self.begun = threading.Lock(), {p: e for p, e in proof.broker.ends(vars(proof.topics).values()).items()}
        common = {"bootstrap.servers": proof.services.kafka, "acks": "all", "enable.idempotence": True,
                  "partitioner": "murmur2_random", "delivery.timeout.ms": 300_000,
                  # That brokers go away is what proofs are about.
                  "log_level": 2}
        self.producer = Producer({**common, "linger.ms": 2, "queue.buffering.max.messages": 200_000})
        # A change must not wait behind a queue of queries.
        self.changer = Producer({**common, "linger.ms": 0})
        self.thread, self.stopped = None, threading.Event()

    # --- queries ---

    def ask(self, which=None):
        """One more query; returns its number. `which` is the number of its question, a list of
        them to choose from, or a function from the query's number to it; by default any."""
        with self.lock:
            number = len(self.at_ms)
            if which is None:
                which = self.random.randrange(len(self.asked))
            elif not isinstance(which, int):
                which = which(number) if callable(which) else self.random.choice(which)
            self.at_ms.append(float("inf"))
            self.question_of.append(which)
        one = self.asked[which]

        def delivered(error, message):
            if error:
                self.failures.append(f"q-{number}: {error}")
            else:
                self.at_ms[number] = message.timestamp()[1]

        self.send(self.producer, self.proof.topics.queries, one.key, one.value(f"q-{number}"), delivered)
        return number

    def send(self, producer, topic, key, value, delivered):
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)

    def run(self, total=None, per_sec=None, which=None):
        """Asks until `total` or stop(), evenly; as fast as it goes without a rate."""
        began, done = time.monotonic(), 0
        while not self.stopped.is_set() and done != total:
            due = min(total or 1 << 60, int((time.monotonic() - began) * per_sec) + 1) if per_sec else done + 100
            for _ in range(min(due, total or due) - done):
                self.ask(which)
            done = max(done, min(due, total or due))
            if per_sec:
                self.producer.poll(0.001)
        return done

    def start(self, total=None, per_sec=None, which=None):
        """run() on a thread; finish() or stop() waits for it."""
        self.stopped.clear()
        self.thread = threading.Thread(target=self.run, args=(total, per_sec, which), daemon=True)
        self.thread.start()
        return self

    def is_running(self):
        return self.thread is not None and self.thread.is_alive()

    def stop(self):
        self.stopped.set()
        self.finish()

    def finish(self, deadline_secs=300):
        """Waits until everything is asked and Kafka has it."""
        if self.thread:
            self.thread.join()
        left = self.producer.flush(deadline_secs) + self.changer.flush(deadline_secs)
        if left or self.failures:
            raise SystemExit(f"load: {left} records were not sent, {len(self.failures)} failed: {self.failures[:3]}")

    # --- changes ---

    def subjects(self):
        return sorted({one.subject for one in self.asked})

    def change(self, subject=None, purges=True, wait=False):
        """The facts change, then Kafka is told: as it is in life. `wait`: until Kafka has it."""
        subject = subject or self.random.choice(self.subjects())
        purges = purges or subject.startswith("w-")
        version = self.versions[subject] = self.versions.get(subject, 0) + 1
        self.proof.provider.set_facts(**{subject: version})
        change = Change(subject, version, purges)
        event = {"eventId": f"e-{subject}-{version}", "occurredAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        if subject.startswith("v-"):
            topic = self.proof.topics.vendors
            event |= {"vendorId": subject, "vendorType": "florist", "location": PLACE, "attributes": {"available": False},
                      "change": PURGES["v"] if purges else REFRESH}
        else:
            topic = self.proof.topics.weddings
            event |= {"weddingId": subject, "change": PURGES["w"]}

        def delivered(error, message):
            if error:
                self.failures.append(f"{event['eventId']}: {error}")
                return
            change.topic, change.partition = message.topic(), message.partition()
            change.offset, change.at_ms = message.offset(), message.timestamp()[1]

        self.changes.append(change)
        self.send(self.changer, topic, subject.encode(), json.dumps(event).encode(), delivered)
        if wait:
            self.changer.flush(60)
        return change
