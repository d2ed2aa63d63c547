//! The check of the user's properties by librdkafka itself, before anything is sent: unknown names,
//! bad values, and features that this build of it does not have.

use std::sync::LazyLock;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::producer::{DefaultProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaConfRes;
use secrecy::ExposeSecret;

use super::client::ClientOptions;
use super::{IntakeOptions, KafkaError, OutputOptions};

/// The reason why a property cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyFault {
    #[error("this build has no TLS: build with --features kafka-ssl")]
    NoTls,
    #[error("this build has no SASL mechanism {mechanism}: use {}", can.join(", "))]
    NoMechanism {
        mechanism: String,
        can: Vec<&'static str>,
    },
    #[error(
        "OAUTHBEARER needs a source of tokens, and there is none but \
         `enable.sasl.oauthbearer.unsecure.jwt: true`: use SCRAM-SHA-512, PLAIN or a client certificate"
    )]
    NoTokens,
    #[error("librdkafka knows no property of this name")]
    Unknown,
    /// librdkafka refuses the property; its text, without the value.
    #[error("{0}")]
    Refused(String),
}

/// The features with which librdkafka was built, such as `ssl` and `zstd`.
static FEATURES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let config = ClientConfig::new().create_native_config();
    let features = config.and_then(|config| config.get("builtin.features"));
    let features = features.unwrap_or_default();
    features.split(',').map(|of| of.trim().to_owned()).collect()
});

/// Returns the features with which librdkafka was built, such as `ssl` and `zstd`.
pub fn features() -> &'static [String] {
    &FEATURES
}

/// librdkafka's mechanisms, and the feature that each needs.
const MECHANISMS: [(&str, &str); 5] = [
    ("SCRAM-SHA-512", "sasl_scram"),
    ("SCRAM-SHA-256", "sasl_scram"),
    ("PLAIN", "sasl_plain"),
    ("OAUTHBEARER", "sasl_oauthbearer"),
    ("GSSAPI", "sasl_gssapi"),
];
/// The mechanism that librdkafka uses by default.
const DEFAULT_MECHANISM: &str = "GSSAPI";

/// The user's properties by name.
pub(super) struct GivenProperties<'a>(pub Vec<(&'a str, &'a str)>);

impl GivenProperties<'_> {
    fn get(&self, names: &[&str]) -> Option<(&str, &str)> {
        let mut all = self.0.iter();
        let found = all.find(|(name, _)| names.contains(name));
        found.map(|(name, value)| (*name, value.trim()))
    }

    /// Returns the properties that cannot be used, each once, with the reasons.
    pub(super) fn faults(&self, features: &[String]) -> Vec<(String, PropertyFault)> {
        let mut faults = self.without_support(features);
        for (name, value) in &self.0 {
            if faults.iter().any(|(known, _)| known == name) {
                continue;
            }
            let mut config = ClientConfig::new();
            config.set(*name, *value);
            if let Err(error) = config.create_native_config() {
                faults.push(((*name).to_owned(), fault(&error)));
            }
        }
        faults
    }

    /// Returns the properties that need TLS, or a mechanism that this build does not have.
    /// librdkafka reports them too, but partly in a log line, and in words for those who build it.
    fn without_support(&self, features: &[String]) -> Vec<(String, PropertyFault)> {
        let has = |feature: &str| features.iter().any(|of| of == feature);
        let mut faults = Vec::new();
        if !has("ssl") {
            let needs_tls = |name: &str, value: &str| match name {
                "security.protocol" => value.to_ascii_lowercase().ends_with("ssl"),
                "enable.ssl.certificate.verification" => true,
                name => name.starts_with("ssl.") || name.starts_with("https."),
            };
            let all = self.0.iter().filter(|(name, value)| needs_tls(name, value));
            faults.extend(all.map(|(name, _)| ((*name).to_owned(), PropertyFault::NoTls)));
        }
        let protocol = self.get(&["security.protocol"]);
        let mechanism = self.get(&["sasl.mechanism", "sasl.mechanisms"]);
        let is_sasl = protocol.is_some_and(|(_, of)| of.to_ascii_lowercase().starts_with("sasl"));
        let (name, mechanism) = match (mechanism, protocol) {
            (Some(given), _) => given,
            (None, Some((name, _))) if is_sasl => (name, DEFAULT_MECHANISM),
            _ => return faults,
        };
        let known = MECHANISMS.iter().find(|(of, _)| *of == mechanism);
        let fault = match known {
            Some(("OAUTHBEARER", feature)) if has(feature) => {
                let jwt = self.get(&["enable.sasl.oauthbearer.unsecure.jwt"]);
                jwt.is_none_or(|(_, value)| value != "true")
                    .then_some(PropertyFault::NoTokens)
            }
            Some((_, feature)) if has(feature) => None,
            // Only Kerberos needs another library; every other missing mechanism comes with TLS.
            Some((of, _)) if *of != DEFAULT_MECHANISM => Some(PropertyFault::NoTls),
            _ => Some(PropertyFault::NoMechanism {
                mechanism: mechanism.to_owned(),
                can: can(&has),
            }),
        };
        let is_new = |(of, _): &&(String, PropertyFault)| of == name;
        if let (Some(fault), None) = (fault, faults.iter().find(is_new)) {
            faults.push((name.to_owned(), fault));
        }
        faults
    }
}

