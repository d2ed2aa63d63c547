//! The checks of a decoded event beyond its types: required ids and names must not be blank.

use serde::de::{self, Deserialize, DeserializeOwned};

use wedcache_model::event::Location;
use wedcache_model::{AiAnswer, AiQuery, Text, VendorChange, WeddingUpdate};

use super::fault::Fault;
use super::reject::{Reason, Reject};
use super::schemas::RecordKind;

/// An input record.
pub(super) trait Incoming<'de>: Deserialize<'de> {
    const KIND: RecordKind;
    /// The event type with owned text.
    type Owned: DeserializeOwned;

    /// Rejects required text that is blank, and treats optional text that is blank as missing: a
    /// blank wedding id must never become an id that couples share.
    fn settle(&mut self) -> Result<(), Reject>;
}

/// A query's text: owned, or borrowed from its record.
pub(super) trait QueryText<'de>: Deserialize<'de> + AsRef<str> + From<&'static str> {}
impl QueryText<'_> for String {}
impl<'de> QueryText<'de> for Text<'de> {}

impl<'de, S: QueryText<'de>> Incoming<'de> for AiQuery<S> {
    const KIND: RecordKind = RecordKind::AiQuery;
    type Owned = AiQuery;

    fn settle(&mut self) -> Result<(), Reject> {
        let context = &mut self.wedding_context;
        required(&[
            ("queryId", self.query_id.as_ref()),
            ("query.type", self.query.cache_type.as_ref()),
            ("query.content", self.query.content.as_ref()),
        ])?;
        place("weddingContext.location", &context.location)?;
        for text in [
            &mut self.query.user_id,
            &mut context.wedding_id,
            &mut context.wedding_style,
        ] {
            drop_blank(text);
        }
        for texts in [
            &mut self.query.vendor_types,
            &mut self.query.vendor_ids,
            &mut context.vendor_preferences,
        ] {
            texts.retain(|text| !is_blank(text.as_ref()));
        }
        Ok(())
    }
}

/// Our own output, read again by code that checks it: its fields are taken unchanged.
impl Incoming<'_> for AiAnswer<'static> {
    const KIND: RecordKind = RecordKind::AiAnswer;
    type Owned = Self;

    fn settle(&mut self) -> Result<(), Reject> {
        Ok(())
    }
}

impl Incoming<'_> for VendorChange {
    const KIND: RecordKind = RecordKind::VendorChange;
    type Owned = Self;

    fn settle(&mut self) -> Result<(), Reject> {
        required(&[("eventId", &self.event_id), ("change", &self.change)])?;
        if !self.is_heartbeat() {
            if self.vendor_id.is_empty() {
                let fault = <Fault as de::Error>::missing_field("vendorId");
                return Err(Reject::new(Reason::MissingField, fault.to_string()));
            }
            required(&[("vendorId", &self.vendor_id)])?;
        }
        if let Some(location) = &self.location {
            place("location", location)?;
        }
        drop_blank(&mut self.vendor_type);
        drop_blank(&mut self.source);
        Ok(())
    }
}

impl Incoming<'_> for WeddingUpdate {
    const KIND: RecordKind = RecordKind::WeddingUpdate;
    type Owned = Self;

    fn settle(&mut self) -> Result<(), Reject> {
        required(&[
            ("eventId", &self.event_id),
            ("weddingId", &self.wedding_id),
            ("change", &self.change),
        ])?;
        drop_blank(&mut self.user_id);
        for (name, facts) in [
            ("weddingContext", &mut self.wedding_context),
            ("previous", &mut self.previous),
        ] {
            let Some(facts) = facts else { continue };
            if let Some(location) = &facts.location {
                place(&format!("{name}.location"), location)?;
            }
            drop_blank(&mut facts.wedding_id);
            drop_blank(&mut facts.wedding_style);
            facts.vendor_preferences.retain(|text| !is_blank(text));
        }
        Ok(())
    }
}

fn required(fields: &[(&str, &str)]) -> Result<(), Reject> {
    match fields.iter().find(|(_, text)| is_blank(text)) {
        Some((path, _)) => Err(blank(path)),
        None => Ok(()),
    }
}

fn place<S: AsRef<str>>(path: &str, location: &Location<S>) -> Result<(), Reject> {
    if is_blank(location.city.as_ref()) {
        return Err(blank(&format!("{path}.city")));
    }
    if is_blank(location.state.as_ref()) {
        return Err(blank(&format!("{path}.state")));
    }
    Ok(())
}

fn blank(path: &str) -> Reject {
    Reject::new(Reason::InvalidField, format!("{path}: must not be blank"))
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn drop_blank<S: AsRef<str>>(text: &mut Option<S>) {
    if text.as_ref().is_some_and(|text| is_blank(text.as_ref())) {
        *text = None;
    }
}
