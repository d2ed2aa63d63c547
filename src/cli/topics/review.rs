//! The differences between a cluster's topics and a topology's, topic by topic. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kafka::admin::{TopicState, plan};
use crate::kafka::{TopicAction, TopicSpec};
use crate::topics;

/// The specification of a topic, and the state in which the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub spec: TopicSpec,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Ok,
    Missing,
    Differs(Vec<Difference>),
}

/// One property that differs from the wanted one; the values as people read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub is: String,
    pub wanted: String,
    pub remedy: Remedy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    Alter,
    AddPartitions,
    /// A reassignment of partitions, which wedcache does not do.
    Reassign,
    /// Deletion of the topic, which then has to be created again.
    Recreate,
}

impl Remedy {
    pub fn advice(self) -> &'static str {
        match self {
            Self::Alter => "`topics apply --alter` sets it",
            Self::AddPartitions => "`topics apply --add-partitions` adds them",
            Self::Reassign => {
                "a reassignment adds them; --replication-factor where fewer are meant"
            }
            Self::Recreate => "its offsets are the clock: delete the topic, then `topics apply`",
        }
    }
}

/// The topics of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub topics: BTreeMap<String, TopicState>,
    pub copies: BTreeMap<String, i32>,
}

/// Returns the actions that would bring the cluster to `specs`, as far as
/// [`crate::kafka::Admin::apply`] can.
pub fn actions(specs: &[TopicSpec], found: &Found) -> Vec<TopicAction> {
    let mut fitted = specs.to_vec();
    topics::fit(&mut fitted, &found.copies);
    plan(&fitted, &found.topics)
}

/// Returns one review per topic, in the order of `specs`; `log` is the invalidation log.
pub fn review(specs: &[TopicSpec], found: &Found, log: &str) -> Vec<Review> {
    let mut reviews: Vec<Review> = specs
        .iter()
        .map(|spec| Review {
            spec: spec.clone(),
            state: if found.topics.contains_key(&spec.name) {
                State::Ok
            } else {
                State::Missing
            },
        })
        .collect();
    for action in actions(specs, found) {
        let (topic, difference) = match action {
            TopicAction::Create(_) | TopicAction::Ok { .. } => continue,
            TopicAction::TooFewPartitions { topic, is, wanted } => (
                topic,
                numbers("partitions", is, wanted, Remedy::AddPartitions),
            ),
            TopicAction::Differs {
                topic,
                config,
                is,
                wanted,
            } => {
                let difference = Difference {
                    is: is.map_or_else(|| "not known here".to_owned(), |is| shown(&config, &is)),
                    wanted: shown(&config, &wanted),
                    what: config,
                    remedy: Remedy::Alter,
                };
                (topic, difference)
            }
        };
        add(&mut reviews, &topic, difference);
    }
    for spec in specs {
        let partitions = found.topics.get(&spec.name).map(|state| state.partitions);
        if spec.name == log
            && let Some(is) = partitions.filter(|is| *is > spec.partitions)
        {
            let difference = numbers("partitions", is, spec.partitions, Remedy::Recreate);
            add(&mut reviews, log, difference);
        }
        if let Some(&is) = found.copies.get(&spec.name)
            && is < spec.replication
            && partitions.is_some()
        {
            let difference = numbers("copies", is, spec.replication, Remedy::Reassign);
            add(&mut reviews, &spec.name, difference);
        }
    }
    reviews
}

fn numbers(what: &str, is: i32, wanted: i32, remedy: Remedy) -> Difference {
    Difference {
        what: what.to_owned(),
        is: is.to_string(),
        wanted: wanted.to_string(),
        remedy,
    }
}

fn add(reviews: &mut [Review], topic: &str, difference: Difference) {
    let Some(review) = reviews.iter_mut().find(|review| review.spec.name == topic) else {
        return;
    };
    match &mut review.state {
        State::Differs(differences) => differences.push(difference),
        State::Ok | State::Missing => review.state = State::Differs(vec![difference]),
    }
}

/// Returns a config's value as people read it: times in the units of topology files, all else as it
/// is.
fn shown(config: &str, value: &str) -> String {
    let millis = config.strip_suffix(".ms").and_then(|_| value.parse().ok());
    millis.map_or_else(
        || value.to_owned(),
        |millis| lasting(Duration::from_millis(millis)),
    )
}

/// Returns a time in the largest unit that leaves no remainder: `14d`, `36h`, `90s`.
pub fn lasting(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    match units
        .into_iter()
        .find(|(_, unit)| millis.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::admin::ConfigState;

    fn spec(name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicSpec {
        let configs = configs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        TopicSpec {
            name: name.to_owned(),
            partitions,
            replication: 3,
            configs: configs.collect(),
        }
    }

    fn found(topic: &str, partitions: i32, copies: i32, configs: &[(&str, &str)]) -> Found {
        let configs = configs.iter().map(|(name, value)| {
            let state = ConfigState {
                value: Some((*value).to_owned()),
                is_own: true,
            };
            ((*name).to_owned(), state)
        });
        let state = TopicState {
            partitions,
            configs: configs.collect(),
        };
        Found {
            topics: [(topic.to_owned(), state)].into(),
            copies: [(topic.to_owned(), copies)].into(),
        }
    }

    #[track_caller]
    fn check(spec: TopicSpec, found: &Found, want: &[(&str, &str, &str, Remedy)]) {
        let differences = want.iter().map(|(what, is, wanted, remedy)| Difference {
            what: (*what).to_owned(),
            is: (*is).to_owned(),
            wanted: (*wanted).to_owned(),
            remedy: *remedy,
        });
        let want = match want {
            [] => State::Ok,
            _ => State::Differs(differences.collect()),
        };
        assert_eq!(review(&[spec], found, "log")[0].state, want);
    }

    #[test]
    fn differences_come_with_what_mends_them() {
        let insync = "min.insync.replicas";
        let wanted = [(insync, "2"), ("retention.ms", "86400000")];
        check(spec("t", 2, &wanted), &found("t", 2, 3, &wanted), &[]);
        // Only the invalidation log must not have more partitions than asked for.
        check(spec("t", 2, &wanted), &found("t", 9, 5, &wanted), &[]);
        check(
            spec("log", 1, &wanted),
            &found("log", 9, 3, &wanted),
            &[("partitions", "9", "1", Remedy::Recreate)],
        );
        check(
            spec("t", 6, &wanted),
            &found("t", 2, 3, &[(insync, "1"), ("retention.ms", "5400000")]),
            &[
                ("partitions", "2", "6", Remedy::AddPartitions),
                (insync, "1", "2", Remedy::Alter),
                ("retention.ms", "90m", "1d", Remedy::Alter),
            ],
        );
    }

    #[test]
    fn a_topic_of_one_copy_is_never_told_to_keep_two_in_sync() {
        let wanted = [("min.insync.replicas", "2")];
        check(
            spec("t", 1, &wanted),
            &found("t", 1, 1, &[("min.insync.replicas", "1")]),
            &[("copies", "1", "3", Remedy::Reassign)],
        );
    }

    #[test]
    fn what_is_not_there_is_missing() {
        let reviews = review(&[spec("t", 1, &[])], &Found::default(), "log");
        assert_eq!(reviews[0].state, State::Missing);
    }

    #[test]
    fn times_are_shown_in_the_units_of_topology_files() {
        for (millis, want) in [
            (1_209_600_000, "14d"),
            (129_600_000, "36h"),
            (90_000, "90s"),
            (1, "1ms"),
        ] {
            assert_eq!(lasting(Duration::from_millis(millis)), want);
        }
    }
}
