"""What became of a load: read from Kafka as it stands there, held against what was asked, what
changed, and what the provider's own log says."""

import array
import collections
import json
import re
import time

from confluent_kafka import KafkaException, TopicPartition

TOLD = re.compile(r"([vw]-\w+)=(\d+)")


def stream(broker, begins, silence_secs=60):
    """Every message between the begins and the present ends, without keeping any."""
    ends = broker.ends(sorted({topic for topic, _ in begins}))
    todo = {place for place, end in ends.items() if end > begins[place]}
    broker.reader.assign([TopicPartition(*place, begins[place]) for place in todo])
    heard = time.monotonic()
    while todo:
        for message in broker.reader.consume(5000, 0.2):
            if message.error():
                raise KafkaException(message.error())
            heard = time.monotonic()
            if message.offset() < ends[message.topic(), message.partition()]:
                yield message
        # `position` also passes gaps of compaction.
        for tp in broker.reader.position([TopicPartition(*place) for place in todo]):
            if tp.offset >= ends[tp.topic, tp.partition]:
                todo.discard((tp.topic, tp.partition))
        if time.monotonic() - heard > silence_secs:
            raise SystemExit(f"reading does not come to the end of {todo}")
    broker.reader.unassign()


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


class Judge:
    """Reads a load's outputs once; the checks report."""

    def __init__(self, proof, load, grace_ms=1000):
        self.proof, self.load, self.grace_ms = proof, load, grace_ms
        self.read_log()
        self.read_answers()

    def read_log(self):
        """When each change was judged: the time at which the last of its records was appended."""
        topic, caused = self.proof.topics.invalidations, {}
        by_place = {(c.topic, c.partition, c.offset): c for c in self.load.changes}
        for message in stream(self.proof.broker, {p: 0 for p in self.load.begun if p[0] == topic}):
            record = json.loads(message.value()) if message.value() else {}
            if cause := record.get("cause"):
                change = by_place.get((cause["topic"], cause["partition"], cause["offset"]))
                if change:
                    key = change.subject, change.version
                    caused[key] = max(caused.get(key, 0), message.timestamp()[1])
        self.judged_ms = caused

    def read_answers(self):
        load = self.load
        count = len(load.at_ms)
        self.first, self.several, self.unknown = array.array("q", [0]) * count, set(), 0
        self.kinds, self.copies, self.unusable = collections.Counter(), 0, []
        # By the number of a question: its cache keys, and when it was first answered.
        self.keys, self.answered_ms = collections.defaultdict(set), {}
        # Per subject and version told: the time of the last answer, of all and of those from a cache.
        self.last, self.last_cached = {}, {}
        self.old, self.lateness, self.labelled, self.untold = [], [], 0, []
        self.required = self.versions_by_time()
        begins = {p: b for p, b in load.begun.items() if p[0] == self.proof.topics.answers}
        for message in stream(self.proof.broker, begins):
            answer = json.loads(message.value())
            number = answer["queryId"][2:]
            if not number.isdigit() or int(number) >= count:
                self.unknown += 1
                continue
            number = int(number)
            identity = hash(answer["answerId"]) or 1
            if self.first[number] == identity:
                self.copies += 1
            elif self.first[number]:
                self.several.add(number)
            else:
                self.first[number] = identity
                self.kinds[" ".join(filter(None, (answer["status"], answer["source"], answer["layer"],
                                                  answer["freshness"], answer["staleReason"])))] += 1
            asked = load.question_of[number]
            self.keys[asked].add(answer["cacheKey"])
            if answer["status"] == "answered":
                self.answered_ms[asked] = min(self.answered_ms.get(asked, float("inf")), message.timestamp()[1])
                self.judge_facts(number, answer, message.timestamp()[1])
            else:
                self.unusable.append(f"{answer['queryId']}: {answer['status']} {answer['error']}")

    def versions_by_time(self):
        """For every subject: when each version was judged, the versions that follow included."""
        out = collections.defaultdict(list)
        for change in self.load.changes:
            if at := self.judged_ms.get((change.subject, change.version)):
                out[change.subject].append((at, change.version, change.purges))
        return {subject: sorted(found, reverse=True) for subject, found in out.items()}

    def judge_facts(self, number, answer, at_ms):
        """Whether its facts are older than a change that had been judged before it was asked."""
        subject = self.load.asked[self.load.question_of[number]].subject
        told = dict(TOLD.findall(answer["data"]))
        if subject not in told:
            self.untold.append(f"{answer['queryId']}: {answer['data'][:80]!r}")
            return
        version, key = int(told[subject]), (subject, int(told[subject]))
        if answer["freshness"] == "fresh":
            self.last[key] = max(self.last.get(key, 0), at_ms)
            if answer["source"] == "cache":
                self.last_cached[key] = max(self.last_cached.get(key, 0), at_ms)
        asked = self.load.at_ms[number]
        for judged, of, purges in self.required.get(subject, ()):
            if of <= version or judged >= asked:
                continue
            if answer["freshness"] == "stale" and (not purges or answer["staleReason"] in ("log_lag", "rules_lag")):
                self.labelled += 1
                continue
            self.lateness.append(asked - judged)
            if asked - judged > self.grace_ms:
                self.old.append(f"{answer['queryId']} asked {asked - judged:.0f} ms after version {of} of {subject} was "
                                f"judged has version {version}: {answer['source']} {answer['freshness']}, stamp "
                                f"{answer['stamp']}, view {answer['view']}")
            break

    # --- checks ---

    def check_answered(self, wanted=("answered",)):
        report, count = self.proof.report, len(self.load.at_ms)
        report.check(f"each of {count} queries is answered", (f"q-{n}" for n, one in enumerate(self.first) if not one))
        report.check("no query has two answers, redeliveries removed by answerId", (f"q-{n}" for n in self.several))
        if "failed" not in wanted:
            report.check("no answer is a failure", self.unusable)
        print(f"       {self.copies} answers came twice and say so by their answerId", flush=True)
        for kind, many in self.kinds.most_common():
            print(f"       {many:9} {kind}", flush=True)

    def check_facts(self):
        report = self.proof.report
        missing = [c for c in self.load.changes if (c.subject, c.version) not in self.judged_ms]
        report.check(f"each of {len(self.load.changes)} changes stands in the invalidation log", missing)
        report.check("every answer tells its facts", self.untold)
        report.check(f"no answer has facts older than a change judged before it was asked, {self.grace_ms} ms granted "
                     "to the log's followers", self.old)
        worst = f"the latest {max(self.lateness):.0f} ms after it" if self.lateness else "none at all"
        print(f"       old facts within the grace: {len(self.lateness)}, {worst}; labelled stale: {self.labelled}", flush=True)

    def delays(self, changes, cached=True):
        """Milliseconds from each purge to the last fresh answer from before it; 0: there was none
        after it. A change after which nobody was answered about its subject measures nothing."""
        last, out = self.last_cached if cached else self.last, []
        for change in changes:
            answers = [(v, at) for (s, v), at in self.last.items() if s == change.subject]
            if change.purges and change.at_ms is not None and any(at > change.at_ms for _, at in answers):
                before = [at for (s, v), at in last.items() if s == change.subject and v < change.version]
                out.append(max(0.0, max(before, default=0) - change.at_ms))
        return out

    def tell_delays(self, what, changes):
        """The whole delay, and how much of it passes until the change stands in the log."""
        judged = [self.judged_ms[c.subject, c.version] - c.at_ms for c in changes if (c.subject, c.version) in self.judged_ms]
        for name, found in (("to its record in the log", judged),
                            ("to the last fresh answer from a cache from before it", self.delays(changes)),
                            ("to the last fresh answer of any source from before it", self.delays(changes, cached=False))):
            shown = ", ".join(f"{label} {quantile(found, share):.0f}" for label, share in
                              (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("most", 1.0))) if found else "not measured"
            print(f"       {what}, ms from a change {name}: {shown} ({len(found)} changes)", flush=True)
