//! The effect of one change, in numbers and as a sentence.

use std::time::Duration;

use crate::ai::simulator::Vendors;
use crate::model::event::Attribute;
use crate::model::{Timestamp, VendorChange, WeddingUpdate};

/// The longest piece of text from an outside client that is shown, in characters.
const MOST_SHOWN: usize = 24;

/// The place of a record in a change topic: topic, partition and offset.
pub type Place = (String, i32, i64);

/// A change event in words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// The text, such as `v-3 closed`.
    pub text: String,
    /// The vendor that the change closed.
    pub closed: Option<String>,
    /// The vendor that the change opened.
    pub opened: Option<String>,
    /// True if the demo's own season sent the change; false if another client did.
    pub of_season: bool,
}

/// The effect of a change on the answers that had been given.
#[derive(Debug, Clone)]
pub struct Effect {
    pub(super) place: Place,
    /// The change itself; `None` until its record is read.
    pub(super) told: Option<Told>,
    /// The time at which the change was written to its topic.
    pub(super) published: Option<Timestamp>,
    /// The time at which the last invalidation of the change was read from the log.
    pub(super) judged: Option<Timestamp>,
    /// The log's offset of that invalidation.
    pub(super) last_offset: Option<i64>,
    pub(super) parts: u32,
    /// The number of answers that may never be given again.
    pub forbidden: u64,
    /// The number of answers that may be given, labelled stale, until they are bought again.
    pub stale: u64,
    /// The number of forbidden answers whose keys were asked for and answered again.
    pub asked_again: u64,
    /// The number of fresh answers that were judged after a closing and named its vendor.
    pub named_after: u64,
    /// The number of answers that were under way when a vendor closed and named that vendor.
    pub under_way: u64,
}

impl Effect {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            told: None,
            published: None,
            judged: None,
            last_offset: None,
            parts: 0,
            forbidden: 0,
            stale: 0,
            asked_again: 0,
            named_after: 0,
            under_way: 0,
        }
    }

    /// Returns the place of the change's record.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the time from the change's write to Kafka until a reader of the invalidation log had
    /// everything that the change forbids; `None` until then.
    pub fn took(&self) -> Option<Duration> {
        Some(self.judged?.since(self.published?))
    }

    /// Returns true if the change closed a vendor.
    pub fn is_closing(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.closed.is_some())
    }

    /// Returns true if a client other than the demo's season sent the change.
    pub fn is_of_a_stranger(&self) -> bool {
        self.told.as_ref().is_some_and(|told| !told.of_season)
    }

    /// Returns a sentence on the change and its effect; `None` until both are known.
    pub fn sentence(&self) -> Option<String> {
        let (told, took) = (self.told.as_ref()?, self.took()?);
        let did = match (self.forbidden, self.stale) {
            (0, 0) => "concerned no answer given so far".to_owned(),
            (0, stale) => format!("{} stale", answers(stale)),
            (forbidden, 0) => format!("{} forbidden", answers(forbidden)),
            (forbidden, stale) => format!("{} forbidden, {stale} stale", answers(forbidden)),
        };
        let (text, millis, since) = (&told.text, took.as_millis(), self.since(told));
        Some(format!("{text} → {did} in {millis} ms{since}"))
    }

    /// Returns the end of the sentence: what became of the forbidden answers.
    fn since(&self, told: &Told) -> String {
        let again = match self.asked_again {
            0 => String::new(),
            again => format!("; {again} asked again"),
        };
        let Some(vendor) = &told.closed else {
            return again;
        };
        let named = match self.named_after {
            0 if again.is_empty() => String::new(),
            0 => format!(", none names {vendor}"),
            named => format!("; {} STILL NAMED {vendor}", answers(named)),
        };
        let under_way = match self.under_way {
            0 => String::new(),
            count => format!(", {count} under way"),
        };
        format!("{under_way}{again}{named}")
    }
}

impl Told {
    /// Puts a vendor change into words; `after` are the vendors with the change in them.
    pub fn vendor(change: &VendorChange, after: &Vendors) -> Self {
        let (id, kind) = (shown(&change.vendor_id), change.change.as_str());
        let vendor = after.get(&change.vendor_id);
        let text = match (kind, vendor) {
            ("price_changed", Some(vendor)) => {
                let by = match change.attributes.get("priceChangePct") {
                    Some(Attribute::Number(pct)) => format!("{pct:+.1} %"),
                    _ => "changed".to_owned(),
                };
                format!("{id} price {by}, asks {}", vendor.price)
            }
            ("menu_changed", Some(vendor)) => format!("{id} has menu no. {}", vendor.menu),
            ("availability_changed", Some(vendor)) => {
                format!("{id} has {} Saturdays left", vendor.saturdays)
            }
            _ => format!("{id} {}", shown(&kind.replace('_', " "))),
        };
        let by_kind = |name: &str| (kind == name).then(|| change.vendor_id.clone());
        Self {
            text,
            closed: by_kind("closed"),
            opened: by_kind("opened"),
            of_season: change.source.as_deref() == Some(super::season::SOURCE),
        }
    }

