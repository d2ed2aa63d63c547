"""What is run side by side is counted, shown and ended: run by `python -m unittest discover -s tests/suite`."""

import contextlib
import io
import os
import pathlib
import signal
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import phases  # noqa: E402
from phases import Later, Phases, count_plain, side_by_side  # noqa: E402

NOISE = "echo '%3|1.2|FAIL|rdkafka#producer-1| [thrd:x]: refused'; echo 'test x ... ok'; "


class Phase(unittest.TestCase):
    def setUp(self):
        logs = tempfile.TemporaryDirectory()
        self.addCleanup(logs.cleanup)
        self.addCleanup(setattr, phases, "LOGS", phases.LOGS)
        phases.LOGS = pathlib.Path(logs.name)
        self.phases, self.shown = Phases(), io.StringIO()

    def run_all(self, *scripts):
        with contextlib.redirect_stdout(self.shown), side_by_side(self.phases, len(scripts)) as start:
            for number, script in enumerate(scripts):
                start(self.phases.run, f"phase {number}", ["sh", "-c", script], None, count_plain)
        return self.phases.passed, self.phases.failed

    def test_a_success_is_counted_and_says_only_what_it_left_out(self):
        script = NOISE + "echo word; echo '!! LEFT OUT: more'; echo 3 passed, 0 failed"
        self.assertEqual(self.run_all(script, script), (6, 0))
        lines = [line for line in self.shown.getvalue().splitlines() if not line.startswith("==")]
        self.assertEqual(lines, ["   !! LEFT OUT: more"] * 2)

    def test_a_failure_is_shown_whole_but_for_noise_and_apart_from_others(self):
        script = NOISE + "for n in 1 2 3; do echo line {0}-$n; sleep 0.01; done; echo 1 passed, 1 failed; exit 1"
        self.assertEqual(self.run_all(script.format("a"), script.format("b")), (2, 2))
        for name in "ab":
            self.assertIn("".join(f"   line {name}-{n}\n" for n in (1, 2, 3)), self.shown.getvalue())
        self.assertNotIn("refused", self.shown.getvalue().partition("output without")[2])

    def test_what_runs_no_test_or_cannot_run_fails(self):
        self.assertEqual(self.run_all("true"), (0, 1))
        with contextlib.redirect_stdout(self.shown):
            self.assertFalse(self.phases.run("missing", ["/nowhere"]))
        self.assertEqual(self.phases.failures, ["phase 0", "missing"])

    def test_a_signal_ends_all_and_what_they_started(self):
        ready, ended = threading.Semaphore(0), []
        # What a shell runs in the background ignores it.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

        def long():
            try:
                # Its child holds the output open until it has ended, too.
                self.phases.run("long", ["sh", "-c", "echo up; sleep 1000 & wait"], watch=lambda _: ready.release())
            finally:
                ended.append(True)

        def interrupt():
            for _ in range(2):
                ready.acquire()
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        with contextlib.redirect_stdout(self.shown), self.assertRaises(KeyboardInterrupt):
            with side_by_side(self.phases, 2) as start:
                start(long)
                start(long)
        self.assertEqual(ended, [True, True])

    def test_what_was_started_ends_where_its_output_cannot_be_kept(self):
        def full(_):
            raise OSError("no space left")

        with self.assertRaisesRegex(OSError, "no space"), contextlib.redirect_stdout(self.shown):
            self.phases.run("long", ["sh", "-c", "echo up; exec sleep 1000"], watch=full)
        self.assertEqual(self.phases.running, {})

    def test_who_waits_for_a_value_is_ended_with_who_was_to_give_it(self):
        def wrong():
            raise ValueError("as the test wants it")

        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), self.assertRaises((ValueError, phases.Ended)):
            with side_by_side(self.phases, 2) as start:
                start(Later(self.phases).wait)
                start(wrong)
        self.assertIn("as the test wants it", errors.getvalue())


if __name__ == "__main__":
    unittest.main()
