//! A change event in the form that the conditions of rules read: its fields by their names on the
//! wire.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map};
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};

use wedcache_model::Catalog;
use wedcache_model::event::{
    Attribute, Attributes, BudgetRange, Location, VendorChange, WeddingFacts, WeddingUpdate,
};
use wedcache_model::text::normalise;
use wedcache_model::{Date, Timestamp};

use super::rule::{Change, ChangeSource};

/// The longest text of an event that conditions are evaluated on, in bytes.
pub const MAX_TEXT_BYTES: usize = 8 << 10;
/// The most attributes or list items of an event that conditions are evaluated on.
pub const MAX_ITEMS: usize = 256;

/// The type of a field's content. With it a comparison that can never be true is found when the
/// rules are read, not when an invalidation is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Text,
    /// An id of a vendor, a couple or a user, in the form of keys and tags.
    Id,
    /// Text that conditions see normalised: lower case, single spaces.
    VendorType,
    /// A location's place, in the form of keys and tags.
    Place,
    Budget,
    Number,
    Instant,
    Texts,
    /// A text, a number or a boolean.
    Attribute,
    /// Fields of any name, each an [`Kind::Attribute`].
    Attributes,
    Object(&'static [(&'static str, Kind)]),
}

const LOCATION: Kind = Kind::Object(&[
    ("city", Kind::Text),
    ("state", Kind::Text),
    ("country", Kind::Text),
    ("place", Kind::Place),
]);
const FACTS: Kind = Kind::Object(&[
    ("weddingId", Kind::Id),
    ("location", LOCATION),
    ("weddingDate", Kind::Instant),
    ("budgetRange", Kind::Budget),
    ("weddingStyle", Kind::Text),
    ("guestCount", Kind::Number),
    ("vendorPreferences", Kind::Texts),
]);
const VENDOR: Kind = Kind::Object(&[
    ("eventId", Kind::Text),
    ("vendorId", Kind::Id),
    ("vendorType", Kind::VendorType),
    ("change", Kind::Text),
    ("location", LOCATION),
    ("occurredAt", Kind::Instant),
    ("source", Kind::Text),
    ("attributes", Kind::Attributes),
]);
const WEDDING: Kind = Kind::Object(&[
    ("eventId", Kind::Text),
    ("weddingId", Kind::Id),
    ("userId", Kind::Id),
    ("change", Kind::Text),
    ("occurredAt", Kind::Instant),
    ("weddingContext", FACTS),
    ("previous", FACTS),
    ("attributes", Kind::Attributes),
]);

/// Returns the fields of a source's events.
pub(super) fn shape(source: ChangeSource) -> Kind {
    match source {
        ChangeSource::Vendor => VENDOR,
        ChangeSource::Wedding => WEDDING,
    }
}

impl Kind {
    /// Returns the kind at `path` below this one; otherwise the number of segments that were found,
    /// and the names that may follow them.
    pub(super) fn at(self, path: &[String]) -> Result<Kind, (usize, Vec<&'static str>)> {
        let mut kind = self;
        for (depth, name) in path.iter().enumerate() {
            kind = match kind {
                Kind::Attributes => Kind::Attribute,
                Kind::Object(fields) => fields
                    .iter()
                    .find(|(field, _)| field == name)
                    .map(|(_, kind)| *kind)
                    .ok_or_else(|| (depth, fields.iter().map(|(field, _)| *field).collect()))?,
                _ => return Err((depth, Vec::new())),
            };
        }
        Ok(kind)
    }
}

/// A change event as a value that conditions are evaluated on.
#[derive(Debug, Clone)]
pub struct Facts(Value);

/// The error for an event that is too large for conditions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    #[error(
        "`{field}` has {bytes} bytes; conditions are evaluated on texts of up to {MAX_TEXT_BYTES}"
    )]
    Text { field: String, bytes: usize },
    #[error("`{field}` has {items} items; conditions are evaluated on up to {MAX_ITEMS}")]
    Items { field: String, items: usize },
}

