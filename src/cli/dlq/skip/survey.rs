//! The survey of a range: which records can be read, and where the bad batches end. Pure but for
//! the probe.

use crate::kafka::probe::Probe;
use crate::kafka::standstill::BadBatch;

/// The most bad batches in a row that are searched for; beyond that, the operator names the end.
const MOST_BATCHES: usize = 64;

/// A range in which no record can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// One past the last offset of the range.
    pub to: i64,
    pub bad: Vec<BadBatch>,
}

/// The reason why a range may not be skipped.
#[derive(Debug, thiserror::Error)]
pub enum NotSkipped {
    #[error(
        "the record at offset {0} can be read: only what cannot is skipped (--force skips it too)"
    )]
    Readable(i64),
    #[error("there is no record in it: nothing is to be skipped")]
    Empty,
    #[error(
        "the batch at offset {batch} ends at {end}, behind {to}: nothing would come from there either"
    )]
    EndsInside { batch: i64, to: i64, end: i64 },
    #[error(
        "nothing comes from offset {0}, and nothing says why: look at the partition's leader (--force skips it all the same)"
    )]
    Silent(i64),
    #[error(
        "more than {MOST_BATCHES} batches from offset {from} to {at} cannot be read: name the end"
    )]
    Many { from: i64, at: i64 },
    #[error(transparent)]
    Probe(#[from] anyhow::Error),
}

/// Surveys the offsets from `from` on, up to `to`, or without `to` up to the next record that can
/// be read. The partition ends at `end`.
pub async fn survey(
    (from, to, end): (i64, Option<i64>, i64),
    mut probe: impl AsyncFnMut(i64) -> anyhow::Result<Probe>,
) -> Result<Survey, NotSkipped> {
    let (mut at, mut bad) = (from, Vec::new());
    while at < to.unwrap_or(end) {
        match probe(at).await? {
            Probe::Record(offset)
                if to.is_none_or(|to| offset < to) && (to.is_some() || bad.is_empty()) =>
            {
                return Err(NotSkipped::Readable(offset));
            }
            Probe::Record(_) => break,
            Probe::Silence => return Err(NotSkipped::Silent(at)),
            Probe::Bad(_) if bad.len() == MOST_BATCHES => {
                return Err(NotSkipped::Many { from, at });
            }
            Probe::Bad(batch) => {
                if bad.last() != Some(&batch) {
                    bad.push(batch);
                }
                at = end_of(batch, at, end, &mut probe).await?;
            }
        }
    }
    match (to, bad.last()) {
        (_, None) => Err(NotSkipped::Empty),
        (Some(to), Some(last)) if at > to => Err(NotSkipped::EndsInside {
            batch: last.offset,
            to,
            end: at,
        }),
        (to, Some(_)) => Ok(Survey {
            to: to.unwrap_or(at),
            bad,
        }),
    }
}

/// Returns one past the last offset of a batch that was found at `at`.
async fn end_of(
    batch: BadBatch,
    at: i64,
    end: i64,
    probe: &mut impl AsyncFnMut(i64) -> anyhow::Result<Probe>,
) -> anyhow::Result<i64> {
    // Silence counts as outside the batch: the survey's next probe starts there and reports it.
    let mut holds =
        async |offset| anyhow::Ok(offset < end && probe(offset).await? == Probe::Bad(batch));
    let (mut inside, mut step) = (at.max(batch.offset), 1);
    let mut outside = loop {
        let ahead = (inside + step).min(end);
        if !holds(ahead).await? {
            break ahead;
        }
        (inside, step) = (ahead, step * 2);
    };
    while outside - inside > 1 {
        let middle = inside + (outside - inside) / 2;
        if holds(middle).await? {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    Ok(outside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::standstill::BatchFault;

    /// A batch by its first offset and the one past its last; offsets between batches were
    /// compacted away.
    #[derive(Clone, Copy)]
    enum Batch {
        Good(i64, i64),
        Bad(i64, i64),
        Silent(i64),
    }
    use Batch::{Bad, Good, Silent};

    fn bad(offset: i64) -> BadBatch {
        BadBatch {
            offset,
            fault: BatchFault::Codec(4),
        }
    }

    fn survey_of(
        batches: &[Batch],
        from: i64,
        to: Option<i64>,
        probes: &mut usize,
    ) -> Result<Survey, String> {
        let end = match batches.last() {
            Some(Good(_, end) | Bad(_, end) | Silent(end)) => *end,
            None => 0,
        };
        let probe = async |at: i64| {
            *probes += 1;
            let found = batches.iter().find_map(|batch| match *batch {
                Good(first, end) if at < end => Some(Probe::Record(at.max(first))),
                Bad(first, end) if at < end => Some(Probe::Bad(bad(first))),
                Silent(end) if at < end => Some(Probe::Silence),
                _ => None,
            });
            Ok(found.expect("nothing is asked for behind the end"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let surveyed = runtime.unwrap().block_on(survey((from, to, end), probe));
        surveyed.map_err(|why| why.to_string())
    }

    fn found(to: i64, first: &[i64]) -> Survey {
        let bad = first.iter().map(|offset| bad(*offset)).collect();
        Survey { to, bad }
    }

    #[test]
    fn a_range_ends_where_records_can_be_read_again() {
        let two = [Good(0, 5), Bad(5, 9), Bad(9, 4009), Good(4009, 4010)];
        let gaps = [Good(0, 3), Bad(5, 9), Good(20, 22), Bad(22, 23)];
        let last = [Good(0, 5), Bad(5, 9)];
        for (batches, from, to, want) in [
            (&two[..], 5, None, found(4009, &[5, 9])),
            (&two, 7, None, found(4009, &[5, 9])),
            (&two, 5, Some(9), found(9, &[5])),
            (&two, 5, Some(4009), found(4009, &[5, 9])),
            (&gaps, 3, None, found(9, &[5])),
            (&gaps, 4, Some(18), found(18, &[5])),
            (&gaps, 22, None, found(23, &[22])),
            (&last, 5, None, found(9, &[5])),
        ] {
            let mut probes = 0;
            assert_eq!(
                survey_of(batches, from, to, &mut probes),
                Ok(want),
                "{from} {to:?}"
            );
            assert!(probes < 40, "{probes} probes");
        }
    }

    #[test]
    fn what_can_be_read_or_is_not_known_is_not_skipped() {
        let batches = [Good(0, 5), Bad(5, 9), Good(9, 12), Silent(14)];
        for (from, to, want) in [
            (4, None, "the record at offset 4 can be read"),
            (5, Some(10), "the record at offset 9 can be read"),
            (5, Some(7), "the batch at offset 5 ends at 9, behind 7"),
            (12, None, "nothing comes from offset 12"),
            (12, Some(13), "nothing comes from offset 12"),
        ] {
            let why = survey_of(&batches, from, to, &mut 0).unwrap_err();
            assert!(why.starts_with(want), "{why}");
        }
        let gap = [Good(0, 5), Good(9, 10)];
        let why = survey_of(&gap, 5, Some(8), &mut 0).unwrap_err();
        assert!(why.starts_with("there is no record in it"), "{why}");
        let many: Vec<_> = (0..80).map(|at| Bad(at, at + 1)).collect();
        let why = survey_of(&many, 0, None, &mut 0).unwrap_err();
        assert!(why.starts_with("more than 64 batches"), "{why}");
        assert_eq!(
            survey_of(&many, 0, Some(3), &mut 0),
            Ok(found(3, &[0, 1, 2]))
        );
    }
}
