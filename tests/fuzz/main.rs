//! Untrusted bytes: everything that reaches a decoder becomes an event or a reject with its reason,
//! and never causes a panic or more allocations than the input's size allows.
//!
//! Valid records are mutated, from a fixed seed: every run of the same program uses the same
//! inputs. Accepted inputs are mutated further. To search for longer, with another seed:
//!
//! ```text
//! WEDCACHE_FUZZ_SECS=600 WEDCACHE_FUZZ_SEED=7 cargo test --test fuzz -- --nocapture
//! ```
//!
//! A finding shows the decoder and its input in hexadecimal, and ends the run.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, speak, and be told how long to run"
)]

mod mutate;
mod seeds;
mod targets;

use std::alloc::System;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use cap::Cap;

use mutate::Mutator;
use targets::Target;

/// Counts what is allocated. Only this program uses it, and it runs one decoder at a time.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The most accepted inputs that are mutated further, in addition to the seeds.
const CORPUS: usize = 200;

enum Bound {
    /// This number of inputs for each decoder, divided by the decoder's weight.
    Inputs(u32),
    Time(Duration),
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[test]
fn no_bytes_of_strangers_break_a_decoder() {
    let bound = number("WEDCACHE_FUZZ_SECS").map_or(Bound::Inputs(4_000), |secs| {
        Bound::Time(Duration::from_secs(secs))
    });
    let seed = number("WEDCACHE_FUZZ_SEED").unwrap_or(1);
    let targets = targets::all();
    for mut target in targets {
        let (inputs, accepted, most) = fuzz(&mut target, &bound, seed);
        eprintln!(
            "{:<18} {inputs:>8} inputs, {accepted:>7} accepted, at most {most} bytes allocated beyond its own size's",
            target.name
        );
        assert!(
            inputs > 0 && accepted > 0,
            "{} was not reached",
            target.name
        );
        assert!(accepted < inputs, "{} accepted everything", target.name);
    }
}

/// Returns how many inputs there were, how many were accepted, and the most that one allocated
/// beyond what its size allows.
fn fuzz(target: &mut Target, bound: &Bound, seed: u64) -> (u32, u32, usize) {
    let mut mutator = Mutator::new(seed, target.dictionary);
    let mut corpus: Vec<Vec<u8>> = target.seeds.clone();
    for seed in &corpus {
        assert!(
            run(target, seed).0,
            "a seed of {} is not valid: {}",
            target.name,
            String::from_utf8_lossy(seed)
        );
    }
    let (began, mut inputs, mut accepted, mut most) = (Instant::now(), 0, 0, 0);
    while match bound {
        Bound::Inputs(count) => inputs < (count / target.weight).max(1),
        Bound::Time(time) => began.elapsed() < *time,
    } {
        let mut input = mutator.mutated(&corpus);
        (target.mend)(&mut input);
        let (good, beyond) = run(target, &input);
        inputs += 1;
        accepted += u32::from(good);
        most = most.max(beyond);
        if good {
            let fixed = target.seeds.len();
            if corpus.len() < fixed + CORPUS {
                corpus.push(input);
            } else {
                corpus[fixed + mutator.below(CORPUS)] = input;
            }
        }
    }
    (inputs, accepted, most)
}

fn run(target: &mut Target, input: &[u8]) -> (bool, usize) {
    let before = ALLOCATOR.total_allocated();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let allocated = ALLOCATOR.total_allocated() - before;
    let good =
        outcome.unwrap_or_else(|_| panic!("{} broke, see above, on {}", target.name, hex(input)));
    let beyond = allocated.saturating_sub(target.per_byte * input.len());
    assert!(
        beyond <= target.allowance,
        "{} allocated {allocated} bytes for {} bytes: {}",
        target.name,
        input.len(),
        hex(input)
    );
    (good, beyond)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
