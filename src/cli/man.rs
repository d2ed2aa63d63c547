//! `wedcache man`: the manual pages, made from the same text as `--help`.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Cli;
use super::screen::Screen;

/// Write the manual pages, one per command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  wedcache man --dir /usr/local/share/man/man1 && man wedcache-run

Exit codes: 0 written · 1 not all could be written")]
pub struct Args {
    /// The directory to write to; created if it is missing.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let shown = args.dir.display();
    let failed = |error| anyhow::Error::new(error).context(format!("cannot write to {shown}"));
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(failed)?;
    writeln!(
        screen.out,
        "{shown}: wedcache.1 and a page for each command"
    )?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Look;

    #[test]
    fn every_command_has_a_page_and_may_be_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let args = Args {
            dir: folder.path().join("man1"),
        };
        for _ in 0..2 {
            let mut out = Vec::new();
            let mut screen = Screen {
                out: &mut out,
                look: Look {
                    unicode: false,
                    colour: false,
                },
                width: 100,
            };
            assert_eq!(run(&args, &mut screen).unwrap(), 0);
        }
        let page = |name: &str| std::fs::read_to_string(args.dir.join(name)).unwrap();
        assert!(page("wedcache.1").contains("wedcache\\-run(1)"));
        for command in Cli::command()
            .get_subcommands()
            .filter(|of| !of.is_hide_set())
        {
            let name = command.get_name();
            let page = page(&format!("wedcache-{name}.1"));
            assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
        }
    }
}
