//! `wedcache completions`: the scripts with which a shell completes our commands.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::screen::Screen;

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache completions bash > /etc/bash_completion.d/wedcache
  wedcache completions zsh  > ~/.zfunc/_wedcache")]
pub struct Args {
    /// The shell whose completion script is printed.
    shell: Shell,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> std::io::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wedcache", &mut script);
    screen.out.write_all(&script)?;
    Ok(0)
}
