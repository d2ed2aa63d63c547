"""Bytes and records: JSON, Avro single-object and Confluent frames, by fastavro and the standard library."""

import datetime
import io
import json
import pathlib
import struct

import fastavro
import fastavro.schema

SINGLE_OBJECT = b"\xc3\x01"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Schemas:
    """The project's schemas by record name, and by fingerprint for reading single-object records."""

    def __init__(self, folder):
        self.raw = {}
        for path in sorted(pathlib.Path(folder).glob("*.avsc")):
            schema = json.loads(path.read_text())
            self.raw[schema["name"]] = schema
        self.parsed = {name: fastavro.parse_schema(raw, {}) for name, raw in self.raw.items()}
        self.by_fingerprint = {fingerprint(raw): self.parsed[name] for name, raw in self.raw.items()}

    def older(self, name, dropped):
        """The schema as it was before these optional top-level fields: an old producer's."""
        raw = json.loads(json.dumps(self.raw[name]))
        raw["fields"] = [field for field in raw["fields"] if field["name"] not in dropped]
        return raw

    def newer(self, name, field):
        """The schema with one more optional field: a new producer's."""
        raw = json.loads(json.dumps(self.raw[name]))
        raw["fields"].append({"name": field, "type": ["null", "string"], "default": None})
        return raw


def fingerprint(raw):
    """The eight bytes of a single-object record: CRC-64-AVRO of the canonical form, little-endian."""
    canonical = fastavro.schema.to_parsing_canonical_form(raw)
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


def to_json(record):
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def to_avro(raw, record):
    """The bare Avro body of a record that is written as its JSON form."""
    names = {}
    index_names(raw, names)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(raw, {}), lift(raw, record, names))
    return out.getvalue()


def single_object(raw, record):
    return SINGLE_OBJECT + fingerprint(raw) + to_avro(raw, record)


def frame(schema_id, body):
    return b"\x00" + struct.pack(">I", schema_id) + body


def index_names(raw, names):
    """Named types, so that a later mention by name can be followed."""
    if isinstance(raw, list):
        for branch in raw:
            index_names(branch, names)
    elif isinstance(raw, dict):
        if raw.get("type") in ("record", "enum", "fixed"):
            names[raw["name"]] = raw
            names[f"{raw.get('namespace', 'com.wedsync.wedcache')}.{raw['name']}"] = raw
        for field in raw.get("fields", []):
            index_names(field["type"], names)
        for key in ("items", "values", "type"):
            if isinstance(raw.get(key), (dict, list)):
                index_names(raw[key], names)


def lift(raw, value, names):
    """A JSON value as the Python value that the schema asks for: dates, instants, doubles."""
    if isinstance(raw, str) and raw in names:
        raw = names[raw]
    if isinstance(raw, list):
        if value is None:
            return None
        branches = [branch for branch in raw if branch != "null"]
        return lift(branches[0], value, names) if len(branches) == 1 else value
    kind = raw["type"] if isinstance(raw, dict) else raw
    logical = raw.get("logicalType") if isinstance(raw, dict) else None
    if logical == "date":
        return datetime.date.fromisoformat(value)
    if logical == "timestamp-millis":
        return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    if kind == "record":
        # A field that is left out gets the schema's default, or fails as it must.
        return {f["name"]: lift(f["type"], value[f["name"]], names) for f in raw["fields"] if f["name"] in value}
    if kind == "array":
        return [lift(raw["items"], item, names) for item in value]
    if kind == "map":
        return {key: lift(raw["values"], item, names) for key, item in value.items()}
    if isinstance(kind, (dict, list)):
        return lift(kind, value, names)
    return float(value) if kind == "double" else value


def lower(value):
    """The reverse: what fastavro read, with instants as text."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: lower(item) for key, item in value.items()}
    return [lower(item) for item in value] if isinstance(value, list) else value


def decode(value, schemas, schema_of_id):
    """An output record of any of the three formats as its JSON form."""
    if value[:1] == b"\x00":
        kind, text = schema_of_id(struct.unpack(">I", value[1:5])[0])
        if kind == "JSON":
            return json.loads(value[5:])
        schema = fastavro.parse_schema(json.loads(text), {})
        return lower(fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None))
    if value[:2] == SINGLE_OBJECT:
        schema = schemas.by_fingerprint[value[2:10]]
        return lower(fastavro.schemaless_reader(io.BytesIO(value[10:]), schema, None))
    return json.loads(value)
