"""The load: queries, vendor changes, wedding updates and rubbish, the same for the same seed."""

import dataclasses
import datetime
import json
import random

import formats

PLACES = [("Austin", "TX"), ("New York", "NY"), ("Los Angeles", "CA"), ("Chicago", "IL"), ("Boulder", "CO"),
          ("Waco", "TX"), ("Savannah", "GA"), ("Seattle", "WA")]
# The types that the brief names.
CACHE_TYPES = ["venue_recommendations", "vendor_matching", "budget_optimization", "timeline_generation",
               "guest_management", "menu_suggestions", "decor_inspiration"]
VENDOR_TYPES = ["venue", "photographer", "caterer", "florist"]
BUDGETS = ["budget", "moderate", "premium", "luxury"]
STYLES = ["rustic", "classic", "modern", "boho"]
QUESTIONS = ["Which {} fits our day?", "What would you ask a {} first?", "How early do we book a {}?",
             "What does a good {} cost here?", "Compare two kinds of {} for us."]
VENDOR_EVENTS = ["price_changed", "availability_changed", "menu_changed", "portfolio_changed", "details_changed",
                 "opened", "closed"]
WEDDING_EVENTS = ["date_changed", "location_changed", "budget_changed", "style_changed", "guest_count_changed",
                  "preferences_changed", "guest_list_changed", "cancelled", "deleted"]


@dataclasses.dataclass
class Topics:
    """The topics' names; the defaults are the contract's."""

    queries: str = "wedsync.ai.queries"
    vendors: str = "wedsync.vendor.changes"
    weddings: str = "wedsync.wedding.updates"
    answers: str = "wedsync.ai.responses"
    metrics: str = "wedsync.cache.metrics"
    invalidations: str = "wedsync.cache.invalidations"
    dead_letters: str = "wedsync.cache.dead-letters"

    def inputs(self):
        return [self.queries, self.vendors, self.weddings]


@dataclasses.dataclass
class Sent:
    """One record as it was produced, and what is expected of it."""

    topic: str
    key: bytes
    value: bytes
    # query, change, null, or the kind of rubbish.
    kind: str
    # The dead letter's reason; None where the record is good.
    reason: str = None
    query_id: str = None
    options: dict = None
    headers: list = dataclasses.field(default_factory=list)
    partition: int = None
    offset: int = None
    timestamp_ms: int = None

    @property
    def place(self):
        return self.topic, self.partition, self.offset


