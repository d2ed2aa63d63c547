"""Counts the answers that the invalidation log forbids, from the records alone.

The rule is the contract's: a fresh answer is forbidden when a record of the log in [stamp, view)
hits one of its tags; a stale one when a purge does, unless it says that it was overtaken. Nothing
of the cache's own code or state is used. Compaction removes log records, so the check wants the
log as it was written: read it before the cleaner has passed.
"""

import bisect
import collections

Violation = collections.namedtuple("Violation", "answer offset mode tag why")


class Log:
    """The invalidation log by tag: offsets, modes and log-append times."""

    def __init__(self):
        self.by_tag = collections.defaultdict(list)
        self.progress, self.invalidations = 0, 0

    def add(self, offset, timestamp_ms, record):
        """One record of the topic, decoded; records come in the order of their offsets."""
        if "tag" not in record:
            self.progress += 1
            return
        self.invalidations += 1
        self.by_tag[record["tag"]].append((offset, record["mode"], timestamp_ms))

    def hits(self, tags, begin, end):
        """What hit one of the tags at an offset in [begin, end)."""
        for tag in tags:
            records = self.by_tag.get(tag, [])
            for at in range(bisect.bisect_left(records, (begin,)), len(records)):
                offset, mode, timestamp_ms = records[at]
                if offset >= end:
                    break
                yield offset, mode, tag, timestamp_ms


def judge(answer, log):
    """The first reason why this answer is forbidden, or None."""
    if answer["freshness"] is None:
        if answer["status"] == "answered":
            return Violation(answer, None, None, None, "an answer with data says no freshness")
        return None
    if answer["stamp"] is None or answer["view"] is None:
        return Violation(answer, None, None, None, "data without a stamp and a view cannot be judged")
    stale = answer["freshness"] == "stale"
    if stale and answer["staleReason"] == "overtaken":
        return None
    for offset, mode, tag, _ in log.hits(answer["tags"], answer["stamp"], answer["view"]):
        if not stale or mode == "purge":
            return Violation(answer, offset, mode, tag, f"{answer['freshness']} in spite of a {mode}")
    return None


def check(answers, log):
    """Every forbidden answer."""
    return [found for answer in answers if (found := judge(answer, log))]


def check_by_clock(answers, asked_at_ms, log, grace_ms):
    """Answers to queries that were asked `grace_ms` or more after a record that forbids them.

    `view` is the cache's own word for what it knew; this one asks the brokers' clocks instead. The
    grace covers how far an instance may lag behind the log. `asked_at_ms` maps a query id to its
    record's time.
    """
    found = []
    for answer in answers:
        if answer["freshness"] is None or answer["stamp"] is None or answer["queryId"] not in asked_at_ms:
            continue
        stale = answer["freshness"] == "stale"
        if stale and answer["staleReason"] == "overtaken":
            continue
        deadline = asked_at_ms[answer["queryId"]] - grace_ms
        for offset, mode, tag, at_ms in log.hits(answer["tags"], answer["stamp"], float("inf")):
            if at_ms < deadline and (not stale or mode == "purge"):
                why = f"{answer['freshness']} {asked_at_ms[answer['queryId']] - at_ms} ms after a {mode}"
                found.append(Violation(answer, offset, mode, tag, why))
                break
    return found
