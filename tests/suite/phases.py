"""Phases of scripts/test: commands that are run, several at a time, counted and told.

What a phase prints goes to a file of its own (target/test/). When the phase has ended, a failure is
shown in full and a success in one line, so that phases that run side by side do not mix.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LOGS = ROOT / "target/test"
PHASE_DEADLINE_SECS = 45 * 60
# How long what was told to end may take to end what it started.
GRACE_SECS = 60
# Builds give way to what waits for clocks and sockets.
GIVES_WAY = 10
PLAIN = {"PYTHONUNBUFFERED": "1", "CARGO_TERM_COLOR": "never"}
# What only the next build would use takes ten gigabytes: it is written where it is in use already.
if not any((ROOT / "target/debug/incremental").glob("*")):
    PLAIN["CARGO_INCREMENTAL"] = "0"
# What says nothing of a failure: tests that passed, what cargo has built, and what librdkafka prints
# of brokers that were killed. The log has it.
NOISE = re.compile(r"test .* \.\.\. ok$|%\d\|\d+\.\d+\||\s*(Compiling|Checking|Documenting|Fresh|Downloaded) ")
# What a success tells all the same: that something was left out.
LEFT_OUT = re.compile(r"(!!|.*\bSKIPPED:)")


class Ended(Exception):
    """The whole run was ended; no further phase begins."""


class Phases:
    """Runs phases, counts, and says what each took. May be used by several threads."""

    def __init__(self):
        shutil.rmtree(LOGS, ignore_errors=True)
        LOGS.mkdir(parents=True)
        self.passed, self.failed, self.left_out, self.failures = 0, 0, [], []
        self.lock, self.running, self.ended = threading.RLock(), {}, False

    def run(self, name, command, env=None, count=None, gives_way=False, watch=None):
        """Runs one phase and returns whether it passed. `count` reads (passed, failed) from its
        output, else the phase counts as one; `watch` is called with each line as it comes."""
        command = list(map(str, command))
        self.say(f"== {name}: {' '.join(command)}")
        began = time.monotonic()
        code, output, cpu_secs = self.execute(name, command, env, gives_way, watch)
        passed, failed = count(output) if count else (0, 0)
        if code == 0 and passed + failed == 0:
            if count:
                output += "no test ran\n"
                code = 1
            else:
                passed = 1
        if code != 0 and failed == 0:
            failed = 1
        told = f"in {time.monotonic() - began:.1f} s, {cpu_secs:.1f} s of CPU"
        with self.lock:
            self.passed, self.failed = self.passed + passed, self.failed + failed
            if failed:
                self.failures.append(name)
                self.say(self.failure(name, output, code))
                self.say(f"== {name}: FAILED ({passed} passed, {failed} failed) {told}")
            else:
                self.say("".join(f"   {line}\n" for line in output.splitlines() if LEFT_OUT.match(line)), end="")
                self.say(f"== {name}: ok{f' ({passed} passed)' if count else ''} {told}")
        return not failed

    def failure(self, name, output, code):
        lines = output.splitlines()
        shown = [line for line in lines if not NOISE.match(line)]
        hidden = f" without {len(lines) - len(shown)} lines of noise" if len(lines) > len(shown) else ""
        return "\n".join([f"-- {name}: exit code {code}; its output{hidden} (all of it in {log_of(name)}):"]
                         + [f"   {line}" for line in shown])

    def execute(self, name, command, env, gives_way, watch):
        """Runs a command; returns its exit code, its output and the CPU time of what it waited for."""
        with open(log_of(name), "w") as log:
            with self.lock:
                if self.ended:
                    raise Ended
                try:
                    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **PLAIN, **(env or {})},
                                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                             text=True, errors="replace", start_new_session=True)
                except OSError as error:
                    return 1, f"{error}\n", 0.0
                self.running[child.pid] = name
            if gives_way:
                give_way(child.pid)
            deadline = threading.Timer(PHASE_DEADLINE_SECS, self.signal, (child.pid, signal.SIGKILL))
            deadline.start()
            output = []
            try:
                for line in child.stdout:
                    output.append(line)
                    log.write(line)
                    log.flush()
                    if watch:
                        watch(line)
            except BaseException:
                # Such as a full disk: what was started ends all the same.
                child.stdout.close()
                self.signal(child.pid, signal.SIGTERM)
                raise
            finally:
                usage = self.wait_for(child)
                deadline.cancel()
        if self.ended:
            raise Ended
        return child.returncode, "".join(output), usage.ru_utime + usage.ru_stime

    def wait_for(self, child):
        """Waits until a command has ended; its id is not signalled once it may be another's."""
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with self.lock:
            del self.running[child.pid]
            _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return usage

    def signal(self, pid, number):
        """Signals a phase's whole group: one that hangs must not leave its children behind."""
        with self.lock:
            if pid in self.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)

    def end(self):
        """Ends what runs; no phase begins any more."""
        with self.lock:
            self.ended = True
            for pid in self.running:
                self.signal(pid, signal.SIGTERM)
                late = threading.Timer(GRACE_SECS, self.signal, (pid, signal.SIGKILL))
                late.daemon = True
                late.start()

    def leave_out(self, what, why):
        with self.lock:
            self.left_out.append(f"{what} ({why})")
            self.say(f"!! LEFT OUT: {what}: {why}")

    def say(self, text, end="\n"):
        with self.lock:
            print(text, end=end, flush=True)

    def summary(self, began):
        for what in self.left_out:
            print(f"!! LEFT OUT: {what}")
        if self.failures:
            print(f"FAILED: {', '.join(self.failures)}")
        print(f"== everything: {'FAILED' if self.failed else 'ok'} in {time.monotonic() - began:.1f} s")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0


