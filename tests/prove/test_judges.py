"""The judges find what they are for: run by `python -m unittest discover -s tests/prove`."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "foreign")]

from judge import Judge, quantile  # noqa: E402
from load import Change, question  # noqa: E402
from scenarios.bought_twice import reaches, unjustified  # noqa: E402
from scenarios.rebalances import finished_by  # noqa: E402


class Facts(unittest.TestCase):
    """Version 1 is judged at 1000, version 2 at 5000; the grace is 1000 ms."""

    def judged(self, told, asked_ms, purges=True, **changes):
        judge = Judge.__new__(Judge)
        judge.grace_ms, judge.labelled = 1000, 0
        judge.old, judge.lateness, judge.untold, judge.last, judge.last_cached = [], [], [], {}, {}
        judge.judged_ms = {("v-1", 1): 1000, ("v-1", 2): 5000}
        judge.load = type("Load", (), {
            "changes": [Change("v-1", 1, purges), Change("v-1", 2, purges)], "at_ms": [asked_ms], "question_of": [0],
            "asked": [question("v-1", "vendor_matching", "?")]})
        judge.required = judge.versions_by_time()
        answer = {"queryId": "q-0", "data": told, "freshness": "fresh", "staleReason": None, "source": "cache", "stamp": 1,
                  "view": 2, **changes}
        judge.judge_facts(0, answer, asked_ms + 5)
        return judge

    def test_facts_older_than_a_change_judged_before_the_query_are_found(self):
        for told, asked, old in [("Facts: v-1=2.", 9000, False), ("Facts: v-1=1.", 9000, True), ("Facts: v-1=0.", 9000, True),
                                 ("Facts: v-1=1.", 4999, False), ("Facts: v-1=0.", 4999, True), ("Facts: v-1=1.", 5900, False)]:
            self.assertEqual(bool(self.judged(told, asked).old), old, (told, asked))

    def test_what_is_old_within_the_grace_is_measured(self):
        self.assertEqual(self.judged("Facts: v-1=1.", 5900).lateness, [900])

    def test_a_label_excuses_a_refresh_and_what_lag_hides_but_no_purge(self):
        stale = {"freshness": "stale", "staleReason": "refreshed"}
        self.assertEqual(self.judged("Facts: v-1=1.", 9000, purges=False, **stale).old, [])
        self.assertEqual(len(self.judged("Facts: v-1=1.", 9000, **stale).old), 1)
        self.assertEqual(self.judged("Facts: v-1=1.", 9000, freshness="stale", staleReason="rules_lag").old, [])
        self.assertEqual(len(self.judged("Facts: v-1=1.", 9000, freshness="stale", staleReason="overtaken").old), 1)

    def test_an_answer_without_facts_is_found(self):
        self.assertEqual(len(self.judged("Facts: v-10=1.", 9000).untold), 1)

    def test_the_delay_of_a_change_is_up_to_the_last_fresh_answer_from_before_it(self):
        judge = self.judged("Facts: v-1=1.", 5040)
        change = Change("v-1", 2, True, at_ms=4990)
        self.assertEqual(judge.delays([change]), [55])
        self.assertEqual(judge.delays([Change("v-1", 1, True, at_ms=990)]), [0])


class BoughtTwice(unittest.TestCase):
    def judged(self, first, second_begin, kills, answered=None):
        second = {"begin": second_begin, "end": second_begin + 10, "status": 200}
        wrong, _ = unjustified({7: [second, first]}, kills, {7: answered} if answered else {})
        return bool(wrong)

    def test_a_second_call_needs_a_crash_that_explains_it(self):
        replied = {"begin": 1000, "end": 1100, "status": 200}
        running = {"begin": 1000, "end": 12000, "status": 200}
        crash = reaches([8000], [100, 8500])
        self.assertTrue(self.judged(replied, 9000, []), "no crash at all")
        self.assertFalse(self.judged(running, 9000, crash), "it was in flight")
        self.assertTrue(self.judged(replied, 9000, crash), "it should have been stored long before")
        self.assertFalse(self.judged({**replied, "end": 7990}, 9000, crash), "just answered, not yet stored")
        self.assertTrue(self.judged({**replied, "end": 7990}, 9000, crash, answered=7995), "somebody had the answer")
        self.assertTrue(self.judged(running, 4000, crash), "the crash came later")
        self.assertTrue(self.judged(running, 9000, reaches([500], [700])), "the crash came earlier")
        self.assertFalse(self.judged(running, 9000, reaches([990], [1500])), "its request was still on the way")


class Quantile(unittest.TestCase):
    def test_of_a_hundred_the_99th_is_not_the_most(self):
        self.assertEqual((quantile(range(200), 0.5), quantile(range(200), 0.99), quantile([], 0.5)), (100, 198, None))


class Commits(unittest.TestCase):
    def test_what_commit_metadata_claims_is_read_with_and_without_a_topic_id(self):
        for head in ("wc1{}XXXXX", "wc2{}XXXXX" + "A" * 22):
            # A gap of two, then three that are finished.
            self.assertEqual(finished_by(10, head.format("r") + "CD"), {12, 13, 14})
            # The first and the last of six.
            self.assertEqual(finished_by(10, head.format("b") + "h"), {10, 15})
        self.assertEqual(finished_by(10, ""), set())
        with self.assertRaises(SystemExit):
            finished_by(10, "flink:42")


if __name__ == "__main__":
    unittest.main()