/// Returns the mechanisms that this build has and that need no code of this program.
fn can(has: &impl Fn(&str) -> bool) -> Vec<&'static str> {
    let all = MECHANISMS.iter();
    let here = all.filter(|(of, feature)| *of != "OAUTHBEARER" && has(feature));
    here.map(|(of, _)| *of).collect()
}

/// Returns the reason in librdkafka's refusal of one property.
pub(super) fn fault(error: &LibraryError) -> PropertyFault {
    match error {
        LibraryError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
            PropertyFault::Unknown
        }
        LibraryError::ClientConfig(_, text, _, value) => {
            PropertyFault::Refused(without(text, value))
        }
        error => PropertyFault::Refused(error.to_string()),
    }
}

/// Returns a text without the value, which may be a secret.
fn without(text: &str, value: &str) -> String {
    let shown = |text: &str| text.trim_end_matches('\0').trim().to_owned();
    if value.is_empty() {
        return shown(text);
    }
    shown(&text.replace(value, "…"))
}

impl ClientOptions {
    /// Returns every property that no client could be made with. Nothing is sent.
    pub fn check(&self) -> Vec<KafkaError> {
        let reserved = self.reserved().map(|property| KafkaError::Reserved {
            property: property.to_owned(),
        });
        let faults = self.given_faults().into_iter().map(KafkaError::from);
        reserved.chain(faults).collect()
    }

    pub(super) fn given_faults(&self) -> Vec<(String, PropertyFault)> {
        let plain = self.properties.iter();
        let plain = plain.map(|(name, value)| (name.as_str(), value.as_str()));
        let secret = self.secrets.iter();
        let secret = secret.map(|(name, value)| (name.as_str(), value.expose_secret()));
        GivenProperties(plain.chain(secret).collect()).faults(features())
    }

    /// Converts librdkafka's refusal of a client's settings: to an error about the user's property
    /// that it names, if it names one.
    pub(super) fn refused(&self, source: LibraryError) -> KafkaError {
        if let LibraryError::ClientConfig(_, _, property, _) = &source {
            return (property.clone(), fault(&source)).into();
        }
        if let LibraryError::ClientCreation(text) = &source {
            let given = self.properties.keys().chain(self.secrets.keys());
            let named = given.filter(|name| text.contains(name.as_str()));
            if let Some(property) = named.max_by_key(|name| name.len()) {
                let mut text = text.clone();
                for value in self.secrets.values() {
                    text = without(&text, value.expose_secret());
                }
                return (property.clone(), PropertyFault::Refused(text)).into();
            }
        }
        KafkaError::Settings {
            client_id: self.client_id.clone(),
            source,
        }
    }

    /// Makes a client without the brokers' addresses, and drops it.
    fn try_out<T: FromClientConfig>(&self, mut config: ClientConfig) -> Result<(), KafkaError> {
        config.remove("bootstrap.servers");
        let made = T::from_config(&config);
        made.map(drop).map_err(|source| self.refused(source))
    }
}

impl IntakeOptions {
    /// Makes a consumer with these settings that connects to nothing, and drops it.
    pub fn check(&self) -> Result<(), KafkaError> {
        self.client.try_out::<BaseConsumer>(self.config()?)
    }
}

impl OutputOptions {
    /// Makes a producer with these settings that connects to nothing, and drops it.
    pub fn check(&self) -> Result<(), KafkaError> {
        self.client
            .try_out::<ThreadedProducer<DefaultProducerContext>>(self.config()?)
    }
}