def log_of(name):
    return LOGS / f"{re.sub('[^A-Za-z0-9]+', '-', name)}.log"


def give_way(pid):
    """Lowers a process and what it will start. Where the kernel groups processes by session, the
    group's number is the one that counts."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, GIVES_WAY)
        pathlib.Path(f"/proc/{pid}/autogroup").write_text(str(GIVES_WAY))


@contextlib.contextmanager
def side_by_side(phases, many):
    """Starts functions on `many` threads, in the order in which they are given, and waits for all.
    Whatever ends one of them or the caller ends all: each unwinds and stops what it started."""
    pool, started = concurrent.futures.ThreadPoolExecutor(many), []

    def guarded(function, *arguments):
        try:
            function(*arguments)
        except Ended:
            raise
        except BaseException:
            # Others may wait for what it would have given.
            traceback.print_exc()
            phases.end()
            raise

    def start(function, *arguments):
        started.append(pool.submit(guarded, function, *arguments))

    try:
        yield start
        for one in concurrent.futures.as_completed(started):
            one.result()
    except BaseException:
        phases.end()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Later:
    """A value that one thread gives and others wait for."""

    def __init__(self, phases):
        self.phases, self.given, self.value = phases, threading.Event(), None

    def give(self, value):
        """The first one holds."""
        if not self.given.is_set():
            self.value = value
            self.given.set()

    def wait(self):
        while not self.given.wait(0.5):
            if self.phases.ended:
                raise Ended
        return self.value


def count_cargo(output):
    counts = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed", output, re.M)
    return sum(int(p) for p, _ in counts), sum(int(f) for _, f in counts)


def count_unittest(output):
    ran = re.findall(r"^Ran (\d+) tests?", output, re.M)
    failed = sum(map(int, re.findall(r"(?:failures|errors)=(\d+)", output)))
    return sum(map(int, ran)) - failed, failed


def count_plain(output):
    counts = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.M)
    return (int(counts[-1][0]), int(counts[-1][1])) if counts else (0, 0)
