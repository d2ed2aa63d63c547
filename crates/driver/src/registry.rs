//! A schema registry that responds when a test says so.

use std::collections::BTreeMap;

use wedcache_codec::Reject;

use super::Driver;

/// The registry that stands behind the decoder.
#[derive(Debug, Default)]
pub(super) enum Registry {
    /// None is configured.
    #[default]
    Absent,
    /// One is configured, and has responded about these schemas.
    Configured(BTreeMap<u32, Result<(), Reject>>),
}

/// A response of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// A JSON schema.
    Json,
    /// There is no such schema.
    Unknown,
}

impl Registry {
    /// Returns the response about a schema; `None` if it is still to come.
    pub(super) fn response(&self, schema_id: u32) -> Option<Result<(), Reject>> {
        match self {
            Self::Absent => Some(Err(Reject::no_registry(schema_id))),
            Self::Configured(responses) => responses.get(&schema_id).cloned(),
        }
    }
}

impl Driver {
    /// Configures a registry, which responds about a schema once
    /// [`Driver::registry_responds`] says so.
    pub fn configure_registry(&mut self) {
        self.registry = Registry::Configured(BTreeMap::new());
    }

    /// Lets the registry respond about a schema; [`Response::Json`] is that of values in JSON.
    pub fn registry_responds(&mut self, schema_id: u32, response: Response) {
        let schema = match response {
            Response::Json => {
                self.world.schemas.learn_json(schema_id);
                Ok(())
            }
            Response::Unknown => Err(Reject::unknown_schema_id(schema_id)),
        };
        if let Registry::Configured(responses) = &mut self.registry {
            responses.insert(schema_id, schema.clone());
        }
        self.queries_learnt(schema_id, &schema);
        self.changes_learnt(schema_id, &schema);
    }
}
