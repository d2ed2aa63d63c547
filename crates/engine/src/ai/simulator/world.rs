//! The state of the vendors that simulated answers name, and the effect of changes on it: an answer
//! shows which state of the world it was made from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use wedcache_model::VendorChange;
use wedcache_model::event::Attribute;

/// The most vendors kept. Beyond it, changes of unknown vendors are dropped, and answers do not
/// name those vendors of their own accord.
const MOST_VENDORS: usize = 10_000;
/// The change in per cent for a price change without a number.
const UNSAID_PRICE_CHANGE: f64 = 10.0;
/// The bounds of a single price change, in per cent.
const PRICE_CHANGES: (f64, f64) = (-90.0, 900.0);

/// Vendor types, and the words of a question that ask for them.
const KINDS: [(&str, &[&str]); 4] = [
    ("venue", &["venue", "barn", "hall", "celebrate"]),
    ("photographer", &["photo", "film"]),
    ("caterer", &["cater", "menu", "serve", "food", "dish"]),
    ("florist", &["florist", "flower", "bouquet"]),
];

/// The source of the vendors' state when a call begins.
pub trait World: Send + Sync {
    /// Returns the vendors after all changes that were published before this call; `None` if their
    /// state cannot be read. Cancel safe.
    fn vendors(&self) -> BoxFuture<'_, Option<Arc<Vendors>>>;
}

/// A world in which nothing changes.
impl World for Arc<Vendors> {
    fn vendors(&self) -> BoxFuture<'_, Option<Arc<Vendors>>> {
        Box::pin(std::future::ready(Some(Self::clone(self))))
    }
}

/// The state of all vendors at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vendors {
    by_id: BTreeMap<String, Vendor>,
}

/// The state of one vendor.
#[derive(Debug, Clone, PartialEq)]
pub struct Vendor {
    /// The vendor type, as in change events.
    pub kind: String,
    pub is_open: bool,
    pub price: Price,
    /// The number of free Saturdays in the season.
    pub saturdays: u32,
    /// The number of the menu that a caterer offers.
    pub menu: u32,
}

/// A price in US dollars; shown in whole dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price(f64);

/// Returns the type of the n-th vendor of [`Vendors::numbered`].
pub fn vendor_type(number: u32) -> &'static str {
    KINDS[number as usize % KINDS.len()].0
}

impl Vendors {
    /// Returns the vendors `v-1` to `v-<count>`, all open.
    pub fn numbered(count: u32) -> Self {
        let vendor = |number| {
            let kind = vendor_type(number);
            (format!("v-{number}"), Vendor::new(kind, number))
        };
        Self {
            by_id: (1..=count).map(vendor).collect(),
        }
    }

    pub fn get(&self, id: &str) -> Option<&Vendor> {
        self.by_id.get(id)
    }

    /// Returns true if the vendor is known to have closed; false for an unknown one.
    pub fn is_closed(&self, id: &str) -> bool {
        self.get(id).is_some_and(|vendor| !vendor.is_open)
    }

    /// Applies a change event. A vendor that was unknown is known from then on.
    pub fn apply(&mut self, change: &VendorChange) {
        let known = self.by_id.len();
        let vendor = match self.by_id.get_mut(&change.vendor_id) {
            Some(vendor) => vendor,
            None if known < MOST_VENDORS => {
                let kind = change.vendor_type.as_deref().unwrap_or("vendor");
                let number = u32::try_from(known).unwrap_or_default();
                let new = Vendor::new(kind, number);
                self.by_id.entry(change.vendor_id.clone()).or_insert(new)
            }
            None => return,
        };
        match change.change.as_str() {
            "closed" => vendor.is_open = false,
            "opened" => vendor.is_open = true,
            "price_changed" => vendor.price.change(number(change, "priceChangePct")),
            "menu_changed" => vendor.menu += 1,
            "availability_changed" => vendor.saturdays = saturdays(vendor.saturdays, change),
            _ => {}
        }
    }

    /// Returns the vendors of the types that a question asks for, including closed ones; all
    /// vendors if it names no type, or no type with an open vendor.
    pub(super) fn fitting(&self, question: &str) -> Vec<&str> {
        let question = question.to_lowercase();
        let wanted = |vendor: &Vendor| {
            KINDS.iter().any(|(kind, words)| {
                *kind == vendor.kind && words.iter().any(|word| question.contains(word))
            })
        };
        let fitting = || self.by_id.iter().filter(|(_, vendor)| wanted(vendor));
        if fitting().any(|(_, vendor)| vendor.is_open) {
            fitting().map(|(id, _)| id.as_str()).collect()
        } else {
            self.by_id.keys().map(String::as_str).collect()
        }
    }

    /// Returns the state of a vendor as a sentence; `None` if the vendor is unknown. The menu is
    /// included if the question is about food.
    pub(super) fn sentence(&self, id: &str, question: &str) -> Option<String> {
        let vendor = self.get(id)?;
        let (price, saturdays) = (vendor.price, vendor.saturdays);
        let question = question.to_lowercase();
        let (_, food) = KINDS[2];
        let menu = if vendor.kind == "caterer" && food.iter().any(|word| question.contains(word)) {
            format!(", cooks menu no. {}", vendor.menu)
        } else {
            String::new()
        };
        Some(match saturdays {
            0 => format!("{id} asks {price}{menu} and has no Saturday left."),
            1 => format!("{id} asks {price}{menu} and has one Saturday left."),
            _ => format!("{id} asks {price}{menu} and has {saturdays} Saturdays left."),
        })
    }
}

