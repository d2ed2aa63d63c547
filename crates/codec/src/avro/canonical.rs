//! The parsing canonical form of a schema and its fingerprint.
//!
//! The Avro library's own form keeps an object around primitive types that had a logical type, so
//! its fingerprints differ from those of Java and Python; and it panics on some custom attributes.

use std::fmt::Write as _;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, UuidSchema};

/// Returns the CRC-64-AVRO fingerprint of the parsing canonical form, and the fingerprint that
/// Rust's Avro library computes, because records of its users are to be read too.
pub(super) fn fingerprints(schema: &Schema) -> [u64; 2] {
    [Logical::Plain, Logical::Wrapped].map(|logical| {
        let mut form = Form {
            logical,
            text: String::new(),
        };
        form.schema(schema);
        rabin(form.text.as_bytes())
    })
}

/// Returns the CRC-64-AVRO fingerprint (Avro specification, "schema fingerprints").
fn rabin(bytes: &[u8]) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    bytes.iter().fold(EMPTY, |mut crc, byte| {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (EMPTY & (crc & 1).wrapping_neg());
        }
        crc
    })
}

/// The form of a primitive type that has a logical type.
#[derive(Clone, Copy, PartialEq)]
enum Logical {
    /// `"long"`, as in the specification.
    Plain,
    /// `{"type":"long"}`, as in the library.
    Wrapped,
}

struct Form {
    logical: Logical,
    text: String,
}

impl Form {
    fn schema(&mut self, schema: &Schema) {
        match schema {
            Schema::Null => self.put("\"null\""),
            Schema::Boolean => self.put("\"boolean\""),
            Schema::Int => self.put("\"int\""),
            Schema::Long => self.put("\"long\""),
            Schema::Float => self.put("\"float\""),
            Schema::Double => self.put("\"double\""),
            Schema::Bytes => self.put("\"bytes\""),
            Schema::String => self.put("\"string\""),
            Schema::Date | Schema::TimeMillis => self.logical("int"),
            Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => self.logical("long"),
            Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => self.logical("bytes"),
            Schema::Uuid(UuidSchema::String) => self.logical("string"),
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed)) => self.fixed(&fixed.name, fixed.size),
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => self.logical("bytes"),
                InnerDecimalSchema::Fixed(fixed) => self.fixed(&fixed.name, fixed.size),
            },
            Schema::Enum(of) => {
                self.format(format_args!(
                    r#"{{"name":"{}","type":"enum","symbols":"#,
                    of.name
                ));
                self.list(&of.symbols, |form, symbol| {
                    form.format(format_args!("\"{symbol}\""));
                });
                self.put("}");
            }
            Schema::Array(array) => {
                self.put(r#"{"type":"array","items":"#);
                self.schema(&array.items);
                self.put("}");
            }
            Schema::Map(map) => {
                self.put(r#"{"type":"map","values":"#);
                self.schema(&map.types);
                self.put("}");
            }
            Schema::Union(union) => self.list(union.variants(), Self::schema),
            Schema::Record(record) => {
                self.format(format_args!(
                    r#"{{"name":"{}","type":"record","fields":"#,
                    record.name
                ));
                self.list(&record.fields, |form, field| {
                    form.format(format_args!(r#"{{"name":"{}","type":"#, field.name));
                    form.schema(&field.schema);
                    form.put("}");
                });
                self.put("}");
            }
            Schema::Ref { name } => self.format(format_args!("\"{name}\"")),
        }
    }

    fn logical(&mut self, of: &str) {
        match self.logical {
            Logical::Plain => self.format(format_args!("\"{of}\"")),
            Logical::Wrapped => self.format(format_args!(r#"{{"type":"{of}"}}"#)),
        }
    }

    fn fixed(&mut self, name: &Name, size: usize) {
        self.format(format_args!(
            r#"{{"name":"{name}","type":"fixed","size":{size}}}"#
        ));
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Self, &T)) {
        self.put("[");
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.put(",");
            }
            each(self, item);
        }
        self.put("]");
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn format(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a String takes all text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two cases are Apache's own (`share/test/data/schema-tests.txt`).
    #[test]
    fn fingerprints_are_those_of_other_languages() {
        for (schema, want) in [
            (r#""null""#, 0x63dd_24e7_cc25_8f8a_u64),
            (r#""int""#, 0x7275_d51a_3f39_5c8f),
            (
                r#"{"type":"int","logicalType":"date"}"#,
                0x7275_d51a_3f39_5c8f,
            ),
        ] {
            let parsed = Schema::parse_str(schema).unwrap();
            assert_eq!(fingerprints(&parsed)[0], want, "{schema}");
        }
    }

    #[test]
    fn the_canonical_form_has_full_names_and_nothing_that_does_not_shape_the_bytes() {
        let schema = Schema::parse_str(
            r#"{"type":"record","name":"R","namespace":"a.b","doc":"x","fields":[
                {"name":"f","type":{"type":"fixed","name":"F","size":4},"doc":"y"},
                {"name":"g","type":["null","F"],"default":null},
                {"name":"e","type":{"type":"enum","name":"c.E","symbols":["X","Y"]}},
                {"name":"m","type":{"type":"map","values":{"type":"array","items":"R"}}},
                {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4}}]}"#,
        )
        .unwrap();
        let mut form = Form {
            logical: Logical::Plain,
            text: String::new(),
        };
        form.schema(&schema);
        assert_eq!(
            form.text,
            concat!(
                r#"{"name":"a.b.R","type":"record","fields":["#,
                r#"{"name":"f","type":{"name":"a.b.F","type":"fixed","size":4}},"#,
                r#"{"name":"g","type":["null","a.b.F"]},"#,
                r#"{"name":"e","type":{"name":"c.E","type":"enum","symbols":["X","Y"]}},"#,
                r#"{"name":"m","type":{"type":"map","values":{"type":"array","items":"a.b.R"}}},"#,
                r#"{"name":"d","type":"bytes"}]}"#,
            )
        );
    }
}
