//! `wedcache schema`: the JSON Schema of topology files.

use std::io;

use super::screen::Screen;
use crate::topology::schema;

/// Print the JSON Schema of topology files (draft-07), for editors.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache schema > schemas/topology.schema.json

An editor with the YAML language server finds it by a file's first line:
  # yaml-language-server: $schema=../schemas/topology.schema.json")]
pub struct Args {}

/// Prints the schema; always returns 0.
pub fn run(_args: &Args, screen: &mut Screen<'_>) -> io::Result<u8> {
    screen.out.write_all(schema::json().as_bytes())?;
    Ok(0)
}
