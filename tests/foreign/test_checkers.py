"""The checkers find what they are for: run by `python -m unittest discover -s tests/foreign`."""

import json
import pathlib
import unittest
import urllib.error
import urllib.request

import formats
import freshness
from mixed_load import RegistryClient
from records import Load, Topics
from registry import Registry

SCHEMAS = pathlib.Path(__file__).resolve().parent.parent.parent / "schemas"


def answer(**changes):
    return {"queryId": "q", "status": "answered", "freshness": "fresh", "staleReason": None, "stamp": 10, "view": 20,
            "tags": ["t|vendor=v-1", "t|global"], **changes}


def log(*records):
    out = freshness.Log()
    for offset, mode, tag in records:
        out.add(offset, offset * 1000, {"tag": tag, "mode": mode})
    return out


class Freshness(unittest.TestCase):
    def judged(self, expected, records, **changes):
        found = freshness.check([answer(**changes)], log(*records))
        self.assertEqual([(v.offset, v.mode) for v in found], expected)

    def test_an_invalidation_between_stamp_and_view_forbids_a_fresh_answer(self):
        for offset, forbidden in [(9, False), (10, True), (19, True), (20, False)]:
            for mode in ("purge", "refresh"):
                self.judged([(offset, mode)] if forbidden else [], [(offset, mode, "t|vendor=v-1")])

    def test_another_tag_forbids_nothing(self):
        self.judged([], [(15, "purge", "t|vendor=v-2"), (16, "purge", "u|vendor=v-1")])

    def test_a_stale_answer_survives_a_refresh_but_no_purge(self):
        stale = {"freshness": "stale", "staleReason": "refreshed"}
        self.judged([], [(12, "refresh", "t|global")], **stale)
        self.judged([(13, "purge")], [(12, "refresh", "t|global"), (13, "purge", "t|global")], **stale)
        self.judged([], [(13, "purge", "t|global")], freshness="stale", staleReason="overtaken")

    def test_an_answer_that_cannot_be_judged_is_found(self):
        self.judged([(None, None)], [], stamp=None)
        self.judged([(None, None)], [], freshness=None)
        self.judged([], [], freshness=None, status="failed", stamp=None, view=None, tags=[])

    def test_the_clocks_find_a_view_that_is_too_low(self):
        records = log((15, "purge", "t|global"))
        low = [answer(view=10)]
        self.assertEqual(freshness.check(low, records), [])
        self.assertEqual(len(freshness.check_by_clock(low, {"q": 18_000}, records, 2_000)), 1)
        self.assertEqual(freshness.check_by_clock(low, {"q": 16_000}, records, 2_000), [])


class Formats(unittest.TestCase):
    def test_a_fingerprint_is_the_specifications_in_little_endian(self):
        # The Avro specification's CRC-64-AVRO of "null" is 0x63dd24e7cc258f8a.
        self.assertEqual(formats.fingerprint("null"), bytes.fromhex("8a8f25cce724dd63"))

    def test_records_come_back_from_every_format(self):
        schemas = formats.Schemas(SCHEMAS)
        with running_registry() as registry:
            client = RegistryClient(registry.url)
            ids = client.register_all(schemas, Topics())
            load = Load(Topics(), schemas, ids, seed=3, oversize_bytes=10)
            ask = load.ask()
            for encode in (load.json, load.single_object, load.framed, load.framed_json):
                back = formats.decode(encode(ask), schemas, client.schema_of_id)
                self.assertEqual(back["weddingContext"], ask["weddingContext"])
                self.assertEqual(back["query"], ask["query"])
            for encode in (load.old_producer, load.new_producer):
                back = formats.decode(encode(ask), schemas, client.schema_of_id)
                self.assertEqual(back["queryId"], ask["queryId"])

    def test_the_load_is_the_same_for_a_seed_and_one_per_cent_is_rubbish(self):
        schemas, ids = formats.Schemas(SCHEMAS), dict.fromkeys(
            ("query", "query_old", "query_new", "query_json", "vendor", "wedding"), 1)
        records = Load(Topics(), schemas, ids, seed=3, oversize_bytes=10).records(2000)
        again = Load(Topics(), schemas, ids, seed=3, oversize_bytes=10).records(2000)
        self.assertEqual([r.kind for r in records], [r.kind for r in again])
        self.assertEqual(sum(r.reason is not None for r in records), 20)
        self.assertEqual(len({r.query_id for r in records if r.query_id}), sum(r.kind == "query" for r in records))


class running_registry:
    def __enter__(self):
        self.registry = Registry().start()
        return self.registry

    def __exit__(self, *_):
        self.registry.stop()


class RegistryApi(unittest.TestCase):
    def test_ids_are_stable_over_subjects_and_an_outage(self):
        with running_registry() as registry:
            client = RegistryClient(registry.url)
            first = client.register("a-value", {"type": "string"})
            self.assertEqual(client.register("b-value", {"type": "string"}), first)
            second = client.register("a-value", {"type": "object"}, "JSON")
            self.assertEqual(get(registry, "/subjects"), ["a-value", "b-value"])
            self.assertEqual(get(registry, "/subjects/a-value/versions"), [1, 2])
            self.assertEqual(get(registry, "/subjects/a-value/versions/latest")["id"], second)
            self.assertEqual(get(registry, f"/schemas/ids/{second}")["schemaType"], "JSON")
            registry.stop()
            with self.assertRaises(OSError):
                get(registry, "/subjects")
            registry.start()
            self.assertEqual(get(registry, f"/schemas/ids/{first}"), {"schema": '{"type": "string"}'})

    def test_unknown_schemas_are_told_as_confluents_registry_tells_them(self):
        with running_registry() as registry, self.assertRaises(urllib.error.HTTPError) as caught:
            get(registry, "/schemas/ids/99")
        self.assertEqual((caught.exception.code, json.load(caught.exception)["error_code"]), (404, 40403))


def get(registry, path):
    with urllib.request.urlopen(registry.url + path, timeout=5) as reply:
        return json.load(reply)


if __name__ == "__main__":
    unittest.main()
