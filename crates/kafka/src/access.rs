//! The permission that a refusal of access is about. Pure.
//!
//! Kafka's refusals name neither the resource nor the operation; to grant a permission takes both.

use std::fmt;

use rdkafka::types::RDKafkaErrorCode as Code;

/// The use that a client makes of topics and of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wants {
    /// Kafka's name for the operation on topics: Read, Write, Describe.
    pub(super) operation: &'static str,
    /// The topics, if they are known beforehand.
    pub(super) topics: Vec<String>,
    pub(super) group: Option<String>,
}

impl Wants {
    /// Returns the use of a client that reads topics without a group.
    pub(super) fn read(topics: &[String]) -> Self {
        Self {
            operation: "Read",
            topics: topics.to_vec(),
            group: None,
        }
    }

    pub(super) fn write() -> Self {
        Self {
            operation: "Write",
            topics: Vec::new(),
            group: None,
        }
    }

    pub(super) fn describe() -> Self {
        Self {
            operation: "Describe",
            ..Self::write()
        }
    }

    pub(super) fn in_group(self, group: &str) -> Self {
        let group = Some(group.to_owned());
        Self { group, ..self }
    }

    /// Returns the missing permission, such as `Read on group wedcache-rules`; `None` if the code
    /// is no refusal of access. `words` is librdkafka's text, which sometimes names the topic.
    pub(super) fn lacking(&self, code: Code, words: &str) -> Option<String> {
        match code {
            Code::TopicAuthorizationFailed => Some(self.on_topics(words)),
            Code::GroupAuthorizationFailed => {
                let group = self.group.as_deref();
                group.map(|group| on_group("Read", group))
            }
            Code::ClusterAuthorizationFailed if self.operation == "Write" => {
                Some("IdempotentWrite on the cluster".to_owned())
            }
            Code::ClusterAuthorizationFailed => Some(format!("{} on the cluster", self.operation)),
            Code::TransactionalIdAuthorizationFailed => {
                Some("Write on the transactional id of this client".to_owned())
            }
            _ => None,
        }
    }

    /// Returns true if a refusal concerns something that the client does not do: librdkafka looks
    /// for the coordinator of a group that is never joined.
    pub(super) fn needs_not(&self, code: Code) -> bool {
        code == Code::GroupAuthorizationFailed && self.group.is_none()
    }

    fn on_topics(&self, words: &str) -> String {
        let named = |topic: &&String| words.contains(topic.as_str());
        let mut topics: Vec<&str> = self
            .topics
            .iter()
            .filter(named)
            .map(String::as_str)
            .collect();
        if topics.is_empty() {
            topics = self.topics.iter().map(String::as_str).collect();
        }
        match topics[..] {
            [] => format!("{} on the topics of this client", self.operation),
            [topic] => on_topic(self.operation, topic),
            _ => format!("{} on topics {}", self.operation, topics.join(", ")),
        }
    }
}

pub(super) fn on_topic(operation: &str, topic: &str) -> String {
    format!("{operation} on topic {topic}")
}

pub(super) fn on_group(operation: &str, group: &str) -> String {
    format!("{operation} on group {group}")
}

/// Returns true if the code says that an ACL is missing.
pub(super) fn denies(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// A request to the cluster, and the operation that must be allowed for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Permission {
    /// The request, such as `list topics`.
    pub what: &'static str,
    /// Kafka's name for the operation.
    pub needs: &'static str,
}

impl Permission {
    pub const fn new(what: &'static str, needs: &'static str) -> Self {
        Self { what, needs }
    }

    /// Returns the addition to an error's text; empty if the error is no refusal of access.
    pub(super) fn hint(&self, code: Option<Code>, resource: &str) -> String {
        if code.is_some_and(denies) {
            format!("; an ACL must allow {} on {resource}", self.needs)
        } else {
            String::new()
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_the_operation_and_what_it_is_on() {
        let topics = ["a.vendors".to_owned(), "a.weddings".to_owned()];
        let member = Wants::read(&topics).in_group("rules");
        let reader = Wants::read(&topics[..1]);
        let (writer, admin) = (Wants::write(), Wants::describe());
        let topic = Code::TopicAuthorizationFailed;
        let group = Code::GroupAuthorizationFailed;
        let cluster = Code::ClusterAuthorizationFailed;
        for (wants, code, words, wanted) in [
            (
                &member,
                topic,
                "",
                Some("Read on topics a.vendors, a.weddings"),
            ),
            (
                &member,
                topic,
                "Subscribed topic not available: a.weddings: Broker: Topic authorization failed",
                Some("Read on topic a.weddings"),
            ),
            (
                &member,
                group,
                "JoinGroup failed",
                Some("Read on group rules"),
            ),
            (&reader, topic, "", Some("Read on topic a.vendors")),
            (&reader, group, "FindCoordinator response error", None),
            (
                &writer,
                topic,
                "",
                Some("Write on the topics of this client"),
            ),
            (&writer, cluster, "", Some("IdempotentWrite on the cluster")),
            (&admin, cluster, "", Some("Describe on the cluster")),
            (
                &writer,
                Code::TransactionalIdAuthorizationFailed,
                "",
                Some("Write on the transactional id of this client"),
            ),
            (&member, Code::UnknownTopicOrPartition, "", None),
            (&member, Code::AllBrokersDown, "", None),
        ] {
            assert_eq!(
                wants.lacking(code, words).as_deref(),
                wanted,
                "{code} {words}"
            );
        }
    }

    #[test]
    fn a_reader_needs_no_permission_for_the_group_that_it_never_joins() {
        let reader = Wants::read(&["a".to_owned()]);
        assert!(reader.needs_not(Code::GroupAuthorizationFailed));
        assert!(!reader.needs_not(Code::TopicAuthorizationFailed));
        let member = reader.in_group("g");
        assert!(!member.needs_not(Code::GroupAuthorizationFailed));
    }

    #[test]
    fn a_request_that_is_refused_says_what_it_needs_and_others_do_not() {
        let ask = Permission::new("create topics", "Create");
        let hint = ask.hint(Some(Code::TopicAuthorizationFailed), "topic t");
        assert_eq!(hint, "; an ACL must allow Create on topic t");
        assert_eq!(ask.hint(Some(Code::TopicAlreadyExists), "topic t"), "");
        assert_eq!(ask.hint(None, "topic t"), "");
    }
}