impl From<(String, PropertyFault)> for KafkaError {
    fn from((property, fault): (String, PropertyFault)) -> Self {
        Self::Property { property, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(properties: &[(&str, &str)]) -> ClientOptions {
        let mut options = ClientOptions::new("localhost:9092", "c");
        let secrets = properties.iter().map(|(name, value)| {
            let value = (*value).to_owned();
            ((*name).to_owned(), value.into())
        });
        options.secrets.extend(secrets);
        options
    }

    fn faults(properties: &[(&str, &str)], features: &[&str]) -> Vec<(String, String)> {
        let features: Vec<_> = features.iter().map(|of| (*of).to_owned()).collect();
        let faults = GivenProperties(properties.to_vec()).without_support(&features);
        let shown = faults
            .into_iter()
            .map(|(name, fault)| (name, fault.to_string()));
        shown.collect()
    }

    const PLAIN: &[&str] = &["gzip", "sasl_plain"];
    const WITH_TLS: &[&str] = &["ssl", "sasl_plain", "sasl_scram", "sasl_oauthbearer"];
    const NO_TLS: &str = "this build has no TLS: build with --features kafka-ssl";

    #[track_caller]
    fn check(properties: &[(&str, &str)], features: &[&str], want: &[(&str, &str)]) {
        let found = faults(properties, features);
        let found: Vec<_> = found.iter().map(|(name, why)| (&**name, &**why)).collect();
        assert_eq!(found, want, "{properties:?}");
    }

    #[test]
    fn what_needs_tls_is_refused_by_a_build_without() {
        for protocol in ["SSL", "ssl", "SASL_SSL", "Sasl_Ssl"] {
            let given = [("security.protocol", protocol), ("sasl.mechanism", "PLAIN")];
            check(&given, PLAIN, &[("security.protocol", NO_TLS)]);
            check(&given, WITH_TLS, &[]);
        }
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
                check(&[(name, mechanism)], PLAIN, &[(name, NO_TLS)]);
            }
            check(&[(name, "PLAIN")], PLAIN, &[]);
            check(&[(name, "SCRAM-SHA-512")], WITH_TLS, &[]);
        }
        for name in ["ssl.ca.location", "ssl.key.password", "https.ca.pem"] {
            check(&[(name, "x")], PLAIN, &[(name, NO_TLS)]);
        }
        let plain = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
        ];
        check(&plain, PLAIN, &[]);
        check(&[("security.protocol", "PLAINTEXT")], PLAIN, &[]);
    }

    #[test]
    fn a_mechanism_that_nobody_can_serve_is_told_with_those_that_are() {
        let kerberos =
            "this build has no SASL mechanism GSSAPI: use SCRAM-SHA-512, SCRAM-SHA-256, PLAIN";
        let protocol = ("security.protocol", "SASL_SSL");
        // librdkafka's own choice.
        check(&[protocol], WITH_TLS, &[("security.protocol", kerberos)]);
        let given = [protocol, ("sasl.mechanism", "GSSAPI")];
        check(&given, WITH_TLS, &[("sasl.mechanism", kerberos)]);
        let found = faults(&[("sasl.mechanism", "SCRAM")], WITH_TLS);
        assert!(found[0].1.contains("no SASL mechanism SCRAM:"), "{found:?}");
        let tokens = [protocol, ("sasl.mechanism", "OAUTHBEARER")];
        let found = faults(&tokens, WITH_TLS);
        assert!(found[0].1.contains("source of tokens"), "{found:?}");
    }

    #[test]
    fn librdkafka_judges_names_and_values_and_values_are_not_shown() {
        let options = options(&[
            ("acks", "0"),
            ("linger.ms", "secret1"),
            ("no.such.thing", "secret2"),
            ("sasl.password", "secret3"),
            ("socket.timeout.ms", "7000"),
        ]);
        let found: Vec<_> = options.check().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("`acks` is set by wedcache"), "{found:?}");
        assert!(
            found[1].starts_with("Kafka property `linger.ms`: "),
            "{found:?}"
        );
        let unknown = "Kafka property `no.such.thing`: librdkafka knows no property of this name";
        assert_eq!(found[2], unknown);
        assert!(!found.concat().contains("secret"), "{found:?}");
        // Every client is refused with the same words.
        let first = options.config(&[]).unwrap_err().to_string();
        assert_eq!(first, found[0]);
    }

    #[test]
    fn properties_that_do_not_go_together_are_found_without_a_broker() {
        let client = options(&[("max.in.flight", "100"), ("fetch.max.bytes", "1000")]);
        assert!(client.check().is_empty());
        let error = OutputOptions::new(client.clone()).check().unwrap_err();
        let want = "Kafka property `max.in.flight`: ";
        assert!(error.to_string().starts_with(want), "{error}");
        let error = IntakeOptions::new(client, "g", Vec::new()).check();
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("Kafka property `fetch.max.bytes`: "),
            "{error}"
        );
        let good = options(&[("fetch.wait.max.ms", "50")]);
        OutputOptions::new(good.clone()).check().unwrap();
        IntakeOptions::new(good, "g", Vec::new()).check().unwrap();
    }

    #[test]
    fn this_build_reads_every_codec() {
        for codec in ["gzip", "snappy", "lz4", "zstd"] {
            assert!(features().iter().any(|of| of == codec), "{:?}", features());
        }
        let has_tls = features().iter().any(|of| of == "ssl");
        assert_eq!(has_tls, cfg!(feature = "ssl"));
    }
}
