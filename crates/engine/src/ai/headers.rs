//! The headers of a provider's reply that are used.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};

use wedcache_model::Timestamp;

/// The longest id that is kept, in characters.
const ID_LIMIT: usize = 200;

/// Returns the provider's id of the request: `x-request-id` at OpenAI and most others, `request-id`
/// at Anthropic.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = headers
        .get("x-request-id")
        .or_else(|| headers.get("request-id"))?;
    value
        .to_str()
        .ok()
        .map(|id| id.chars().take(ID_LIMIT).collect())
}

/// Returns the reply's compressions, in the order in which they were applied.
pub(super) fn encodings(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect()
}

pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// Returns the least wait that the provider asks for. `retry-after-ms` is OpenAI's finer form;
/// `Retry-After` is a number of seconds or an HTTP date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    const MILLIS: HeaderName = HeaderName::from_static("retry-after-ms");
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::trim)
    };
    if let Some(wait) = text(MILLIS).and_then(|ms| duration(ms, 1e-3)) {
        return Some(wait);
    }
    let value = text(RETRY_AFTER)?;
    duration(value, 1.0).or_else(|| {
        let at = DateTime::parse_from_rfc2822(value).ok()?;
        Some(Timestamp(at.timestamp_millis()).since(now))
    })
}

fn duration(number: &str, unit_secs: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit_secs).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check_retry_after(name: &'static str, value: &str, want_ms: Option<u64>) {
        let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        let got = retry_after(&headers, now);
        assert_eq!(got, want_ms.map(Duration::from_millis), "{name}: {value}");
    }

    #[test]
    fn retry_after_is_read_as_seconds_milliseconds_or_a_date() {
        check_retry_after("retry-after", "7", Some(7_000));
        check_retry_after("retry-after", " 0.5 ", Some(500));
        check_retry_after("retry-after-ms", "250", Some(250));
        check_retry_after("retry-after", "Sun, 22 Nov 2026 10:00:30 GMT", Some(30_000));
        check_retry_after("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT", Some(0));
        for rubbish in ["", "soon", "-1", "NaN", "inf", "1e300"] {
            check_retry_after("retry-after", rubbish, None);
        }
    }

    #[test]
    fn encodings_come_in_the_order_in_which_they_were_applied() {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("deflate, br"));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(encodings(&headers), ["deflate", "br", "gzip"]);
        assert_eq!(encodings(&HeaderMap::new()), [""; 0]);
    }
}
