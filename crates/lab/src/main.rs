//! The `wedcache-lab` program; everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// As in `wedcache`, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    wedcache_lab::cli::main()
}
