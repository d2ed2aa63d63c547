"""A small schema registry that speaks Confluent's REST API, for tests; it can be stopped and come back.

Run alone it serves until SIGTERM or Ctrl-C: registry.py --port 8081 --state /tmp/registry.json
"""

import argparse
import contextlib
import json
import pathlib
import re
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class Store:
    """Subjects, versions and ids; the same schema has the same id under every subject."""

    def __init__(self, path=None):
        self.path = pathlib.Path(path) if path else None
        self.lock = threading.Lock()
        self.schemas, self.subjects = [], {}
        if self.path and self.path.exists():
            state = json.loads(self.path.read_text())
            self.schemas, self.subjects = state["schemas"], state["subjects"]

    def register(self, subject, text, kind="AVRO"):
        with self.lock:
            schema = {"schema": text, "schemaType": kind}
            if schema not in self.schemas:
                self.schemas.append(schema)
            schema_id = self.schemas.index(schema) + 1
            versions = self.subjects.setdefault(subject, [])
            if schema_id not in versions:
                versions.append(schema_id)
            if self.path:
                self.path.write_text(json.dumps({"schemas": self.schemas, "subjects": self.subjects}))
            return schema_id

    def by_id(self, schema_id):
        with self.lock:
            return self.schemas[schema_id - 1] if 0 < schema_id <= len(self.schemas) else None

    def version(self, subject, version):
        """One version of a subject as the API shows it; None where there is none."""
        with self.lock:
            versions = self.subjects.get(subject, [])
            number = len(versions) if version in ("latest", "-1") else int(version)
            if not 0 < number <= len(versions):
                return None
            schema_id = versions[number - 1]
            return {"subject": subject, "version": number, "id": schema_id, **shown(self.schemas[schema_id - 1])}

    def find(self, subject, text, kind):
        with self.lock:
            for number, schema_id in enumerate(self.subjects.get(subject, []), 1):
                if self.schemas[schema_id - 1] == {"schema": text, "schemaType": kind}:
                    return {"subject": subject, "version": number, "id": schema_id, "schema": text}
        return None


def shown(schema):
    """The API leaves the type out where it is Avro."""
    return schema if schema["schemaType"] != "AVRO" else {"schema": schema["schema"]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One segment an answer: Nagle's algorithm would cost 40 ms a request.
    disable_nagle_algorithm = True

    def do_GET(self):
        store = self.server.store
        self.server.requests.append(self.path)
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/schemas/ids/(\d+)(/schema|/versions)?", path):
            schema = store.by_id(int(match[1]))
            if schema is None:
                return self.error(404, 40403, "Schema not found")
            return self.reply(json.loads(schema["schema"]) if match[2] == "/schema" else shown(schema))
        if path == "/subjects":
            return self.reply(sorted(store.subjects))
        if match := re.fullmatch(r"/subjects/([^/]+)/versions", path):
            versions = store.subjects.get(match[1])
            if versions is None:
                return self.error(404, 40401, f"Subject '{match[1]}' not found.")
            return self.reply(list(range(1, len(versions) + 1)))
        if match := re.fullmatch(r"/subjects/([^/]+)/versions/(\d+|latest|-1)(/schema)?", path):
            version = store.version(match[1], match[2])
            if version is None:
                return self.error(404, 40402, f"Version {match[2]} not found.")
            return self.reply(json.loads(version["schema"]) if match[3] else version)
        if path in ("/", "/mode"):
            return self.reply({"mode": "READWRITE"} if path == "/mode" else {})
        if path == "/config" or path.startswith("/config/"):
            return self.reply({"compatibilityLevel": "BACKWARD"})
        if path == "/schemas/types":
            return self.reply(["AVRO", "JSON"])
        return self.error(404, 404, "HTTP 404 Not Found")

    def do_POST(self):
        store = self.server.store
        self.server.requests.append(self.path)
        path = self.path.partition("?")[0]
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            text, kind = body["schema"], body.get("schemaType", "AVRO")
            json.loads(text)
        except (ValueError, KeyError, TypeError):
            return self.error(422, 42201, "Invalid schema")
        if match := re.fullmatch(r"/subjects/([^/]+)/versions", path):
            return self.reply({"id": store.register(match[1], text, kind)})
        if match := re.fullmatch(r"/subjects/([^/]+)", path):
            found = store.find(match[1], text, kind)
            return self.reply(found) if found else self.error(404, 40403, "Schema not found")
        if path.startswith("/compatibility/"):
            return self.reply({"is_compatible": True})
        return self.error(404, 404, "HTTP 404 Not Found")

    def reply(self, body, status=200):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", CONTENT_TYPE)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def error(self, status, code, message):
        self.reply({"error_code": code, "message": message}, status)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port, store):
        super().__init__(("127.0.0.1", port), Handler)
        self.store, self.requests, self.connections = store, [], set()

    def process_request(self, request, client_address):
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def server_close(self):
        """A registry that is away has no connections that are kept alive either."""
        super().server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Registry:
    """The registry in this process; stop() and start() are an outage on the same port."""

    def __init__(self, port=0, state=None):
        self.store = Store(state)
        self.port, self.server = port, None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.server = Server(self.port, self.store)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def schema_of_id(self, schema_id):
        schema = self.store.by_id(schema_id)
        return schema["schemaType"], schema["schema"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--state", help="a file that keeps the schemas over a restart")
    options = parser.parse_args()
    server = Server(options.port, Store(options.state))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever(0.05)
    except KeyboardInterrupt:
        pass
    server.server_close()


if __name__ == "__main__":
    main()
