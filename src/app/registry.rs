//! The schema registry's client, and the framing of each output topic.

use std::sync::Arc;

use crate::codec::framing;
use crate::codec::{
    self as codec, Format, Framings, RecordKind, Registry, RegistryError, RegistryOptions, Schemas,
};
use crate::topology::settings::{self, RegistryAuth, Role, Topics};

pub fn client(
    settings: Option<&settings::Registry>,
    schemas: &Arc<Schemas>,
) -> Result<Option<Registry>, RegistryError> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let mut options = RegistryOptions::new(settings.urls.clone());
    options.auth = settings.auth.as_ref().map(|auth| match auth {
        RegistryAuth::Basic { user, password } => codec::RegistryAuth::Basic {
            user: user.clone(),
            password: password.clone(),
        },
        RegistryAuth::Bearer(token) => codec::RegistryAuth::Bearer(token.clone()),
    });
    Registry::new(options, Arc::clone(schemas)).map(Some)
}

/// Registers the schemas of the outputs that are framed for a registry; returns all framings.
pub async fn framings(
    topics: &Topics,
    registry: Option<&Registry>,
) -> Result<Framings, RegistryError> {
    let of = async |role, kind| {
        let topic = topics.get(role);
        let format = match topic.format.unwrap_or_default() {
            settings::Format::Json => Format::Json,
            settings::Format::Avro => Format::AvroSingleObject,
            settings::Format::Confluent => Format::Confluent,
        };
        framing(format, &topic.name, kind, registry).await
    };
    Ok(Framings {
        answers: of(Role::Answers, RecordKind::AiAnswer).await?,
        metrics: of(Role::Metrics, RecordKind::CacheMetric).await?,
        alerts: of(Role::Alerts, RecordKind::CacheAlert).await?,
        audit: of(Role::Audit, RecordKind::AuditRecord).await?,
    })
}
