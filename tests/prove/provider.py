"""An OpenAI-compatible server for proofs: it logs every call on its own and tells in every answer
which version of the facts it was made from.

The log has two lines of JSON a call, in the order in which things happened:

  {"call": 7, "begin": 1700000000000.1, "key": "5be0…", "question": "…", "facts": {"v-3": 17}}
  {"call": 7, "end": 1700000000050.3, "status": 200}

Times are Unix milliseconds; `key` is a hash of the whole prompt; a status of 0 is a connection
that was dropped without a reply. Facts are what the prompt names by an id such as `v-3` or `w-9`,
read when the call begins: an answer is as old as it can be.

  POST /v1/chat/completions   the service
  POST /control               a JSON object with any fields of `Behaviour`, and `facts`
  GET  /stats                 calls so far, calls now, the most at one time
"""

import argparse
import asyncio
import dataclasses
import hashlib
import json
import os
import random
import re
import resource
import signal
import time

FACT = re.compile(r"\b[vw]-[A-Za-z0-9_]+")
MAX_BODY_BYTES = 1 << 20


@dataclasses.dataclass
class Behaviour:
    """What the service does from now on; fractions are of the calls."""

    latency_ms: tuple = (20, 40)
    # No reply until it is false again.
    hang: bool = False
    # Connections are dropped before a reply.
    drop: bool = False
    rate_limited: float = 0.0
    retry_after_secs: float = 1.0
    server_error: float = 0.0
    empty: float = 0.0


class Service:
    def __init__(self, log, seed):
        self.behaviour, self.facts = Behaviour(), {}
        self.random = random.Random(seed)
        self.calls, self.now, self.most = 0, 0, 0
        self.released = asyncio.Event()
        self.released.set()
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, **line):
        os.write(self.log, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def control(self, wanted):
        self.facts.update(wanted.pop("facts", {}))
        self.behaviour = dataclasses.replace(self.behaviour, **wanted)
        (self.released.clear if self.behaviour.hang else self.released.set)()

    def stats(self):
        return {"calls": self.calls, "now": self.now, "most": self.most}

    async def complete(self, body):
        """One call: the status and the reply; None where the connection is to be dropped."""
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        call, status = self.calls, 0
        try:
            prompt = "\n".join(message["content"] for message in body["messages"])
            facts = {name: self.facts.get(name, 0) for name in FACT.findall(prompt)}
            key = hashlib.blake2b(prompt.encode(), digest_size=12).hexdigest()
            question = prompt.rpartition("Question:\n")[2][:120]
            self.note(call=call, begin=time.time() * 1000, key=key, question=question, facts=facts)
            wanted, draw = self.behaviour, self.random.random()
            await asyncio.sleep(self.random.uniform(*wanted.latency_ms) / 1000)
            await self.released.wait()
            status, reply = self.outcome(body, facts, key, draw)
            return status, reply
        finally:
            self.now -= 1
            self.note(call=call, end=time.time() * 1000, status=status)

    def outcome(self, body, facts, key, draw):
        wanted = self.behaviour
        if wanted.drop:
            return 0, None
        for status, share in ((429, wanted.rate_limited), (500, wanted.server_error)):
            if draw < share:
                return status, {"error": {"message": "as the proof wants it", "type": "proof", "code": str(status)}}
            draw -= share
        told = " ".join(f"{name}={version}" for name, version in sorted(facts.items()))
        text = "" if draw < wanted.empty else f"Facts: {told or 'none'}. Made from prompt {key}. " + "More to read. " * 12
        return 200, {
            "id": f"proof-{self.calls}", "object": "chat.completion", "created": int(time.time()), "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}}

    async def serve(self, reader, writer):
        """A connection: requests one after the other, until the client has gone."""
        try:
            while request := await read_request(reader):
                status, reply = await self.answer(*request)
                if reply is None:
                    break
                body, extra = json.dumps(reply).encode(), ""
                if status == 429:
                    extra = f"retry-after: {self.behaviour.retry_after_secs}\r\n"
                head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client was killed, which is what proofs do.
        finally:
            writer.close()

    async def answer(self, method, path, body):
        if (method, path) == ("POST", "/v1/chat/completions"):
            return await self.complete(json.loads(body))
        if (method, path) == ("POST", "/control"):
            self.control(json.loads(body))
            return 200, {}
        return (200, self.stats()) if path == "/stats" else (404, {"error": {"message": f"no {path} here"}})


async def read_request(reader):
    """Method, path and body; None when the client has closed the connection."""
    line = await reader.readline()
    if not line:
        return None
    method, path, _ = line.decode().split()
    length = 0
    while (header := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = header.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    if length > MAX_BODY_BYTES:
        raise OSError(f"a body of {length} bytes")
    return method, path, await reader.readexactly(length)


async def main(options):
    service = Service(options.log, options.seed)
    # A listen queue for many callers at once, each with a connection.
    server = await asyncio.start_server(service.serve, "127.0.0.1", options.port, backlog=4096)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with server:
        await ended.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", required=True, metavar="FILE")
    parser.add_argument("--seed", type=int, default=7)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    asyncio.run(main(parser.parse_args()))
