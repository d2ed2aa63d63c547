//! `wedcache graph`: a drawing of a topology.

use super::screen::Screen;
use super::{Text, TopologyArgs};
use crate::topology::graph::{Format, draw};
use crate::topology::{self, Variables};

/// Draw a topology: topics, stages, layers, providers, cache types and rules.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache graph topologies/wedsync.yaml
  wedcache graph --format mermaid topologies/wedsync.yaml > topology.mmd
  wedcache graph --format dot topologies/wedsync.yaml | dot -Tsvg > topology.svg")]
pub struct Args {
    #[command(flatten)]
    topology: TopologyArgs,
    /// The format of the drawing.
    #[arg(long, value_enum, default_value_t = GraphFormat::Terminal)]
    format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphFormat {
    /// Boxes, 100 columns wide; plain ASCII where the locale has no Unicode.
    Terminal,
    /// Boxes in plain ASCII, without colours.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
}

/// Prints the drawing; returns 0, or 1 when the file is not valid. Variables are not resolved: a
/// drawing needs none.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let Text { file, text } = args.topology.source().read()?;
    let loaded = match topology::read(&file, &text, Variables::Unresolved) {
        Ok(loaded) => loaded,
        Err(problems) => {
            screen
                .out
                .write_all(problems.render(screen.look, screen.width).as_bytes())?;
            return Ok(1);
        }
    };
    let format = match args.format {
        GraphFormat::Terminal => Format::Terminal,
        GraphFormat::Text => Format::Text,
        GraphFormat::Mermaid => Format::Mermaid,
        GraphFormat::Dot => Format::Dot,
    };
    screen
        .out
        .write_all(draw(&loaded.topology, format, screen.look).as_bytes())?;
    Ok(0)
}
