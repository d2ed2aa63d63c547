//! The choice of dead letters by a command's arguments. Pure: the current time is an argument.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::builder::PossibleValuesParser;

use super::letter::{Letter, LetterOrder};
use crate::codec::Reason;
use crate::kafka::dead_letters::UNDECODABLE_BATCH;
use crate::model::Timestamp;

#[derive(Debug, Clone, Default, clap::Args)]
pub struct Filter {
    /// Only letters with this reason; may be repeated, or a list with commas.
    #[arg(long, value_name = "REASON", value_delimiter = ',',
        value_parser = PossibleValuesParser::new(reasons()))]
    pub reason: Vec<String>,
    /// Only letters that came from this topic; may be repeated, or a list with commas.
    #[arg(long, value_name = "TOPIC", value_delimiter = ',')]
    pub topic: Vec<String>,
    /// Only letters since then: a time span before now, as in `2h`, or an RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// Only the letter at this place, as in the output of `list`; may be repeated, or a list with
    /// commas.
    #[arg(long, value_name = "PARTITION:OFFSET", value_delimiter = ',')]
    pub at: Vec<At>,
    /// Only the newest N letters that pass the other filters.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

fn reasons() -> impl Iterator<Item = &'static str> {
    let reasons = Reason::ALL.into_iter().map(Reason::as_str);
    reasons.chain([UNDECODABLE_BATCH])
}

/// A place in the dead-letter topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    partition: i32,
    offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Ago(std::time::Duration),
    Time(Timestamp),
}

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("expected a partition and an offset, such as 0:12")]
    At,
    #[error("expected a time span such as 30m or 2h, or a time such as 2026-11-22T10:00:00Z")]
    Since,
}

impl FromStr for At {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (partition, offset) = text.split_once(':').ok_or(FilterError::At)?;
        Ok(Self {
            partition: partition.parse().map_err(|_| FilterError::At)?,
            offset: offset.parse().map_err(|_| FilterError::At)?,
        })
    }
}

impl FromStr for Since {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        match (humantime::parse_duration(text), Timestamp::parse(text)) {
            (Ok(span), _) => Ok(Self::Ago(span)),
            (_, Ok(time)) => Ok(Self::Time(time)),
            _ => Err(FilterError::Since),
        }
    }
}

impl Since {
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Ago(span) => {
                let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
                Timestamp(now.0.saturating_sub(millis))
            }
        }
    }
}

impl Filter {
    /// Returns true if the letter passes the filter, without regard to its limit.
    pub fn fits(&self, letter: &Letter, now: Timestamp) -> bool {
        let one_of = |wanted: &[String], is: Option<&str>| {
            wanted.is_empty() || wanted.iter().any(|wanted| Some(wanted.as_str()) == is)
        };
        let first = self
            .since
            .map_or(Timestamp(i64::MIN), |since| since.at(now));
        let at = At {
            partition: letter.partition,
            offset: letter.record.offset,
        };
        one_of(&self.reason, Some(&letter.reason()))
            && one_of(&self.topic, letter.source().as_deref())
            && (self.at.is_empty() || self.at.contains(&at))
            && letter.record.timestamp >= first
    }
}

/// One value for each of the newest letters, at most `limit`, oldest first.
#[derive(Debug)]
pub struct Newest<T> {
    limit: usize,
    kept: BTreeMap<LetterOrder, T>,
}

impl<T> Newest<T> {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: BTreeMap::new(),
        }
    }

    pub fn put(&mut self, place: LetterOrder, what: T) {
        self.kept.insert(place, what);
        if self.kept.len() > self.limit {
            self.kept.pop_first();
        }
    }

    pub fn into_kept(self) -> BTreeMap<LetterOrder, T> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalidation::log::StoredRecord;
    use crate::kafka::dead_letters::Field;

    fn letter(reason: &str, topic: &str, offset: i64) -> Letter {
        let header =
            |field: Field, value: &str| (field.name().to_owned(), Some(value.as_bytes().to_vec()));
        Letter {
            partition: 2,
            record: StoredRecord {
                key: None,
                value: None,
                headers: vec![header(Field::Reason, reason), header(Field::Topic, topic)],
                offset,
                timestamp: Timestamp(offset * 1000),
            },
        }
    }

    #[test]
    fn a_letter_is_meant_when_every_part_of_the_filter_fits() {
        let all = Filter::default();
        let reason = |text: &str| Filter {
            reason: text.split(',').map(str::to_owned).collect(),
            ..Filter::default()
        };
        let topic = |text: &str| Filter {
            topic: vec![text.to_owned()],
            ..Filter::default()
        };
        let since = |text: &str| Filter {
            since: Some(text.parse().unwrap()),
            ..Filter::default()
        };
        let at = |text: &str| Filter {
            at: vec!["9:9".parse().unwrap(), text.parse().unwrap()],
            ..Filter::default()
        };
        for (filter, want) in [
            (all, true),
            (reason("too_large"), true),
            (reason("empty_value,too_large"), true),
            (reason("empty_value"), false),
            (topic("q"), true),
            (topic("wedcache"), false),
            (since("10s"), true),
            (since("9s"), false),
            (since("1970-01-01T00:00:50Z"), true),
            (since("1970-01-01T00:00:50.001Z"), false),
            (at("2:50"), true),
            (at("1:50"), false),
            (
                Filter {
                    topic: vec!["other".to_owned()],
                    ..reason("too_large")
                },
                false,
            ),
        ] {
            let fits = filter.fits(&letter("too_large", "q", 50), Timestamp(60_000));
            assert_eq!(fits, want, "{filter:?}");
        }
    }

    #[test]
    fn what_is_no_place_and_no_time_is_refused() {
        for text in ["", "1", "1:", ":1", "a:1", "1:2:3"] {
            assert!(text.parse::<At>().is_err(), "{text}");
        }
        for text in ["", "10", "yesterday", "2026-11-22"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_newest_are_kept_in_order_whatever_order_they_come_in() {
        let mut newest = Newest::new(2);
        for (place, what) in [((5, 0, 1), 'b'), ((9, 0, 2), 'c'), ((1, 1, 7), 'a')] {
            newest.put(place, what);
        }
        let kept: String = newest.into_kept().into_values().collect();
        assert_eq!(kept, "bc");
        let mut none = Newest::new(0);
        none.put((1, 1, 1), 'a');
        assert!(none.into_kept().is_empty());
    }
}
