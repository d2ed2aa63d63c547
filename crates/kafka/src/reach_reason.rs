//! The reasons why a cluster cannot be reached, from librdkafka's codes and texts. Pure.

use rdkafka::types::RDKafkaErrorCode as Code;

/// The reason why a connection or a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    NameNotFound,
    ConnectionRefused,
    /// The connection was closed at once or reset, or there is no route.
    Unreachable,
    /// No connection came about in time, or no answer came on it.
    TimedOut,
    TlsRefused,
    SaslRefused,
    /// A client has no connection left; the reason is not known.
    Unanswered,
}

impl Why {
    /// Returns the reason; `None` for errors that do not concern reaching the cluster.
    pub(super) fn of(code: Code, words: &str) -> Option<Self> {
        match code {
            Code::Resolve => Some(Self::NameNotFound),
            Code::SSL => Some(Self::TlsRefused),
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState => Some(Self::SaslRefused),
            Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::AllBrokersDown => Some(Self::Unanswered),
            Code::BrokerTransportFailure => Some(Self::of_transport(words)),
            _ => None,
        }
    }

    /// Returns the reason of a failed request. Only the errors of the connections say more than
    /// that it has no answer.
    pub(super) fn of_request(code: Code) -> Option<Self> {
        match Self::of(code, "")? {
            Self::Unreachable | Self::ConnectionRefused | Self::TimedOut => Some(Self::Unanswered),
            known => Some(known),
        }
    }

    /// Returns the reason of a failed socket. librdkafka has one code for all of them; only the
    /// operating system's text in its own differs.
    fn of_transport(words: &str) -> Self {
        if words.contains("Connection refused") {
            Self::ConnectionRefused
        } else if words.contains("timed out") || words.contains("timeout") {
            Self::TimedOut
        } else {
            Self::Unreachable
        }
    }

    /// Returns true if any other reason says more.
    pub(super) fn is_vague(self) -> bool {
        self == Self::Unanswered
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NameNotFound => "name_not_found",
            Self::ConnectionRefused => "connection_refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timeout",
            Self::TlsRefused => "tls_refused",
            Self::SaslRefused => "sasl_refused",
            Self::Unanswered => "no_answer",
        }
    }

    pub(super) fn is(self) -> &'static str {
        match self {
            Self::NameNotFound => "its name is not found",
            Self::ConnectionRefused => "the connection is refused",
            Self::Unreachable => "the connection fails",
            Self::TimedOut => "it does not answer in time",
            Self::TlsRefused => "TLS fails",
            Self::SaslRefused => "it refuses the credentials",
            Self::Unanswered => "no broker answers",
        }
    }

    /// Returns what to look at; `address` is the setting of the address.
    pub(super) fn advice(self, address: &str) -> String {
        match self {
            Self::NameNotFound => {
                format!("Check the host's name in {address}, and DNS")
            }
            Self::ConnectionRefused => {
                format!("Does a broker listen there? Check host and port in {address}")
            }
            Self::Unreachable => format!(
                "Check {address}, and that security.protocol in kafka.properties is that of the listener"
            ),
            Self::TimedOut | Self::Unanswered => {
                format!("Check {address}, the network and the brokers")
            }
            Self::TlsRefused => format!(
                "Check security.protocol and the ssl.* settings in kafka.properties (ssl.ca.location), and that {address} names a TLS listener"
            ),
            Self::SaslRefused => {
                "Check sasl.mechanism, sasl.username and sasl.password in kafka.properties, and the variables that they come from".to_owned()
            }
        }
    }
}

/// Returns `host:port` of the broker that librdkafka's text is about, if it names one: the text
/// begins with the name, such as `sasl_ssl://b-1:9092/3: ` or `b-1:9092/bootstrap: `.
pub(super) fn broker_of(words: &str) -> Option<String> {
    let (name, _) = words.split_once(": ")?;
    let (address, _) = name.rsplit_once('/')?;
    let address = address.rsplit_once("//").map_or(address, |(_, of)| of);
    let (_, port) = address.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_port.then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_reads_as_what_it_is() {
        for (code, words, wanted) in [
            (
                Code::Resolve,
                "nowhere:9092/bootstrap: Failed to resolve 'nowhere:9092': Name or service not known",
                Some("name_not_found"),
            ),
            (
                Code::BrokerTransportFailure,
                "b:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)",
                Some("connection_refused"),
            ),
            (
                Code::BrokerTransportFailure,
                "b:9092/1: Connection setup timed out in state CONNECT (after 30000ms in state CONNECT)",
                Some("timeout"),
            ),
            (
                Code::BrokerTransportFailure,
                "b:9092/1: 1 request(s) timed out: disconnect (after 61000ms in state UP)",
                Some("timeout"),
            ),
            (
                Code::BrokerTransportFailure,
                "b:9092/bootstrap: Disconnected: verify that security.protocol is correctly configured",
                Some("unreachable"),
            ),
            (
                Code::SSL,
                "ssl://b:9092/bootstrap: SSL handshake failed: certificate verify failed",
                Some("tls_refused"),
            ),
            (
                Code::Authentication,
                "sasl_plaintext://b:9092/bootstrap: SASL authentication error: Authentication failed",
                Some("sasl_refused"),
            ),
            (
                Code::UnsupportedSASLMechanism,
                "SASL mechanism",
                Some("sasl_refused"),
            ),
            (
                Code::AllBrokersDown,
                "2/2 brokers are down",
                Some("no_answer"),
            ),
            (Code::OperationTimedOut, "list topics", Some("no_answer")),
            (Code::TopicAuthorizationFailed, "a: denied", None),
            (Code::UnknownTopicOrPartition, "a", None),
        ] {
            assert_eq!(Why::of(code, words).map(Why::label), wanted, "{words}");
        }
    }

    #[test]
    fn the_broker_is_read_from_the_words() {
        for (words, wanted) in [
            (
                "127.0.0.1:34965/1: Connect to ipv4#127.0.0.1:34965 failed",
                Some("127.0.0.1:34965"),
            ),
            (
                "b-1.example:9092/bootstrap: Disconnected",
                Some("b-1.example:9092"),
            ),
            (
                "sasl_plaintext://b-1:9092/3: SASL authentication error: no",
                Some("b-1:9092"),
            ),
            (
                "[::1]:9092/1: Connect to ipv6#[::1]:9092 failed",
                Some("[::1]:9092"),
            ),
            ("GroupCoordinator: 127.0.0.1:9092: Disconnected", None),
            ("2/2 brokers are down", None),
            ("list topics", None),
            ("", None),
        ] {
            assert_eq!(broker_of(words).as_deref(), wanted, "{words}");
        }
    }
}
