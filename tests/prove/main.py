"""Runs scenarios and counts. Called by scripts/prove, which makes the environment and the binaries.

A scenario is a module in scenarios/ whose docstring begins with what it proves, with

  run(proof, options)      the proof; proof.report counts its checks
  BROKERS                  Kafka brokers that it needs (default 1)
  FAILPOINTS               whether it needs the binary with failpoints (default False)
  ALONE                    whether its verdict depends on speed, so that nothing may run beside it
                           (default False)
  arguments(parser)        its own options, if any; names are shared by all scenarios
"""

import argparse
import importlib
import json
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "foreign")]

from harness import Proof  # noqa: E402
from mixed_load import Report  # noqa: E402


def scenarios():
    names = sorted(path.stem for path in (HERE / "scenarios").glob("[a-z]*.py"))
    return {name: importlib.import_module(f"scenarios.{name}") for name in names}


def prove(name, scenario, options, report):
    """One scenario with surroundings of its own; whatever goes wrong in it is a failure of it."""
    print(f"-- {name}: {scenario.__doc__.strip().splitlines()[0]}", flush=True)
    began, folder = time.monotonic(), pathlib.Path(tempfile.mkdtemp(prefix=f"wedcache-prove-{name}-"))
    failed = report.failed
    try:
        with Proof(name, folder, report, options, getattr(scenario, "BROKERS", 1)) as proof:
            scenario.run(proof, options)
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code == 143:
            raise
        report.check(f"{name} comes to its end", [repr(error)])
        traceback.print_exception(error)
    kept = report.failed > failed or options.keep
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"-- {name} in {time.monotonic() - began:.1f} s{f', kept in {folder}' if kept else ''}", flush=True)


def main():
    found = scenarios()
    epilog = "scenarios:\n" + "\n".join(f"  {name:16} {one.__doc__.strip().splitlines()[0]}" for name, one in found.items())
    parser = argparse.ArgumentParser(prog="scripts/prove", epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Proves under fire what wedcache promises.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--quick", action="store_true", help="small and short, as scripts/test runs them")
    parser.add_argument("--binary", type=pathlib.Path, help="a wedcache to prove, instead of a debug build")
    parser.add_argument("--failpoints-binary", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help="keep the logs and data of what passed, too")
    # For scripts/prove and scripts/test: what the scenarios need, as JSON.
    parser.add_argument("--plan", action="store_true", help=argparse.SUPPRESS)
    for one in found.values():
        if hasattr(one, "arguments"):
            one.arguments(parser)
    options = parser.parse_args()
    if unknown := [name for name in options.scenarios if name not in found]:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(found)}")
    chosen = {name: found[name] for name in options.scenarios or found}
    if options.plan:
        print(json.dumps({name: {"failpoints": getattr(one, "FAILPOINTS", False), "alone": getattr(one, "ALONE", False)}
                          for name, one in chosen.items()}))
        return 0
    options.binary = options.binary.resolve()
    options.failpoints_binary = options.failpoints_binary and options.failpoints_binary.resolve()
    report = Report()
    for name, one in chosen.items():
        prove(name, one, options, report)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    # A terminated run ends its children too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
