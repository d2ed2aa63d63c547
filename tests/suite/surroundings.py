"""What the phases of scripts/test stand on: tools, services, a foreign provider."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from phases import ROOT

sys.path.insert(0, str(ROOT / "tests/foreign"))

from venv_foreign import VENV  # noqa: E402

# What of Rust's own tools is built here, and which version.
TOOLBOX = ROOT / "target/tools"
CARGO_DENY = "0.20.2"
# Program and the Debian package that brings it.
# librdkafka is C, but configures itself only with a C++ compiler at hand.
TOOLS = {"cc": "gcc", "c++": "g++", "make": "make", "pkg-config": "pkg-config", "openssl": "openssl",
         "java": "default-jre-headless", "mvn": "maven", "redis-server": "redis-server"}


def install(phases, options):
    """Installs the tools that are missing: Debian's packages where we may."""
    if not shutil.which("cargo"):
        sys.exit("scripts/test: cargo is missing: install Rust from https://rustup.rs")
    has_server = shutil.which("redis-server") or shutil.which("valkey-server")
    packages = [p for tool, p in TOOLS.items() if not shutil.which(tool) and not (tool == "redis-server" and has_server)]
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode:
        packages.append("python3-venv")
    # Of the build that speaks TLS to Kafka.
    has_headers = subprocess.run(["pkg-config", "--exists", "openssl"]).returncode == 0 if shutil.which("pkg-config") else False
    if not has_headers and not options.quick:
        packages.append("libssl-dev")
    if not packages:
        return
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"scripts/test: missing; as root: {' '.join(command)}")
    env = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    phases.run("apt-get update", ["apt-get", "update", "-qq"], env)
    phases.run("missing packages", command, env)


def dependencies(phases):
    """Checks licences, bans and sources by cargo-deny, which is built once where it is missing;
    advisories where their database is at hand."""
    deny = shutil.which("cargo-deny") or shutil.which("cargo-deny", path=TOOLBOX / "bin")
    if not deny:
        command = ["cargo", "install", "--quiet", "--locked", "--root", str(TOOLBOX), f"cargo-deny@{CARGO_DENY}"]
        phases.say(f"== cargo-deny: {' '.join(command)}")
        _, output, _ = phases.execute("cargo-deny", command, None, True, None)
        deny = shutil.which("cargo-deny", path=TOOLBOX / "bin")
    if not deny:
        phases.say(output, end="")
        return phases.leave_out("licences and advisories", "cargo-deny cannot be built here")
    phases.run("licences, bans, sources", [deny, "--log-level", "error", "check", "licenses", "bans", "sources"])
    # Their database is on github.com, where tests fetch nothing from.
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    if not any(home.glob("advisory-dbs/*/crates")):
        return phases.leave_out("advisories", f"their database is not here: `{deny} fetch db` brings it")
    phases.run("advisories", [deny, "--log-level", "error", "check", "--disable-fetch", "advisories"])


@contextlib.contextmanager
def services(phases, what, brokers, *further):
    """Fresh services for one phase, as environment variables; None when they do not start."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="wedcache-test-"))
    command = [sys.executable, ROOT / "scripts/services"]
    try:
        if phases.run(f"services for {what}", [*command, "start", "kafka", "redis", "--brokers", brokers, "--dir", folder, *further]):
            yield dict(line.split("=", 1) for line in (folder / "env").read_text().splitlines())
        else:
            phases.leave_out(what, "its services did not start")
            yield None
    finally:
        # In a session of its own: Ctrl-C must not end what stops them.
        stopped = subprocess.run([*command, "stop", "--dir", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, start_new_session=True)
        if stopped.returncode:
            phases.say(stopped.stdout, end="")
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def foreign_provider():
    """An OpenAI-compatible server that is not ours, as an environment variable."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([VENV / "bin/llmock", "serve", "--port", str(port), "--log-level", "warning"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield {"WEDCACHE_TEST_OPENAI": f"http://127.0.0.1:{port}/v1"}
    finally:
        server.terminate()
        server.wait(30)
