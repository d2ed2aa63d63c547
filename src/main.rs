//! The `wedcache` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    wedcache::cli::main()
}
