//! Numbers in records, as JSON and Avro write them: `120`, `120.0` and an Avro double are the same
//! number of guests.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::ser::Serializer;

/// A type of number that a field holds.
trait Number: Sized {
    /// The accepted values, for people.
    const EXPECTED: &'static str;

    fn of(number: f64) -> Option<Self>;

    fn of_whole(number: u64) -> Option<Self>;
}

impl Number for u32 {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    fn of(number: f64) -> Option<Self> {
        let fits = number.fract() == 0.0 && (0.0..=f64::from(Self::MAX)).contains(&number);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        fits.then_some(number as Self)
    }

    fn of_whole(number: u64) -> Option<Self> {
        Self::try_from(number).ok()
    }
}

impl Number for Duration {
    const EXPECTED: &'static str = "a number of seconds, 0 or more";

    /// A value above the longest duration becomes the longest duration.
    fn of(number: f64) -> Option<Self> {
        let longest = || Self::MAX;
        (number >= 0.0).then(|| Self::try_from_secs_f64(number).unwrap_or_else(|_| longest()))
    }

    fn of_whole(number: u64) -> Option<Self> {
        Some(Self::from_secs(number))
    }
}

/// Reads a whole number or null.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    deserializer.deserialize_option(Read(PhantomData))
}

/// Reads and writes a number of seconds or null, as a duration.
pub mod seconds {
    use super::{Deserializer, Duration, PhantomData, Read, Serializer};

    /// Reads whole seconds and fractions.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_option(Read(PhantomData))
    }

    /// Writes whole seconds without a fraction.
    pub fn serialize<S: Serializer>(
        seconds: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match seconds {
            None => serializer.serialize_none(),
            Some(seconds) if seconds.subsec_nanos() == 0 => {
                serializer.serialize_some(&seconds.as_secs())
            }
            Some(seconds) => serializer.serialize_some(&seconds.as_secs_f64()),
        }
    }
}

struct Read<T>(PhantomData<T>);

impl<'de, T: Number> Visitor<'de> for Read<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let read = T::of_whole(number);
        let refused = || E::invalid_value(Unexpected::Unsigned(number), &T::EXPECTED);
        read.map(Some).ok_or_else(refused)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &T::EXPECTED)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        let refused = || E::invalid_value(Unexpected::Float(number), &T::EXPECTED);
        T::of(number).map(Some).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Fields {
        #[serde(deserialize_with = "whole")]
        guests: Option<u32>,
        #[serde(with = "seconds")]
        age: Option<Duration>,
    }

    fn read(text: &str) -> Result<Fields, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_number_is_read_however_it_is_written() {
        let fields = |guests, age| Fields { guests, age };
        let secs = |secs| Some(Duration::from_secs_f64(secs));
        for (text, want) in [
            ("{}", fields(None, None)),
            (r#"{"guests": null, "age": null}"#, fields(None, None)),
            (
                r#"{"guests": 120, "age": 3600}"#,
                fields(Some(120), secs(3600.0)),
            ),
            (
                r#"{"guests": 120.0, "age": 3600.0}"#,
                fields(Some(120), secs(3600.0)),
            ),
            (
                r#"{"guests": 1.2e2, "age": 0.5}"#,
                fields(Some(120), secs(0.5)),
            ),
            (r#"{"guests": 0, "age": 0}"#, fields(Some(0), secs(0.0))),
            (
                r#"{"guests": -0.0, "age": -0.0}"#,
                fields(Some(0), secs(0.0)),
            ),
            (r#"{"guests": 4294967295}"#, fields(Some(u32::MAX), None)),
            (r#"{"age": 1e300}"#, fields(None, Some(Duration::MAX))),
            (
                r#"{"age": 18446744073709551615}"#,
                fields(None, Some(Duration::from_secs(u64::MAX))),
            ),
        ] {
            assert_eq!(read(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_told_the_range() {
        let (guests, age) = (<u32 as Number>::EXPECTED, <Duration as Number>::EXPECTED);
        for (text, want) in [
            (r#"{"guests": -1}"#, guests),
            (r#"{"guests": 120.5}"#, guests),
            (r#"{"guests": 4294967296}"#, guests),
            (r#"{"guests": 1e300}"#, guests),
            (r#"{"guests": "120"}"#, guests),
            (r#"{"guests": true}"#, guests),
            (r#"{"age": -1}"#, age),
            (r#"{"age": -0.001}"#, age),
            (r#"{"age": "1h"}"#, age),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(guests: Option<u32>, millis in prop::option::of(0_u64..1 << 40)) {
            let fields = Fields { guests, age: millis.map(Duration::from_millis) };
            let text = serde_json::to_string(&fields).unwrap();
            let again = read(&text).unwrap();
            prop_assert_eq!(again.guests, fields.guests);
            let millis = |of: Option<Duration>| of.map(|age| age.as_secs_f64() * 1000.0);
            let apart = millis(again.age).zip(millis(fields.age)).map(|(a, b)| (a - b).abs());
            prop_assert!(apart.is_none_or(|apart| apart < 0.001));
            prop_assert_eq!(again.age.is_some(), fields.age.is_some());
        }
    }
}
