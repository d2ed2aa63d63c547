//! Valid inputs to begin with, and the schemas that registry frames refer to.

use std::sync::Arc;

use wedcache::codec::{RecordKind, Registry, RegistryOptions, Resolved, Schemas};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

pub const QUERY: &str = r#"{"queryId":"q-81","query":{"type":"vendor_matching",
"content":"Which florist fits a barn wedding? Is v-17 free?","vendorTypes":["florist"],
"vendorIds":["v-17"],"userId":"u-5"},"weddingContext":{"weddingId":"w-9","location":
{"city":"Austin","state":"TX","country":"US"},"weddingDate":"2027-06-12","budgetRange":"moderate",
"weddingStyle":"rustic","guestCount":120,"vendorPreferences":["photographer"]},"options":
{"bypassCache":false,"noStore":false,"maxAgeSecs":3600,"deadline":"2026-11-22T10:00:05Z"},
"askedAt":"2026-11-22T10:00:00Z"}"#;

pub const VENDOR_CHANGE: &str = r#"{"eventId":"e-1","vendorId":"v-17","vendorType":"florist",
"change":"price_changed","location":{"city":"Austin","state":"TX","country":"US"},
"occurredAt":"2026-11-22T10:00:00Z","source":"bloomdesk","attributes":{"priceChangePct":12.5,
"rooms":3,"open":true,"note":"up"}}"#;

pub const WEDDING_UPDATE: &str = r#"{"eventId":"e-2","weddingId":"w-9","userId":"u-5",
"change":"location_changed","occurredAt":"2026-11-22T10:00:00Z","weddingContext":{"weddingId":"w-9",
"location":{"city":"Austin","state":"TX"},"guestCount":122},"previous":{"location":{"city":"Waco",
"state":"TX"},"guestCount":120,"budgetRange":"luxury","weddingDate":"2027-06-12"},"attributes":{}}"#;

/// Returns our schemas under the ids 1 to 3, JSON under 4, and under 5 a query with constructs that
/// only hostile producers use: recursion, values without a width, a union of everything.
pub fn schemas() -> Arc<Schemas> {
    let hostile = RecordKind::AiQuery.schema_text().replacen(
        "\"fields\": [",
        r#""fields": [{"name": "tree", "type": {"type": "record", "name": "Tree", "fields": [
            {"name": "children", "type": {"type": "array", "items": "Tree"}},
            {"name": "next", "type": ["null", "Tree"]},
            {"name": "nulls", "type": {"type": "array", "items": "null"}},
            {"name": "any", "type": ["null", "boolean", "int", "long", "float", "double", "bytes",
                "string", {"type": "map", "values": ["null", "string"]},
                {"type": "enum", "name": "E", "symbols": ["A"]},
                {"type": "fixed", "name": "F", "size": 16}]}]}},"#,
        1,
    );
    let of = |kind: RecordKind| serde_json::json!({ "schema": kind.schema_text() });
    let answers = [
        (1, of(RecordKind::AiQuery)),
        (2, of(RecordKind::VendorChange)),
        (3, of(RecordKind::WeddingUpdate)),
        (4, serde_json::json!({"schema": "{}", "schemaType": "JSON"})),
        (5, serde_json::json!({ "schema": hostile })),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = MockServer::start().await;
        let schemas = Arc::new(Schemas::embedded());
        let options = RegistryOptions::new(vec![server.uri()]);
        let registry = Registry::new(options, Arc::clone(&schemas)).unwrap();
        for (id, answer) in answers {
            let reply = ResponseTemplate::new(200).set_body_json(answer);
            let asked = Mock::given(method("GET")).and(path(format!("/schemas/ids/{id}")));
            asked.respond_with(reply).mount(&server).await;
            assert!(
                matches!(registry.resolve(id).await, Resolved::Known),
                "{id}"
            );
        }
        schemas
    })
}

/// An Avro datum written by hand: null branches of unions are branch 0, everything else follows the
/// schema.
#[derive(Default)]
struct Datum(Vec<u8>);

impl Datum {
    fn double(mut self, value: f64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn long(mut self, value: i64) -> Self {
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while left > 0x7f {
            self.0.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        self.0.push(u8::try_from(left).unwrap());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self = self.long(i64::try_from(text.len()).unwrap());
        self.0.extend(text.as_bytes());
        self
    }

    fn some(self) -> Self {
        self.long(1)
    }

    fn null(self) -> Self {
        self.long(0)
    }

    fn texts(self, text: &str) -> Self {
        self.some().long(1).text(text).long(0)
    }

    fn place(self) -> Self {
        self.text("Austin").text("TX").text("US")
    }

    fn query(self) -> Self {
        let question = self
            .text("q-81")
            .text("vendor_matching")
            .text("Is v-17 free?");
        let asked = question.texts("florist").texts("v-17").some().text("u-5");
        let context = asked.some().text("w-9").place().some().long(20_981);
        let context = context.some().text("moderate").some().text("rustic");
        let context = context.some().long(120).texts("photographer");
        let options = context.some().long(0).long(0).some().double(3600.0).null();
        options.some().long(1_795_341_600_000)
    }

    fn vendor_change(self) -> Self {
        let named = self
            .text("e-1")
            .some()
            .text("v-17")
            .some()
            .text("florist")
            .text("opened");
        let whole = named.some().place().some().long(1_795_341_600_000).null();
        whole.some().long(1).text("open").long(0).text("x").long(0)
    }

    fn wedding_update(self) -> Self {
        let named = self
            .text("e-2")
            .text("w-9")
            .null()
            .text("date_changed")
            .null();
        let facts = named
            .some()
            .some()
            .text("w-9")
            .some()
            .place()
            .some()
            .long(20_981);
        let facts = facts.null().null().some().long(80).null();
        facts.null().null()
    }
}

pub enum Avro {
    Query,
    VendorChange,
    WeddingUpdate,
}

/// Returns the event in all supported formats.
pub fn in_all_formats(json: &str, avro: &Avro) -> Vec<Vec<u8>> {
    let (id, kind, datum) = match avro {
        Avro::Query => (1_u32, RecordKind::AiQuery, Datum::default().query()),
        Avro::VendorChange => (
            2,
            RecordKind::VendorChange,
            Datum::default().vendor_change(),
        ),
        Avro::WeddingUpdate => (
            3,
            RecordKind::WeddingUpdate,
            Datum::default().wedding_update(),
        ),
    };
    let frame = |id: u32, payload: &[u8]| [&[0], id.to_be_bytes().as_slice(), payload].concat();
    let fingerprint = kind.fingerprint().to_le_bytes();
    let mut seeds = vec![
        json.as_bytes().to_vec(),
        [b"\xef\xbb\xbf \n", json.as_bytes()].concat(),
        [b"\xc3\x01", fingerprint.as_slice(), &datum.0].concat(),
        frame(id, &datum.0),
        frame(4, json.as_bytes()),
    ];
    if let Avro::Query = avro {
        let leaf = |datum: Datum| datum.long(0).long(0).long(3).long(0).long(0);
        let tree = leaf(leaf(Datum::default().long(1)).long(0).long(1));
        let tree = tree.long(2).long(0).long(7).text("any");
        seeds.push(frame(5, &tree.query().0));
    }
    seeds
}
