//! The reason why a provider does not answer, in a few words of a closed set, and the advice for
//! it.

use std::borrow::Cow;

use super::{Class, Site};
use crate::ai::error::{CallPhase, ProviderError, Unreached};

/// A reason to count failures by: a status or a few words.
pub(super) type Reason = Cow<'static, str>;

/// Returns the kind and reason of a provider's error; `None` if it concerns one question alone, or
/// if nothing was sent.
pub(super) fn reason(error: &ProviderError) -> Option<(Class, Reason)> {
    let status = |status: u16| Reason::from(status.to_string());
    Some(match error {
        ProviderError::OutOfFunds { .. } => (Class::Refuses, "out of money".into()),
        ProviderError::Unauthorised { status: code, .. } => (Class::Refuses, status(*code)),
        ProviderError::BadRequest { status: code, .. } if error.refuses_all() => {
            (Class::Refuses, status(*code))
        }
        ProviderError::BadRequest { status: code, .. } => (Class::Rejects, status(*code)),
        ProviderError::RateLimited { .. } => (Class::Away, "429".into()),
        ProviderError::Unavailable { status: code, .. }
        | ProviderError::Gateway { status: code, .. } => (Class::Away, status(*code)),
        ProviderError::Unreachable { why, .. } => (Class::Away, why.to_string().into()),
        ProviderError::CutOff { .. } => (Class::Away, "a broken connection".into()),
        ProviderError::Timeout { phase, .. } => (
            Class::Away,
            match phase {
                CallPhase::Connect => "no connection".into(),
                CallPhase::FirstByte | CallPhase::Total => "no complete reply".into(),
            },
        ),
        ProviderError::Unusable { .. } => (Class::Away, "an unusable reply".into()),
        ProviderError::Refused { .. }
        | ProviderError::Filtered { .. }
        | ProviderError::Truncated { .. }
        | ProviderError::Empty
        | ProviderError::CircuitOpen { .. }
        | ProviderError::DeadlinePassed => return None,
    })
}

/// Returns the provider's own words, or the system's.
pub(super) fn words(error: &ProviderError) -> Cow<'_, str> {
    match error {
        ProviderError::OutOfFunds { message, .. }
        | ProviderError::Unauthorised { message, .. }
        | ProviderError::BadRequest { message, .. }
        | ProviderError::RateLimited { message, .. }
        | ProviderError::Unavailable { message, .. }
        | ProviderError::Gateway { message, .. } => message.into(),
        ProviderError::Unreachable { detail, .. } | ProviderError::CutOff { detail } => {
            detail.into()
        }
        ProviderError::Unusable { problem } => problem.to_string().into(),
        other => other.to_string().into(),
    }
}

/// Returns the advice for an operator.
pub(super) fn advice(site: &Site, error: &ProviderError) -> String {
    let section = &site.section;
    let key = site.key_field();
    let url = site.field("base_url", &site.url_variables);
    match error {
        ProviderError::OutOfFunds { .. } => {
            format!("add credit to the account of {key}, or raise its limit")
        }
        ProviderError::Unauthorised { .. } if !site.has_key => format!("set {key}: it is empty"),
        ProviderError::Unauthorised { status: 403, .. } => {
            format!("check {key}, and that it may use {section}.model")
        }
        ProviderError::Unauthorised { .. } => format!("check {key}"),
        ProviderError::BadRequest { status: 407, .. } => {
            "check the proxy that HTTPS_PROXY or HTTP_PROXY names".to_owned()
        }
        ProviderError::BadRequest { .. } if error.refuses_all() => {
            format!("check {url} and {section}.model")
        }
        ProviderError::BadRequest { .. } => {
            format!("check that the server knows the request's fields, and {section}.model")
        }
        ProviderError::RateLimited { .. } => {
            format!("ask the provider for a higher limit, or lower {section}.concurrency")
        }
        ProviderError::Unreachable { why, .. } => match why {
            Unreached::Name => format!("check {url} and the name servers"),
            Unreached::Refused => format!("check {url} and that a server listens there"),
            Unreached::Tls => format!(
                "check {url}, the server's certificate, the system's CA certificates and the clock"
            ),
            Unreached::Network => format!("check {url}, the network, proxies and firewalls"),
        },
        ProviderError::Timeout {
            phase: CallPhase::Connect,
            ..
        } => format!("check {url}, the network, proxies and firewalls"),
        ProviderError::Timeout { .. } => format!(
            "the calls may have been charged for and are not repeated; check the provider's \
             status, or raise {section}.first_byte_timeout and total_timeout"
        ),
        ProviderError::CutOff { .. } => "the calls may have been charged for and are not \
             repeated; check the idle time-outs of load balancers and proxies on the way"
            .to_owned(),
        ProviderError::Gateway { .. } => "the calls may have been charged for and are not \
             repeated; check the provider's status, and time-outs of gateways on the way"
            .to_owned(),
        ProviderError::Unusable { .. } => format!("check that {url} speaks this dialect"),
        _ => "check the provider's status".to_owned(),
    }
}

impl Site {
    /// Returns the advice for an operator about an error of this provider.
    pub fn advice(&self, error: &ProviderError) -> String {
        advice(self, error)
    }

    /// Returns the topology field of the provider's key, with the variables that it comes from.
    pub fn key_field(&self) -> String {
        self.field("api_key", &self.key_variables)
    }

    /// Returns a field of the topology with the variables that its value comes from.
    fn field(&self, field: &str, variables: &[String]) -> String {
        let section = &self.section;
        if variables.is_empty() {
            format!("{section}.{field}")
        } else {
            format!("{section}.{field} ({})", variables.join(", "))
        }
    }
}
