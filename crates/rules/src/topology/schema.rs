//! The JSON Schema of topology files, for editors, and the required fields that the decoder takes
//! from it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::decode::Required;
use super::shape::TopologyFile;

/// Returns the schema as JSON text with a line end, in draft-07, the newest version that editors
/// read.
pub fn json() -> String {
    let mut text = serde_json::to_string_pretty(&root()).expect("a schema is JSON");
    text.push('\n');
    text
}

fn root() -> Value {
    let generator = SchemaSettings::draft07().for_deserialize().into_generator();
    let mut schema = generator.into_root_schema_for::<TopologyFile>();
    schema.insert("title".to_owned(), "wedcache topology".into());
    schema.to_value()
}

/// Returns the required fields of every struct by its name. The top level is left to the builder,
/// which can distinguish broken sections from missing ones.
pub(super) fn required_fields() -> Required {
    let root = root();
    let definitions = root.get("definitions").and_then(Value::as_object);
    definitions
        .into_iter()
        .flatten()
        .filter_map(|(name, schema)| {
            let fields = schema.get("required")?.as_array()?;
            let fields = fields.iter().filter_map(Value::as_str).map(str::to_owned);
            Some((name.clone(), fields.collect()))
        })
        .collect()
}
