//! What the results depend on: the same season with one assumption changed at a time.

use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::figures::{Counts, Figures};
use super::{Assumptions, Options, run};
use crate::model::Sharing;
use crate::topology::Topology;

/// One run beside the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variation {
    /// What was changed, and to what.
    pub what: String,
    pub queries: u64,
    /// All in per cent.
    pub hit_rate: f64,
    pub shared_hit_rate: f64,
    pub private_hit_rate: f64,
    /// Of a couple's repeats within a day.
    pub repeats: f64,
    pub saved: f64,
    pub forbidden: u64,
}

/// What is changed; the first changes nothing.
pub fn variations(base: &Assumptions) -> Vec<(String, Assumptions)> {
    let platform = |factor: f64| format!("platform ×{factor}");
    let sampled = |sample: usize| Assumptions { sample, ..*base };
    let with = |change: &dyn Fn(&mut Assumptions)| {
        let mut changed = *base;
        change(&mut changed);
        changed
    };
    let mut all = vec![("as assumed".to_owned(), *base)];
    for zipf in [0.7, 1.1] {
        all.push((format!("Zipf exponent {zipf}"), with(&|of| of.zipf = zipf)));
    }
    for count in [20, 200] {
        let changed = with(&|of| of.questions_per_type = count);
        all.push((format!("{count} questions a type"), changed));
    }
    for share in [0.0, 0.2] {
        let changed = with(&|of| of.free_text = share);
        all.push((format!("{:.0} % typed by couples", share * 100.0), changed));
    }
    for rate in [0.25, 4.0] {
        let changed = with(&|of| of.change_rate = rate);
        all.push((format!("changes ×{rate}"), changed));
    }
    if base.sample >= 16 {
        all.push((platform(1.0 / 16.0), sampled(base.sample / 16)));
    }
    if base.sample >= 4 {
        all.push((platform(0.25), sampled(base.sample / 4)));
    }
    if base.sample <= 64 {
        all.push((platform(4.0), sampled(base.sample * 4)));
    }
    if base.sample <= 16 {
        all.push((platform(16.0), sampled(base.sample * 16)));
    }
    all
}

/// Runs them all; `on_run` is told each one's name as it begins.
pub fn study(
    topology: &Arc<Topology>,
    options: &Options,
    mut on_run: impl FnMut(&str),
) -> io::Result<Vec<Variation>> {
    variations(&options.assumptions)
        .into_iter()
        .map(|(what, assumptions)| {
            on_run(&what);
            let options = Options {
                assumptions,
                ..options.clone()
            };
            let figures = run(topology, &options, |_| {})?;
            Ok(variation(what, topology, &figures))
        })
        .collect()
}

fn variation(what: String, topology: &Topology, figures: &Figures) -> Variation {
    let rate = |sharing: Sharing| {
        let is_of = |name: &str| {
            let of = topology.catalog.get(name);
            of.is_some_and(|of| of.sharing == sharing)
        };
        let of = figures.by_type.iter().filter(|of| is_of(of.name));
        Counts::sum(of.map(|of| &of.value)).hit_rate()
    };
    Variation {
        what,
        queries: figures.total.queries,
        hit_rate: figures.total.hit_rate(),
        shared_hit_rate: rate(Sharing::Shared),
        private_hit_rate: rate(Sharing::Private),
        repeats: figures.repeats.within_a_day.rate(),
        saved: figures.total.saved_rate(),
        forbidden: figures.forbidden,
    }
}
