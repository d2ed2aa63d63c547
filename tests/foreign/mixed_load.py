"""Produces mixed records with a foreign client and checks everything that comes out of it.

Good records in JSON, Avro single-object and Confluent frames (also by older and newer producers),
one per cent of rubbish of two dozen kinds, some null values. Afterwards every good query must have
exactly one answer and one metric of its outcome, every bad record its dead letter byte for byte,
the groups' committed offsets must stand at the ends, and no answer may be one that the
invalidation log forbids.

  mixed_load.py --kafka 127.0.0.1:9092 --registry http://127.0.0.1:8081 --schemas ../../schemas
"""

import argparse
import collections
import contextlib
import json
import re
import sys
import time
import urllib.error
import urllib.request
import uuid

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import formats
import freshness
from records import Load, Topics

OUTCOMES = {"hit", "stale_hit", "miss", "bypass", "expired", "failure"}


class Report:
    """The checks, told as they are made."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def check(self, what, problems):
        """One fact; `problems` are the reasons why it does not hold."""
        problems = list(problems)
        if problems:
            self.failed += 1
            print(f"FAILED {what}: {len(problems)}", flush=True)
            for problem in problems[:5]:
                print(f"    {problem}"[:600], flush=True)
        else:
            self.passed += 1
            print(f"ok     {what}", flush=True)

    def equal(self, what, got, want):
        self.check(f"{what} ({want})", [] if got == want else [f"got {got}, expected {want}"])


class RegistryClient:
    """As much of a registry's API as a producer needs."""

    def __init__(self, url):
        self.url, self.known = url.rstrip("/"), {}

    def register(self, subject, schema, kind="AVRO"):
        body = json.dumps({"schema": json.dumps(schema), "schemaType": kind}).encode()
        request = urllib.request.Request(
            f"{self.url}/subjects/{subject}/versions", body, {"content-type": "application/vnd.schemaregistry.v1+json"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)["id"]

    def schema_of_id(self, schema_id):
        if schema_id not in self.known:
            with urllib.request.urlopen(f"{self.url}/schemas/ids/{schema_id}", timeout=10) as reply:
                schema = json.load(reply)
            self.known[schema_id] = schema.get("schemaType", "AVRO"), schema["schema"]
        return self.known[schema_id]

    def register_all(self, schemas, topics):
        """The ids that the load's frames carry."""
        queries = f"{topics.queries}-value"
        return {
            "query_old": self.register(queries, schemas.older("AiQuery", ["askedAt"])),
            "query": self.register(queries, schemas.raw["AiQuery"]),
            "query_new": self.register(queries, schemas.newer("AiQuery", "campaign")),
            "query_json": self.register(f"{topics.queries}-json-value", {"type": "object", "title": "AiQuery"}, "JSON"),
            "vendor": self.register(f"{topics.vendors}-value", schemas.raw["VendorChange"]),
            "wedding": self.register(f"{topics.weddings}-value", schemas.raw["WeddingUpdate"]),
        }


class Broker:
    """The foreign client's side of Kafka."""

    def __init__(self, bootstrap):
        # Lost connections are no news: proofs end brokers, and a request that fails says so itself.
        self.common = {"bootstrap.servers": bootstrap, "log_level": 2}
        self.admin = AdminClient(self.common)
        self.reader = Consumer({**self.common, "group.id": f"mixed-load-{uuid.uuid4()}",
                                "enable.auto.commit": False, "auto.offset.reset": "earliest",
                                "fetch.message.max.bytes": 16 << 20})

    def partitions(self, topics):
        known = self.admin.list_topics(timeout=10).topics
        missing = [topic for topic in topics if topic not in known or known[topic].error]
        if missing:
            sys.exit(f"mixed_load: no such topics: {', '.join(missing)}; create them with `wedcache topics apply`")
        return [(topic, partition) for topic in topics for partition in known[topic].partitions]

    def ends(self, topics):
        return {place: self.end(TopicPartition(*place)) for place in self.partitions(topics)}

    def end(self, partition, deadline_secs=30):
        """A topic that was made a moment ago, or whose broker has just left, has no leader yet."""
        began = time.monotonic()
        while True:
            try:
                return self.reader.get_watermark_offsets(partition, timeout=10)[1]
            except KafkaException:
                if time.monotonic() - began > deadline_secs:
                    raise
                time.sleep(0.1)
                # By itself the client asks again only after minutes.
                with contextlib.suppress(KafkaException):
                    self.reader.list_topics(partition.topic, timeout=5)

    def produce(self, records):
        """All records acknowledged, their places noted."""
        producer = Producer({**self.common, "acks": "all", "enable.idempotence": True,
                             "linger.ms": 5, "message.max.bytes": 16 << 20, "partitioner": "murmur2_random"})
        failures = []

        def noted(sent):
            def delivered(error, message):
                if error:
                    failures.append(f"{sent.kind}: {error}")
                    return
                sent.partition, sent.offset = message.partition(), message.offset()
                sent.timestamp_ms = message.timestamp()[1]
            return delivered

        for sent in records:
            while True:
                try:
                    producer.produce(sent.topic, sent.value, sent.key, headers=sent.headers or None,
                                     on_delivery=noted(sent))
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(60)
        if left or failures:
            sys.exit(f"mixed_load: {left} records were not sent, {len(failures)} failed: {failures[:3]}")

    def member_of(self, group):
        """A client that may ask for the group's offsets; it never joins."""
        return Consumer({**self.common, "group.id": group, "enable.auto.commit": False})

    def committed(self, consumer, topics):
        """A group's committed offsets; a partition without one counts as 0."""
        asked = [TopicPartition(*place) for place in self.partitions(topics)]
        return {(tp.topic, tp.partition): max(tp.offset, 0) for tp in consumer.committed(asked, timeout=10)}

    def read(self, begins):
        """Everything between the begins and the present ends."""
        ends = self.ends(sorted({topic for topic, _ in begins}))
        # What is not there to be read ends at once; `position` also passes gaps of compaction.
        todo = {place for place, end in ends.items() if end > begins[place]}
        self.reader.assign([TopicPartition(*place, begins[place]) for place in todo])
        out = []
        deadline = time.monotonic() + 60
        while todo:
            for message in self.reader.consume(1000, 0.2):
                if message.error():
                    raise KafkaException(message.error())
                out.append(message)
            for tp in self.reader.position([TopicPartition(*place) for place in todo]):
                if tp.offset >= ends[tp.topic, tp.partition]:
                    todo.discard((tp.topic, tp.partition))
            if time.monotonic() > deadline:
                sys.exit(f"mixed_load: reading does not come to the end of {todo}")
        self.reader.unassign()
        return out


def wait_until(what, deadline_secs, look):
    """Polls until `look` returns None; its last word on the way is the complaint."""
    began = time.monotonic()
    while (missing := look()) is not None:
        if time.monotonic() - began > deadline_secs:
            return [f"after {deadline_secs} s {what}: {missing}"]
        time.sleep(0.05)
    return []


class Check:
    """One run: what was sent, what came out."""

    def __init__(self, options, topics, report):
        self.options, self.topics, self.report = options, topics, report
        self.schemas = formats.Schemas(options.schemas)
        self.registry = RegistryClient(options.registry)
        self.broker = Broker(options.kafka)
        self.outputs = [topics.answers, topics.metrics, topics.dead_letters, topics.invalidations]

    def run(self):
        options, topics = self.options, self.topics
        ids = self.registry.register_all(self.schemas, topics)
        name = f"m{uuid.uuid4().hex[:6]}"
        load = Load(topics, self.schemas, ids, options.seed, options.oversize_bytes, options.cache_types, name)
        self.sent = load.records(options.records)
        self.queries = {sent.query_id: sent for sent in self.sent if sent.query_id}
        kinds = collections.Counter(sent.kind for sent in self.sent if sent.reason)
        # The log is wanted from its begin: a stamp may be older than this run.
        self.begins = begins = {place: 0 if place[0] == topics.invalidations else end
                                for place, end in self.broker.ends(self.outputs).items()}
        print(f"{len(self.sent)} records: {len(self.queries)} queries, {sum(kinds.values())} rubbish of {len(kinds)} "
              f"kinds, {sum(sent.value is None for sent in self.sent)} null values", flush=True)
        took = self.produce_in_waves()
        print(f"produced in {options.waves} waves, each worked off and committed before the next, in {took:.1f} s")
        for group, topics in self.groups():
            self.report.check(f"committed offsets of {group} equal the end offsets", self.wait_for_commits(group, topics))
        self.wait_for_outputs(begins)
        self.check_answers(name)
        self.check_metrics(name)
        self.check_dead_letters()
        self.check_traces()
        self.check_freshness()
        return self.report

    # --- waiting ---

    def groups(self):
        topics = self.topics
        return [(self.options.queries_group, [topics.queries]),
                (self.options.rules_group, [topics.vendors, topics.weddings])]

    def produce_in_waves(self):
        """Later waves ask what earlier ones invalidated; at once, all changes would come first or last."""
        began, size = time.monotonic(), -(-len(self.sent) // self.options.waves)
        for at in range(0, len(self.sent), size):
            self.broker.produce(self.sent[at:at + size])
            for group, topics in self.groups():
                if late := self.wait_for_commits(group, topics):
                    print(f"wave at {at}: {late[0]}")
                    # It hangs: more load would only wait longer, and what is missing is told below.
                    self.sent = self.sent[:at + size]
                    self.queries = {sent.query_id: sent for sent in self.sent if sent.query_id}
                    return time.monotonic() - began
        return time.monotonic() - began

    def wait_for_commits(self, group, topics):
        ends = self.broker.ends(topics)
        consumer = self.broker.member_of(group)

        def behind():
            committed = self.broker.committed(consumer, topics)
            late = {f"{t}[{p}]": f"{committed[t, p]} of {end}" for (t, p), end in ends.items()
                    if committed[t, p] != end}
            return late or None

        try:
            return wait_until(f"{group} has committed", self.options.deadline, behind)
        finally:
            consumer.close()

    def wait_for_outputs(self, begins):
        """Reads on until nothing that is due is missing; metrics may come after the commit."""
        self.messages, place_of = [], dict(begins)

        def missing():
            for message in self.broker.read(place_of):
                self.messages.append(message)
                place = message.topic(), message.partition()
                place_of[place] = max(place_of[place], message.offset() + 1)
            self.sort()
            unanswered = self.queries.keys() - self.answers.keys()
            unmeasured = {a["answerId"] for answers in self.answers.values() for a in answers} - self.outcomes.keys()
            unlettered = {sent.place for sent in self.sent if sent.reason} - self.letters.keys()
            if unanswered or unmeasured or unlettered:
                return f"{len(unanswered)} answers, {len(unmeasured)} metrics, {len(unlettered)} dead letters"
            return None

        # What stays away is told by the checks of its own kind.
        wait_until("missing", self.options.deadline, missing)

    def sort(self):
        """What was read, by kind."""
        topics = self.topics
        self.answers, self.outcomes = collections.defaultdict(list), collections.defaultdict(set)
        self.metrics, self.letters = {}, collections.defaultdict(list)
        self.log, self.raw_answers, self.unreadable = freshness.Log(), {}, []
        mine = {query_id for query_id in self.queries}
        for message in self.messages:
            try:
                self.sort_one(topics, message, mine)
            except Exception as error:  # a record of any kind must not hide the others
                self.unreadable.append(f"{message.topic()}@{message.offset()}: {error!r}: {message.value()[:200]!r}")

    def sort_one(self, topics, message, mine):
        if message.topic() == topics.dead_letters:
            headers = dict(message.headers() or [])
            place = (headers["wedcache.topic"].decode(), int(headers["wedcache.partition"]),
                     int(headers["wedcache.offset"]))
            self.letters[place].append(message)
            return
        if message.value() is None:
            return
        record = formats.decode(message.value(), self.schemas, self.registry.schema_of_id)
        if message.topic() == topics.invalidations:
            self.log.add(message.offset(), message.timestamp()[1], record)
        elif message.topic() == topics.answers:
            if record["queryId"] in mine:
                self.answers[record["queryId"]].append(record)
                self.raw_answers.setdefault(record["answerId"], message)
        elif record["operation"] in OUTCOMES:
            self.metrics.setdefault(record["metricId"], record)
            self.outcomes[record["answerId"]].add(record["metricId"])

    # --- checks ---

    def first_answers(self):
        """One answer for each answer id; redeliveries dropped."""
        return {a["answerId"]: a for answers in self.answers.values() for a in reversed(answers)}

    def check_answers(self, name):
        self.report.check("every output record can be read", self.unreadable)
        self.report.equal("good queries answered", len(self.answers), len(self.queries))
        self.report.check("every good query has exactly one answer, redeliveries removed by answerId", (
            f"{query_id}: {ids}" for query_id in self.queries
            if len(ids := {a["answerId"] for a in self.answers[query_id]}) != 1))
        answers = self.first_answers()
        copies = sum(map(len, self.answers.values())) - len(answers)
        if copies:
            print(f"       {copies} answers came twice and say so by their answerId")
        self.report.check("an answer has the key of its query's record", (
            f"{a['queryId']}: {self.raw_answers[a['answerId']].key()!r}" for a in answers.values()
            if self.raw_answers[a["answerId"]].key() != self.queries[a["queryId"]].key))
        self.report.check("a query is answered, unless its deadline had passed", (
            f"{a['queryId']}: {a['status']} {a['error']}" for a in answers.values()
            if a["status"] != self.wanted_status(a["queryId"])))
        self.report.check("an answer has data exactly if it is answered", (
            a for a in answers.values() if (a["status"] == "answered") != bool(a["data"])))
        self.report.check("only keys of private types name a wedding", (
            a["cacheKey"] for a in answers.values()
            if re.search(r"(?<![\w-])w-\d", a["cacheKey"]) and a["cacheType"] not in self.options.private_types))
        self.report.check("no cache serves a query that bypasses it", (
            f"{a['queryId']}: {a['layer']}" for a in answers.values()
            if self.queries[a["queryId"]].options["bypassCache"] and a["source"] == "cache"))

    def wanted_status(self, query_id):
        deadline = self.queries[query_id].options["deadline"]
        passed = deadline is not None and deadline < time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        return "expired" if passed else "answered"

    def check_metrics(self, name):
        answers = self.first_answers()
        self.report.check("every query has exactly one metric of its outcome, by metricId", (
            f"{a['queryId']}: {self.outcomes.get(a['answerId'])}" for a in answers.values()
            if len(self.outcomes.get(a["answerId"], ())) != 1))
        self.report.check("a metric's outcome is what its answer says", (
            f"{operation} for {a['status']} {a['source']} {a['freshness']} {a['staleReason']}"
            for a in answers.values() for metric_id in self.outcomes.get(a["answerId"], ())
            if (operation := self.metrics[metric_id]["operation"]) not in self.wanted_outcomes(a)))
        self.report.check("no metric names a query, a couple or a user", (
            m for m in self.metrics.values()
            if any(isinstance(v, str) and v.startswith((f"{name}-", "w-", "u-")) for v in m.values())))
        outcomes = collections.Counter(m["operation"] for m in self.metrics.values() if m["answerId"] in answers)
        print(f"       outcomes: {dict(outcomes.most_common())}")

    def wanted_outcomes(self, answer):
        if answer["status"] != "answered":
            return {"failed": {"failure"}, "expired": {"expired"}}[answer["status"]]
        if answer["source"] == "cache":
            return {"stale_hit"} if answer["freshness"] == "stale" else {"hit"}
        bypassed = self.queries[answer["queryId"]].options["bypassCache"]
        # The topology may also decide on a bypass, where the rules stage lags.
        return {"bypass"} if bypassed else {"miss", "bypass"}

    def calls(self):
        """How many calls of a provider the metrics tell, by metricId; best asked when the program has ended."""
        begins = {place: begin for place, begin in self.begins.items() if place[0] == self.topics.metrics}
        metrics = (formats.decode(m.value(), self.schemas, self.registry.schema_of_id)
                   for m in self.broker.read(begins))
        return len({metric["metricId"] for metric in metrics if metric["operation"] == "call"})

    def check_dead_letters(self):
        bad = {sent.place: sent for sent in self.sent if sent.reason}
        produced = {sent.place for sent in self.sent}
        self.report.equal("kinds of rubbish", len({s.kind for s in bad.values()}) >= 10, True)
        self.report.check("every bad record is a dead letter", (
            f"{sent.kind} at {place}" for place, sent in bad.items() if place not in self.letters))
        self.report.check("no other record is one", (
            f"{place}: {dict(m.headers())['wedcache.reason']}: {dict(m.headers()).get('wedcache.detail')}"
            for place, messages in self.letters.items() if place in produced - bad.keys() for m in messages))
        letters = [(sent, m) for place, sent in bad.items() for m in self.letters.get(place, [])]
        self.report.check("a dead letter has its record's bytes and key", (
            f"{sent.kind}: {m.value()!r:.80} for {sent.value!r:.80}" for sent, m in letters
            # An empty value is not a null one, nor an empty key none.
            if m.value() != sent.value or m.key() != sent.key))
        self.report.check("a dead letter has its reason", (
            f"{sent.kind}: {header(m, 'wedcache.reason')!r}, expected {sent.reason!r} ({header(m, 'wedcache.detail')})"
            for sent, m in letters if header(m, "wedcache.reason") != sent.reason))
        self.report.check("a dead letter has its record's time, a detail and the original headers", (
            f"{sent.kind}: {m.headers()}" for sent, m in letters
            if header(m, "wedcache.timestamp") != str(sent.timestamp_ms) or not header(m, "wedcache.detail")
            or any(item not in m.headers() for item in sent.headers)))
        nulls = {sent.place for sent in self.sent if sent.value is None}
        self.report.check("null values are ignored", (place for place in nulls if place in self.letters))

    def check_traces(self):
        self.report.check("every answer, metric and alert carries a trace context", (
            f"{m.topic()}@{m.offset()}" for m in self.messages
            if m.topic() in (self.topics.answers, self.topics.metrics) and not header(m, "traceparent")))
        self.report.check("an answer stands in its query's trace, in a span of its own", (
            f"{query_id}: {ours}, the query's is {theirs}" for query_id, sent in self.queries.items()
            for a in self.answers.get(query_id, [])
            if (theirs := dict(sent.headers).get("traceparent", b"").decode())
            and ((ours := header(self.raw_answers[a["answerId"]], "traceparent") or "")[:35] != theirs[:35]
                 or ours[36:52] == theirs[36:52])))

    def check_freshness(self):
        answers = list(self.first_answers().values())
        print(f"       the log: {self.log.invalidations} invalidations, {self.log.progress} marks of progress")
        self.report.check("changes invalidate", [] if self.log.invalidations else ["the log has no invalidation"])
        self.report.check("no answer is one that the log forbids", map(told, freshness.check(answers, self.log)))
        asked = {query_id: sent.timestamp_ms for query_id, sent in self.queries.items()}
        self.report.check(f"nor by the brokers' clocks, {self.options.grace_ms} ms granted", map(
            told, freshness.check_by_clock(answers, asked, self.log, self.options.grace_ms)))


def header(message, name):
    """The last header of this name as text."""
    value = dict(message.headers() or []).get(name)
    return value.decode(errors="replace") if value is not None else None


def told(found):
    a = found.answer
    return f"{a['queryId']} [{a['stamp']}, {a['view']}): {found.why} of {found.tag} at {found.offset}"


def parser():
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--kafka", required=True, metavar="ADDRESS", help="bootstrap address")
    out.add_argument("--registry", required=True, metavar="URL", help="Confluent-compatible schema registry")
    out.add_argument("--schemas", required=True, metavar="FOLDER", help="the project's schemas/")
    out.add_argument("--records", type=int, default=10_000)
    out.add_argument("--waves", type=int, default=10, help="how many parts to produce them in, one after the other")
    out.add_argument("--seed", type=int, default=7)
    out.add_argument("--deadline", type=float, default=120, metavar="SECS", help="for the records to be worked off")
    out.add_argument("--grace-ms", type=int, default=2_000, help="how far an instance may lag behind the log")
    out.add_argument("--oversize-bytes", type=int, default=300_000,
                     help="size of a query that is too large for the topology, not for the broker")
    out.add_argument("--cache-types", nargs="+", help="the topology's cache types (default: the brief's seven)")
    out.add_argument("--private-types", nargs="+", default=["guest_management", "timeline_generation"],
                     help="those of them whose keys may name a wedding")
    out.add_argument("--queries-group", default="wedcache-queries")
    out.add_argument("--rules-group", default="wedcache-rules")
    for name, default in vars(Topics()).items():
        out.add_argument(f"--{name.replace('_', '-')}-topic", default=default, help=f"default {default}")
    return out


def main(arguments=None):
    options = parser().parse_args(arguments)
    topics = Topics(**{name: getattr(options, f"{name}_topic") for name in vars(Topics())})
    try:
        report = Check(options, topics, Report()).run()
    except (urllib.error.URLError, KafkaException) as error:
        sys.exit(f"mixed_load: {error}")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