impl Vendor {
    fn new(kind: &str, number: u32) -> Self {
        let base = match kind {
            "venue" => 6200,
            "photographer" => 2600,
            "caterer" => 7400,
            _ => 1800,
        };
        Self {
            kind: kind.to_owned(),
            is_open: true,
            price: Price(f64::from(base + number * 37 % 20 * 50)),
            saturdays: 2 + number * 5 % 11,
            menu: 1,
        }
    }
}

impl Price {
    fn change(&mut self, per_cent: Option<f64>) {
        let (least, most) = PRICE_CHANGES;
        let per_cent = per_cent.unwrap_or(UNSAID_PRICE_CHANGE).clamp(least, most);
        // Bounded, because many changes in one direction would overflow.
        self.0 = (self.0 * (1.0 + per_cent / 100.0)).clamp(1.0, 1e9);
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:.0}", self.0);
        f.write_str("$")?;
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

fn number(change: &VendorChange, attribute: &str) -> Option<f64> {
    match change.attributes.get(attribute) {
        Some(Attribute::Number(number)) => Some(*number),
        _ => None,
    }
}

/// Returns the number of free Saturdays after a change of availability: none if nothing is
/// available any more, otherwise another number than before.
fn saturdays(before: u32, change: &VendorChange) -> u32 {
    match change.attributes.get("available") {
        Some(Attribute::Flag(false)) => 0,
        _ => 1 + (before + 4) % 12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(vendor: &str, change: &str, attributes: &[(&str, Attribute)]) -> VendorChange {
        VendorChange {
            event_id: "e-1".to_owned(),
            vendor_id: vendor.to_owned(),
            vendor_type: None,
            change: change.to_owned(),
            location: None,
            occurred_at: None,
            source: None,
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        }
    }

    #[test]
    fn every_change_makes_the_sentence_that_it_concerns_another_one() {
        let pct = |pct| [("priceChangePct", Attribute::Number(pct))];
        let available = |flag| [("available", Attribute::Flag(flag))];
        let food = "Which caterer cooks vegan food?";
        for (vendor, name, attributes, want) in [
            (
                "v-3",
                "price_changed",
                &pct(10.0)[..],
                "v-3 asks $2,585 and has 6 Saturdays left.",
            ),
            (
                "v-3",
                "price_changed",
                &pct(-50.0)[..],
                "v-3 asks $1,175 and has 6 Saturdays left.",
            ),
            // An impossible amount still leaves a valid price.
            (
                "v-3",
                "price_changed",
                &pct(-1e300)[..],
                "v-3 asks $235 and has 6 Saturdays left.",
            ),
            (
                "v-3",
                "price_changed",
                &[][..],
                "v-3 asks $2,585 and has 6 Saturdays left.",
            ),
            (
                "v-2",
                "menu_changed",
                &[][..],
                "v-2 asks $8,100, cooks menu no. 2 and has 12 Saturdays left.",
            ),
            (
                "v-3",
                "availability_changed",
                &[][..],
                "v-3 asks $2,350 and has 11 Saturdays left.",
            ),
            (
                "v-3",
                "availability_changed",
                &available(false)[..],
                "v-3 asks $2,350 and has no Saturday left.",
            ),
            (
                "v-3",
                "portfolio_changed",
                &[][..],
                "v-3 asks $2,350 and has 6 Saturdays left.",
            ),
        ] {
            let mut vendors = Vendors::numbered(4);
            vendors.apply(&change(vendor, name, attributes));
            assert_eq!(vendors.sentence(vendor, food).unwrap(), want, "{name}");
        }
    }

    #[test]
    fn questions_are_answered_with_vendors_of_the_type_that_they_ask_for() {
        let mut vendors = Vendors::numbered(8);
        assert_eq!(vendors.fitting("Which FLORIST?"), ["v-3", "v-7"]);
        assert_eq!(vendors.fitting("Anything?").len(), 8);
        vendors.apply(&change("v-3", "closed", &[]));
        assert!(vendors.is_closed("v-3") && !vendors.is_closed("v-99"));
        assert_eq!(vendors.fitting("Which florist?"), ["v-3", "v-7"]);
        vendors.apply(&change("v-7", "closed", &[]));
        let others = vendors.fitting("Which florist?");
        assert_eq!(others.len(), 8, "no florist is left: {others:?}");
        vendors.apply(&change("v-3", "opened", &[]));
        assert!(!vendors.is_closed("v-3"));
    }

    #[test]
    fn unknown_vendors_become_known_by_their_changes_up_to_a_bound() {
        let mut vendors = Vendors::default();
        assert_eq!(vendors.sentence("v-9", ""), None);
        vendors.apply(&change("v-9", "closed", &[]));
        assert!(vendors.is_closed("v-9"));
        for number in 0..MOST_VENDORS + 5 {
            vendors.apply(&change(&format!("x-{number}"), "opened", &[]));
        }
        assert_eq!(vendors.by_id.len(), MOST_VENDORS);
    }

    #[test]
    fn prices_are_grouped_by_thousands() {
        for (price, want) in [(7.4, "$7"), (999.6, "$1,000"), (1_234_567.0, "$1,234,567")] {
            assert_eq!(Price(price).to_string(), want);
        }
    }
}