class Load:
    """Makes the records. `ids` are the registry's, by name: query, query_old, query_new, query_json,
    vendor, wedding."""

    def __init__(self, topics, schemas, ids, seed, oversize_bytes, cache_types=None, run="r"):
        self.topics, self.schemas, self.ids = topics, schemas, ids
        self.oversize_bytes, self.cache_types = oversize_bytes, cache_types or CACHE_TYPES
        self.random = random.Random(seed)
        # Query ids are unique over several runs on one broker.
        self.run, self.count = run, 0
        self.now = datetime.datetime.now(datetime.timezone.utc)

    def records(self, total, nulls=20):
        """`total` records, one per cent of them rubbish, in random order."""
        rubbish = total // 100
        changes = total // 10
        kinds = self.rubbish()
        out = [kinds[n % len(kinds)]() for n in range(rubbish)]
        out += [self.null(n) for n in range(nulls)]
        out += [self.change(n) for n in range(changes)]
        out += [self.query(n) for n in range(total - len(out))]
        self.random.shuffle(out)
        for n, sent in enumerate(out):
            # Every third record carries a trace, and one a header of somebody else's.
            if n % 3 == 0:
                trace, span = self.random.getrandbits(128) | 1, self.random.getrandbits(64) | 1
                sent.headers.append(("traceparent", f"00-{trace:032x}-{span:016x}-01".encode()))
            if n % 7 == 0:
                sent.headers.append(("sender", b"mixed-load \xff"))
        return out

    # --- good records ---

    def instant(self, **ahead):
        when = self.now + datetime.timedelta(**ahead)
        return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def place(self):
        city, state = self.random.choice(PLACES)
        return {"city": city, "state": state, "country": "US"}

    def context(self):
        pick = self.random
        wedding = pick.randrange(200)
        return {"weddingId": f"w-{wedding}", "location": self.place(),
                "weddingDate": f"2027-{1 + wedding % 12:02d}-{1 + wedding % 28:02d}",
                "budgetRange": pick.choice(BUDGETS), "weddingStyle": pick.choice(STYLES),
                "guestCount": pick.choice([40, 80, 120, 200]), "vendorPreferences": [pick.choice(VENDOR_TYPES)]}

    def ask(self):
        """A query's JSON form; few wordings and places, so that most of them can hit."""
        pick = self.random
        self.count += 1
        vendor_type = pick.choice(VENDOR_TYPES)
        # A fifth of the couples is quite individual, the rest falls into a few dozens of keys.
        context = self.context()
        if pick.random() < 0.8:
            context.update(location={"city": "Austin", "state": "TX", "country": "US"}, weddingDate="2027-06-12",
                           budgetRange="moderate", weddingStyle="rustic", guestCount=120)
            context["weddingId"] = f"w-{pick.randrange(10)}"
        return {
            "queryId": f"{self.run}-{self.count}",
            "query": {"type": pick.choice(self.cache_types),
                      "content": pick.choice(QUESTIONS).format(vendor_type), "vendorTypes": [vendor_type],
                      "vendorIds": [f"v-{pick.randrange(6)}"] if pick.random() < 0.2 else [],
                      "userId": f"u-{pick.randrange(20)}"},
            "weddingContext": context,
            "options": self.options(),
            "askedAt": self.instant(),
        }

    def options(self):
        """Mostly none; some of each kind, among them deadlines that have passed."""
        out = self.no_options()
        draw = self.random.randrange(200)
        if draw < 2:
            out["bypassCache"] = True
        elif draw < 4:
            out["noStore"] = True
        elif draw < 6:
            out["maxAgeSecs"] = 3600
        elif draw < 8:
            out["deadline"] = self.instant(days=1)
        elif draw == 8:
            out["deadline"] = self.instant(hours=-1)
        return out

    def no_options(self):
        return {"bypassCache": False, "noStore": False, "maxAgeSecs": None, "deadline": None}

    def query(self, n):
        ask = self.ask()
        encode = [self.json, self.json_with_bom, self.single_object, self.framed, self.old_producer,
                  self.new_producer, self.framed_json, self.single_object, self.framed, self.json_of_required,
                  self.json_with_nulls, self.single_object_with_nulls][n % 12]
        if encode in (self.json_of_required, self.json_with_nulls, self.single_object_with_nulls):
            ask["options"] = self.no_options()
        return Sent(self.topics.queries, ask["weddingContext"]["weddingId"].encode(), encode(ask), "query",
                    query_id=ask["queryId"], options=ask["options"])

    def json(self, ask):
        return formats.to_json(ask)

    def json_with_bom(self, ask):
        return b"\xef\xbb\xbf \r\n\t" + json.dumps(ask, indent=1).encode()

    def single_object(self, ask):
        return formats.single_object(self.schemas.raw["AiQuery"], ask)

    def framed(self, ask):
        return formats.frame(self.ids["query"], formats.to_avro(self.schemas.raw["AiQuery"], ask))

    def old_producer(self, ask):
        """Written before `askedAt` was added."""
        return formats.frame(self.ids["query_old"], formats.to_avro(self.schemas.older("AiQuery", ["askedAt"]), ask))

    def new_producer(self, ask):
        """Written with a field that the program does not know yet."""
        schema = self.schemas.newer("AiQuery", "campaign")
        return formats.frame(self.ids["query_new"], formats.to_avro(schema, {**ask, "campaign": "spring"}))

    def framed_json(self, ask):
        return formats.frame(self.ids["query_json"], formats.to_json(ask))

    def json_of_required(self, ask):
        """No field that may be left out."""
        place = ask["weddingContext"]["location"]
        return formats.to_json({
            "queryId": ask["queryId"], "query": {name: ask["query"][name] for name in ("type", "content")},
            "weddingContext": {"location": {"city": place["city"], "state": place["state"]}}})

    def nulls(self, ask):
        """Null in every field whose schema allows it."""
        return {**ask, "options": None, "askedAt": None,
                "query": {**dict.fromkeys(ask["query"]), "type": ask["query"]["type"],
                          "content": ask["query"]["content"]},
                "weddingContext": {**dict.fromkeys(ask["weddingContext"]),
                                   "location": ask["weddingContext"]["location"]}}

    def json_with_nulls(self, ask):
        return formats.to_json(self.nulls(ask))

    def single_object_with_nulls(self, ask):
        return formats.single_object(self.schemas.raw["AiQuery"], self.nulls(ask))

    def vendor_change(self, n):
        self.count += 1
        return {"eventId": f"{self.run}-e-{self.count}", "vendorId": f"v-{self.random.randrange(6)}",
                "vendorType": self.random.choice(VENDOR_TYPES), "change": VENDOR_EVENTS[n % len(VENDOR_EVENTS)],
                "location": self.place(), "occurredAt": self.instant(), "source": "bloomdesk",
                "attributes": {"priceChangePct": 12.5, "reason": "season", "urgent": True}}

    def wedding_update(self, n):
        self.count += 1
        context = self.context()
        return {"eventId": f"{self.run}-e-{self.count}", "weddingId": context["weddingId"], "userId": "u-5",
                "change": WEDDING_EVENTS[n % len(WEDDING_EVENTS)], "occurredAt": self.instant(),
                "weddingContext": context, "previous": {**context, "location": self.place()}, "attributes": {}}

    def change(self, n):
        if n % 5 < 3:
            event, topic, record, key = self.vendor_change(n), self.topics.vendors, "VendorChange", "vendorId"
        else:
            event, topic, record, key = self.wedding_update(n), self.topics.weddings, "WeddingUpdate", "weddingId"
        raw = self.schemas.raw[record]
        schema_id = self.ids["vendor" if record == "VendorChange" else "wedding"]
        value = [formats.to_json, lambda event: formats.single_object(raw, event),
                 lambda event: formats.frame(schema_id, formats.to_avro(raw, event))][n % 3](event)
        return Sent(topic, event[key].encode(), value, "change")

    def null(self, n):
        return Sent(self.topics.inputs()[n % 3], b"v-1", None, "null")

    # --- rubbish ---

    def rubbish(self):
        """Makers of every kind of record that cannot be used."""
        def bad(kind, reason, make, topic=None):
            def made():
                key = None if kind == "empty value" else b"v-3" if topic == self.topics.vendors else b"w-3"
                return Sent(topic or self.topics.queries, key, make(), kind, reason)
            return made

        def altered(change):
            ask = self.ask()
            change(ask)
            return formats.to_json(ask)

        vendor = self.schemas.raw["VendorChange"]
        vendors, weddings = self.topics.vendors, self.topics.weddings
        return [
            bad("truncated single object", "unreadable_avro", lambda: self.single_object(self.ask())[:40]),
            bad("truncated frame", "unreadable_avro", lambda: self.framed(self.ask())[:30]),
            bad("unknown schema id", "unknown_schema", lambda: formats.frame(987_654, b"\x02\x02a")),
            bad("unknown fingerprint", "unknown_schema", lambda: b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08\x02a"),
            bad("wrong type", "invalid_field",
                lambda: altered(lambda ask: ask["weddingContext"].update(guestCount="many"))),
            bad("unknown budget", "invalid_field",
                lambda: altered(lambda ask: ask["weddingContext"].update(budgetRange="royal"))),
            bad("impossible date", "invalid_field",
                lambda: altered(lambda ask: ask["weddingContext"].update(weddingDate="2027-02-30"))),
            bad("oversized", "too_large",
                lambda: altered(lambda ask: ask["query"].update(content="x" * self.oversize_bytes))),
            bad("empty value", "empty_value", lambda: b""),
            bad("white space only", "empty_value", lambda: b" \r\n\t "),
            bad("invalid UTF-8", "unreadable_json",
                lambda: formats.to_json(self.ask()).replace(b'"content":"', b'"content":"\xff\xfe')),
            bad("truncated JSON", "unreadable_json", lambda: formats.to_json(self.ask())[:-20]),
            bad("unknown cache type", "unknown_cache_type",
                lambda: altered(lambda ask: ask["query"].update(type="honeymoon_dreams"))),
            bad("missing field", "missing_field", lambda: altered(lambda ask: ask.pop("queryId"))),
            bad("missing inner field", "missing_field",
                lambda: altered(lambda ask: ask["weddingContext"]["location"].pop("city"))),
            bad("JSON array", "unsupported_format", lambda: b"[" + formats.to_json(self.ask()) + b"]"),
            bad("unsupported first byte", "unsupported_format", lambda: b"\x7fELF\x02\x01\x01"),
            bad("short frame", "unreadable_avro", lambda: b"\x00\x00\x01"),
            bad("another record's frame", "unreadable_avro",
                lambda: formats.frame(self.ids["vendor"], formats.to_avro(vendor, self.vendor_change(0)))),
            bad("another record's single object", "unreadable_avro",
                lambda: formats.single_object(vendor, self.vendor_change(0))),
            bad("truncated vendor change", "unreadable_json",
                lambda: formats.to_json(self.vendor_change(0))[:-5], vendors),
            bad("vendor change without a vendor", "missing_field",
                lambda: formats.to_json({**without(self.vendor_change(0), "vendorId")}), vendors),
            bad("empty vendor change", "empty_value", lambda: b"", vendors),
            bad("unknown schema id of a wedding", "unknown_schema", lambda: formats.frame(987_655, b"\x02"), weddings),
            bad("wedding update without a change", "missing_field",
                lambda: formats.to_json({**without(self.wedding_update(0), "change")}), weddings),
        ]


def without(record, name):
    return {key: value for key, value in record.items() if key != name}
