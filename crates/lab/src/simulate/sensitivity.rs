//! The sensitivity of the results: a season with one assumption changed at a time.

use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::figures::{Counts, Figures};
use super::{Assumptions, Options, run};
use wedcache::model::Sharing;
use wedcache::topology::Topology;

/// The results of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variation {
    /// The assumption that was changed, and its value.
    pub what: String,
    pub queries: u64,
    /// Hit rate of all queries, in percent; all rates here are in percent.
    pub hit_rate: f64,
    pub shared_hit_rate: f64,
    pub private_hit_rate: f64,
    /// Hit rate of a couple's repeats within a day.
    pub repeats: f64,
    pub saved: f64,
    pub forbidden: u64,
}

/// Returns the runs with their names; the first one changes nothing.
pub fn variations(base: &Options) -> Vec<(String, Options)> {
    let with = |change: &dyn Fn(&mut Assumptions)| {
        let mut changed = base.clone();
        change(&mut changed.assumptions);
        changed
    };
    let mut all = vec![("as assumed".to_owned(), base.clone())];
    for zipf in [0.7, 1.1] {
        let changed = with(&|of| of.zipf = zipf);
        all.push((format!("Zipf exponent {zipf}"), changed));
    }
    for count in [20, 200] {
        let changed = with(&|of| of.questions_per_type = count);
        all.push((format!("{count} questions a type"), changed));
    }
    for share in [0.0, 0.2] {
        let changed = with(&|of| of.free_text = share);
        all.push((format!("{:.0} % typed freely", share * 100.0), changed));
    }
    for share in [0.2, 0.5] {
        let changed = with(&|of| of.asked_again = share);
        all.push((format!("{:.0} % asked again", share * 100.0), changed));
    }
    for rate in [0.25, 4.0] {
        let changed = with(&|of| of.change_rate = rate);
        all.push((format!("changes ×{rate}"), changed));
    }
    for ttl_factor in [3.0, 7.0] {
        let changed = Options {
            ttl_factor: base.ttl_factor * ttl_factor,
            ..base.clone()
        };
        all.push((format!("times to live ×{ttl_factor}"), changed));
    }
    // More couples in the same cells stand for a larger platform.
    for (name, up, down) in [("1/4", 1, 4), ("4", 4, 1), ("16", 16, 1)] {
        let queries = (base.queries * up / down).max(1);
        let changed = Options {
            queries,
            ..base.clone()
        };
        all.push((format!("platform ×{name}"), changed));
    }
    all
}

/// Runs all variations; `on_run` is called with each one's name as it begins.
pub fn study(
    topology: &Arc<Topology>,
    options: &Options,
    mut on_run: impl FnMut(&str),
) -> io::Result<Vec<Variation>> {
    variations(options)
        .into_iter()
        .map(|(what, options)| {
            on_run(&what);
            let figures = run(topology, &options, |_| {})?;
            Ok(variation(what, topology, &figures))
        })
        .collect()
}

fn variation(what: String, topology: &Topology, figures: &Figures) -> Variation {
    let rate = |sharing: Sharing| {
        let is_of = |name: &str| {
            let of = topology.policy.catalog.get(name);
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
