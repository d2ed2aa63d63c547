//! The findings of a season, in sentences; they come before the tables.

use super::{number, share, usd};
use crate::simulate::figures::Figures;

/// Returns what was found and why, the most important first.
pub(super) fn findings(figures: &Figures) -> Vec<String> {
    let total = &figures.total;
    let repeats = &figures.repeats;
    let mut found = vec![
        format!(
            "The cache answered {:.1} % of all queries, another query's call {} %; that saved {:.1} \
             % of what the model would have cost (${} of ${}).",
            total.hit_rate(),
            share(total.coalesced, total.queries),
            total.saved_rate(),
            usd(total.saved_usd),
            usd(total.saved_usd + total.spent_usd),
        ),
        truth(figures),
        reasons(figures),
    ];
    if repeats.ever.queries > 0 {
        found.push(format!(
            "Couples who repeated a question were answered from the cache in {:.1} % of cases within \
             an hour, {:.1} % within a day, {:.1} % ever.",
            repeats.within_an_hour.rate(),
            repeats.within_a_day.rate(),
            repeats.ever.rate(),
        ));
    }
    found.push(format!(
        "A query took {:.0} ms in the mean: a hit takes next to nothing, a miss waits for the \
         model.",
        total.mean_millis(),
    ));
    found
}

fn truth(figures: &Figures) -> String {
    let (judged, changes) = (number(figures.judged), number(figures.log.changes()));
    match figures.forbidden {
        0 => format!(
            "None of {judged} answers was one that a change had forbidden; there were {changes} \
             changes."
        ),
        forbidden => format!(
            "{} of {judged} answers were given although a change had forbidden them; there were \
             {changes} changes.",
            number(forbidden)
        ),
    }
}

/// Describes why the model was called, and what would help most.
fn reasons(figures: &Figures) -> String {
    let total = &figures.total;
    let [cold, expired, invalidated, too_old, gone] = total.misses;
    let asked = total.misses.iter().sum::<u64>();
    let of_all = |count| share(count, total.queries);
    let first = cold + gone;
    let most = first.max(expired).max(invalidated).max(too_old);
    let so = if asked == 0 {
        ""
    } else if most == expired {
        " So times to live matter most, not changes: --ttl-factor shows what longer ones bring."
    } else if most == first {
        " So it matters most how many couples share an answer: --sensitivity shows by how much."
    } else if most == invalidated {
        " So changes matter most: the rules decide how much each of them forbids."
    } else {
        " So the age that queries ask for matters most."
    };
    format!(
        "The model was asked for {} % of all queries: {} % were the first of their kind, {} % found \
         an answer that had expired, {} % one that a change had forbidden.{so}",
        of_all(asked),
        of_all(cold),
        of_all(expired),
        of_all(invalidated),
    )
}
