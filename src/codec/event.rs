//! What a decoded event must hold beyond its types: ids and names that are really there.

use serde::de::DeserializeOwned;

use super::reject::{Reason, Reject};
use super::schemas::RecordKind;
use crate::model::event::Location;
use crate::model::{AiAnswer, AiQuery, VendorChange, WeddingUpdate};

/// A record that is read.
pub(super) trait Incoming: DeserializeOwned {
    const KIND: RecordKind;

    /// Refuses required text that is blank, and takes optional text that is blank as left out:
    /// a blank wedding id must never be an id that couples share.
    fn settle(&mut self) -> Result<(), Reject>;
}

impl Incoming for AiQuery {
    const KIND: RecordKind = RecordKind::AiQuery;

    fn settle(&mut self) -> Result<(), Reject> {
        let context = &mut self.wedding_context;
        required(&[
            ("queryId", &self.query_id),
            ("query.type", &self.query.cache_type),
            ("query.content", &self.query.content),
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
            texts.retain(|text| !is_blank(text));
        }
        Ok(())
    }
}

/// What we sent ourselves, read again by those who check it: its fields are taken as they are.
impl Incoming for AiAnswer<'static> {
    const KIND: RecordKind = RecordKind::AiAnswer;

    fn settle(&mut self) -> Result<(), Reject> {
        Ok(())
    }
}

impl Incoming for VendorChange {
    const KIND: RecordKind = RecordKind::VendorChange;

    fn settle(&mut self) -> Result<(), Reject> {
        required(&[
            ("eventId", &self.event_id),
            ("vendorId", &self.vendor_id),
            ("change", &self.change),
        ])?;
        if let Some(location) = &self.location {
            place("location", location)?;
        }
        drop_blank(&mut self.vendor_type);
        drop_blank(&mut self.source);
        Ok(())
    }
}

impl Incoming for WeddingUpdate {
    const KIND: RecordKind = RecordKind::WeddingUpdate;

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

fn place(path: &str, location: &Location) -> Result<(), Reject> {
    if is_blank(&location.city) {
        return Err(blank(&format!("{path}.city")));
    }
    if is_blank(&location.state) {
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

fn drop_blank(text: &mut Option<String>) {
    if text.as_deref().is_some_and(is_blank) {
        *text = None;
    }
}
