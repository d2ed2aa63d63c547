//! The topic settings of Apache Kafka: names, defaults, and legal values.
//!
//! All are stored and described; the broker itself applies `max.message.bytes` and
//! `message.timestamp.type`, and `cleanup.policy=compact` only on demand.

use std::collections::BTreeMap;

pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
pub const MESSAGE_TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// Apache Kafka's default of `max.message.bytes`.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// The type of a value; the numbers are those of `DescribeConfigs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// A setting with its default.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub name: &'static str,
    pub default: &'static str,
    pub kind: ConfigType,
    /// The legal words; empty if any word is legal.
    words: &'static [&'static str],
}

const fn known(name: &'static str, default: &'static str, kind: ConfigType) -> Known {
    Known {
        name,
        default,
        kind,
        words: &[],
    }
}

/// The known settings, see <https://kafka.apache.org/documentation/#topicconfigs>.
pub const TOPIC_CONFIGS: &[Known] = &[
    Known {
        name: "cleanup.policy",
        default: "delete",
        kind: ConfigType::List,
        words: &["compact", "delete"],
    },
    Known {
        name: "compression.type",
        default: "producer",
        kind: ConfigType::String,
        words: &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"],
    },
    known("delete.retention.ms", "86400000", ConfigType::Long),
    known("file.delete.delay.ms", "60000", ConfigType::Long),
    known("flush.messages", "9223372036854775807", ConfigType::Long),
    known("flush.ms", "9223372036854775807", ConfigType::Long),
    known("index.interval.bytes", "4096", ConfigType::Int),
    known(
        "max.compaction.lag.ms",
        "9223372036854775807",
        ConfigType::Long,
    ),
    known(MAX_MESSAGE_BYTES, "1048588", ConfigType::Int),
    known(
        "message.timestamp.after.max.ms",
        "3600000",
        ConfigType::Long,
    ),
    known(
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        ConfigType::Long,
    ),
    Known {
        name: MESSAGE_TIMESTAMP_TYPE,
        default: "CreateTime",
        kind: ConfigType::String,
        words: &["CreateTime", "LogAppendTime"],
    },
    known("min.cleanable.dirty.ratio", "0.5", ConfigType::Double),
    known("min.compaction.lag.ms", "0", ConfigType::Long),
    known("min.insync.replicas", "1", ConfigType::Int),
    known("preallocate", "false", ConfigType::Boolean),
    known("retention.bytes", "-1", ConfigType::Long),
    known("retention.ms", "604800000", ConfigType::Long),
    known("segment.bytes", "1073741824", ConfigType::Int),
    known("segment.index.bytes", "10485760", ConfigType::Int),
    known("segment.jitter.ms", "0", ConfigType::Long),
    known("segment.ms", "604800000", ConfigType::Long),
    known(
        "unclean.leader.election.enable",
        "false",
        ConfigType::Boolean,
    ),
];

/// A topic's own settings; all others have their defaults.
#[derive(Clone, Debug, Default)]
pub struct TopicConfig {
    set: BTreeMap<&'static str, String>,
}

impl TopicConfig {
    /// Sets a value if the name is known and the value is legal.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let known = find(name)?;
        if !known.allows(value) {
            return Err(ConfigError::Value {
                name: known.name,
                value: value.to_owned(),
            });
        }
        self.set.insert(known.name, value.to_owned());
        Ok(())
    }

    /// Resets a setting to its default.
    pub fn unset(&mut self, name: &str) -> Result<(), ConfigError> {
        self.set.remove(find(name)?.name);
        Ok(())
    }

    /// Adds words to a list setting, or removes them.
    pub fn edit_list(&mut self, name: &str, words: &str, add: bool) -> Result<(), ConfigError> {
        let known = find(name)?;
        if known.kind != ConfigType::List {
            return Err(ConfigError::NotAList { name: known.name });
        }
        let mut list: Vec<&str> = self.get(known).split(',').collect();
        for word in words.split(',') {
            list.retain(|held| *held != word);
            if add {
                list.push(word);
            }
        }
        let edited = list.join(",");
        self.set(known.name, &edited)
    }

    /// Returns the effective value.
    pub fn get(&self, known: &Known) -> &str {
        self.set
            .get(known.name)
            .map_or(known.default, String::as_str)
    }

    pub fn is_set(&self, known: &Known) -> bool {
        self.set.contains_key(known.name)
    }

    /// Returns the largest batch that the topic accepts, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.set
            .get(MAX_MESSAGE_BYTES)
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)
    }

    /// Returns true if records get the time of their append.
    pub fn log_append_time(&self) -> bool {
        self.set
            .get(MESSAGE_TIMESTAMP_TYPE)
            .is_some_and(|kind| kind == "LogAppendTime")
    }
}

impl Known {
    fn allows(&self, value: &str) -> bool {
        match self.kind {
            ConfigType::Boolean => matches!(value, "true" | "false"),
            ConfigType::Int => value.parse::<i32>().is_ok(),
            ConfigType::Long => value.parse::<i64>().is_ok(),
            ConfigType::Double => value.parse::<f64>().is_ok(),
            ConfigType::String => self.words.contains(&value),
            ConfigType::List => value.split(',').all(|word| self.words.contains(&word)),
        }
    }
}

fn find(name: &str) -> Result<&'static Known, ConfigError> {
    TOPIC_CONFIGS
        .iter()
        .find(|known| known.name == name)
        .ok_or_else(|| ConfigError::Name {
            name: name.to_owned(),
        })
}

/// The reason why a setting is refused, as by Apache Kafka.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("unknown topic config name: {name}")]
    Name { name: String },
    #[error("invalid value {value} for configuration {name}")]
    Value { name: &'static str, value: String },
    #[error("configuration {name} is not a list")]
    NotAList { name: &'static str },
}