impl Facts {
    /// Converts an event. Fields that the event does not have are absent, so that `has(…)` works.
    pub fn of(change: &Change, catalog: &Catalog) -> Result<Self, TooLarge> {
        let object = match change {
            Change::Vendor(change) => vendor(change, catalog)?,
            Change::Wedding(update) => wedding(update, catalog)?,
        };
        Ok(Self(object.value()))
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    /// Returns the value at `path` as text for people; `None` if the event does not have it.
    pub(super) fn show(&self, path: &[String]) -> Option<String> {
        let mut value = &self.0;
        for name in path {
            let Value::Map(map) = value else { return None };
            value = map.map.get(&Key::from(name.as_str()))?;
        }
        Some(show(value))
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Timestamp(at) => at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(show).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let items: BTreeSet<_> = map
                .map
                .iter()
                .map(|(key, value)| format!("{key}: {}", show(value)))
                .collect();
            format!("{{{}}}", Vec::from_iter(items).join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn vendor(change: &VendorChange, catalog: &Catalog) -> Result<Object, TooLarge> {
    let mut object = Object::default();
    object.text("eventId", Some(&change.event_id))?;
    object.id("vendorId", Some(&change.vendor_id), catalog)?;
    let vendor_type = change.vendor_type.as_deref().map(normalise);
    object.text("vendorType", vendor_type.as_deref())?;
    object.text("change", Some(&change.change))?;
    object.location(change.location.as_ref(), catalog)?;
    object.instant("occurredAt", change.occurred_at);
    object.text("source", change.source.as_deref())?;
    object.attributes(&change.attributes)?;
    Ok(object)
}

fn wedding(update: &WeddingUpdate, catalog: &Catalog) -> Result<Object, TooLarge> {
    let mut object = Object::default();
    object.text("eventId", Some(&update.event_id))?;
    object.id("weddingId", Some(&update.wedding_id), catalog)?;
    object.id("userId", update.user_id.as_deref(), catalog)?;
    object.text("change", Some(&update.change))?;
    object.instant("occurredAt", update.occurred_at);
    for (name, given) in [
        ("weddingContext", &update.wedding_context),
        ("previous", &update.previous),
    ] {
        if let Some(given) = given {
            object.put(name, facts(given, catalog)?.value());
        }
    }
    object.attributes(&update.attributes)?;
    Ok(object)
}

fn facts(of: &WeddingFacts, catalog: &Catalog) -> Result<Object, TooLarge> {
    let mut object = Object::default();
    object.id("weddingId", of.wedding_id.as_deref(), catalog)?;
    object.location(of.location.as_ref(), catalog)?;
    if let Some(at) = of.wedding_date.and_then(midnight) {
        object.put("weddingDate", at);
    }
    object.text("budgetRange", of.budget_range.map(BudgetRange::as_str))?;
    object.text("weddingStyle", of.wedding_style.as_deref())?;
    if let Some(guests) = of.guest_count {
        object.put("guestCount", Value::Int(guests.into()));
    }
    object.texts("vendorPreferences", &of.vendor_preferences)?;
    Ok(object)
}

/// A map under construction.
#[derive(Default)]
struct Object(HashMap<Key, Value>);

impl Object {
    fn value(self) -> Value {
        Value::Map(Map {
            map: Arc::new(self.0),
        })
    }

    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(Key::from(name), value);
    }

    fn text(&mut self, name: &str, given: Option<&str>) -> Result<(), TooLarge> {
        if let Some(given) = given {
            self.put(name, text(name, given)?);
        }
        Ok(())
    }

    /// Adds an id in canonical form; an id of which nothing remains is added as it was given.
    fn id(&mut self, name: &str, given: Option<&str>, catalog: &Catalog) -> Result<(), TooLarge> {
        let id = given.map(|given| catalog.ids.canonical(given).unwrap_or(given.into()));
        self.text(name, id.as_deref())
    }

    fn texts(&mut self, name: &str, given: &[String]) -> Result<(), TooLarge> {
        within_items(name, given.len())?;
        let texts: Result<Vec<_>, _> = given.iter().map(|item| text(name, item)).collect();
        self.put(name, Value::List(Arc::new(texts?)));
        Ok(())
    }

    /// Adds an instant; one outside CEL's years 1 to 9999 counts as absent.
    fn instant(&mut self, name: &str, given: Option<Timestamp>) {
        let at = given
            .and_then(|at| DateTime::<Utc>::from_timestamp_millis(at.0))
            .filter(|at| (1..=9999).contains(&at.year()));
        if let Some(at) = at {
            self.put(name, Value::Timestamp(at.fixed_offset()));
        }
    }

    fn location(&mut self, given: Option<&Location>, catalog: &Catalog) -> Result<(), TooLarge> {
        let Some(given) = given else { return Ok(()) };
        let mut object = Object::default();
        object.text("city", Some(&given.city))?;
        object.text("state", Some(&given.state))?;
        object.text("country", Some(&given.country))?;
        object.text("place", Some(&catalog.places.place(given)))?;
        self.put("location", object.value());
        Ok(())
    }

    fn attributes(&mut self, given: &Attributes) -> Result<(), TooLarge> {
        within_items("attributes", given.len())?;
        let mut object = Object::default();
        for (name, attribute) in given {
            let value = match attribute {
                Attribute::Text(given) => text(name, given)?,
                Attribute::Number(number) => Value::Float(*number),
                Attribute::Flag(flag) => Value::Bool(*flag),
            };
            object.put(name, value);
        }
        self.put("attributes", object.value());
        Ok(())
    }
}

fn text(field: &str, given: &str) -> Result<Value, TooLarge> {
    if given.len() > MAX_TEXT_BYTES {
        return Err(TooLarge::Text {
            field: field.chars().take(64).collect(),
            bytes: given.len(),
        });
    }
    Ok(Value::String(Arc::new(given.to_owned())))
}

fn within_items(field: &str, items: usize) -> Result<(), TooLarge> {
    if items > MAX_ITEMS {
        return Err(TooLarge::Items {
            field: field.to_owned(),
            items,
        });
    }
    Ok(())
}

/// Converts a date to its first instant in UTC, because CEL has instants and no dates.
fn midnight(date: Date) -> Option<Value> {
    let day: NaiveDate = date.0;
    (1..=9999)
        .contains(&day.year())
        .then(|| Value::Timestamp(day.and_time(NaiveTime::MIN).and_utc().fixed_offset()))
}