    pub fn wedding(update: &WeddingUpdate) -> Self {
        let change = update.change.replace('_', " ");
        Self {
            text: format!("{} {}", shown(&update.wedding_id), shown(&change)),
            of_season: update.event_id.starts_with(super::season::EVENT_IDS),
            ..Self::default()
        }
    }

    /// Puts a record into words that is no change event.
    pub fn unreadable(key: Option<&[u8]>) -> Self {
        let key = String::from_utf8_lossy(key.unwrap_or_default());
        Self {
            text: format!("an unreadable change of {}", shown(&key)),
            ..Self::default()
        }
    }
}

fn answers(count: u64) -> String {
    if count == 1 {
        "1 answer".to_owned()
    } else {
        format!("{count} answers")
    }
}

/// Returns another client's text as a terminal may show it: without control characters, cut at
/// [`MOST_SHOWN`].
fn shown(text: &str) -> String {
    let mut clean: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(MOST_SHOWN + 1)
        .collect();
    if clean.chars().count() > MOST_SHOWN {
        clean = clean.chars().take(MOST_SHOWN - 1).collect();
        clean.push('…');
    }
    if clean.is_empty() {
        "nobody".to_owned()
    } else {
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(text: &str, closed: Option<&str>) -> Effect {
        Effect {
            told: Some(Told {
                text: text.to_owned(),
                closed: closed.map(str::to_owned),
                ..Told::default()
            }),
            published: Some(Timestamp(1000)),
            judged: Some(Timestamp(1008)),
            ..Effect::new((String::new(), 0, 0))
        }
    }

    #[test]
    fn a_sentence_says_what_changed_and_what_that_did() {
        let closed = effect("v-3 closed", Some("v-3"));
        let price = effect("v-9 price +8.0 %, asks $2,000", None);
        for (effect, want) in [
            (
                closed.clone(),
                "v-3 closed → concerned no answer given so far in 8 ms",
            ),
            (
                Effect {
                    forbidden: 14,
                    asked_again: 6,
                    ..closed.clone()
                },
                "v-3 closed → 14 answers forbidden in 8 ms; 6 asked again, none names v-3",
            ),
            (
                Effect {
                    forbidden: 1,
                    asked_again: 1,
                    named_after: 2,
                    ..closed.clone()
                },
                "v-3 closed → 1 answer forbidden in 8 ms; 1 asked again; 2 answers STILL NAMED v-3",
            ),
            (
                Effect {
                    forbidden: 3,
                    under_way: 1,
                    ..closed.clone()
                },
                "v-3 closed → 3 answers forbidden in 8 ms, 1 under way",
            ),
            (
                Effect {
                    forbidden: 2,
                    stale: 9,
                    asked_again: 1,
                    ..price.clone()
                },
                "v-9 price +8.0 %, asks $2,000 → 2 answers forbidden, 9 stale in 8 ms; 1 asked again",
            ),
            (
                Effect { stale: 1, ..price },
                "v-9 price +8.0 %, asks $2,000 → 1 answer stale in 8 ms",
            ),
        ] {
            assert_eq!(effect.sentence().as_deref(), Some(want));
        }
        assert_eq!(
            Effect {
                judged: None,
                ..closed.clone()
            }
            .sentence(),
            None
        );
        assert_eq!(
            Effect {
                told: None,
                ..closed
            }
            .sentence(),
            None
        );
    }

    #[test]
    fn changes_are_told_with_what_is_true_since() {
        let change = |json: &str| serde_json::from_str::<VendorChange>(json).unwrap();
        for (json, want) in [
            (
                r#"{"eventId":"e","vendorId":"v-3","change":"price_changed","attributes":{"priceChangePct":-7.25}}"#,
                "v-3 price -7.2 %, asks $2,180",
            ),
            (
                r#"{"eventId":"e","vendorId":"v-3","change":"price_changed"}"#,
                "v-3 price changed, asks $2,585",
            ),
            (
                r#"{"eventId":"e","vendorId":"v-2","change":"menu_changed"}"#,
                "v-2 has menu no. 2",
            ),
            (
                r#"{"eventId":"e","vendorId":"v-3","change":"portfolio_changed"}"#,
                "v-3 portfolio changed",
            ),
            (
                r#"{"eventId":"e","vendorId":"v-\u001b[2J0123456789012345678901234","change":"closed"}"#,
                "v-[2J012345678901234567… closed",
            ),
        ] {
            let change = change(json);
            let mut world = Vendors::numbered(5);
            world.apply(&change);
            assert_eq!(Told::vendor(&change, &world).text, want);
        }
        assert_eq!(
            Told::unreadable(None).text,
            "an unreadable change of nobody"
        );
        assert_eq!(
            Told::unreadable(Some(b"v-\xff")).text,
            "an unreadable change of v-\u{fffd}"
        );
    }
}
