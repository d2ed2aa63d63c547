//! A provider's own words, cleaned for logs, alerts and answers.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::error::MESSAGE_LIMIT;

/// The forms of keys and tokens from any source: known prefixes, `Bearer …`, user and password in
/// an address, and long runs of letters and digits.
static SECRETS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        \b (?: sk | pk | rk | gsk | xai | hf | ghp | glpat | pplx | nvapi ) [-_] [A-Za-z0-9_*.-]{4,}
        | \b AIza [A-Za-z0-9_*-]{6,}
        | \b AKIA [A-Z0-9*]{8,}
        | \b eyJ [A-Za-z0-9_-]{6,} (?: \. [A-Za-z0-9_-]+ )*
        | (?i: \b bearer \s+ [A-Za-z0-9._~+/*=-]{4,} )
        | (?P<address> :// ) [^\s/@]+ @
        | \b [A-Za-z0-9]{32,} \b",
    )
    .expect("a constant pattern, compiled by the tests")
});

/// The replacement of a secret.
const MASK: &str = "***";

/// The part of a message that is read: more than is kept, so that no secret is cut in two.
const READ_LIMIT: usize = 8 * MESSAGE_LIMIT;

/// Returns one bounded line without control characters, without `secret` and without anything that
/// looks like a key or a token.
pub(super) fn clean_message(message: &str, secret: &str) -> String {
    let message = match secret.trim() {
        "" => Cow::Borrowed(message),
        secret => Cow::Owned(message.replace(secret, MASK)),
    };
    let line: String = message
        .split_whitespace()
        .flat_map(|word| [" ", word])
        .skip(1)
        .flat_map(str::chars)
        .filter(|c| !c.is_control())
        .take(READ_LIMIT)
        .collect();
    let line = SECRETS.replace_all(&line, |found: &regex::Captures<'_>| {
        match found.name("address") {
            Some(address) => format!("{}{MASK}@", address.as_str()),
            None => MASK.to_owned(),
        }
    });
    shortened(&line, MESSAGE_LIMIT)
}

/// Returns the first `limit` characters; an ellipsis shows that there were more.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_one_bounded_line_without_our_key() {
        assert_eq!(
            clean_message("bad key our-key\n  given", "our-key"),
            "bad key *** given"
        );
        assert_eq!(
            clean_message("bad key our-key.", "our-key\n"),
            "bad key ***."
        );
        assert_eq!(clean_message("", ""), "");
        let long = clean_message(&"é".repeat(1000), "");
        assert_eq!(long.chars().count(), MESSAGE_LIMIT + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn what_looks_like_a_key_is_masked() {
        for (message, want) in [
            (
                "Incorrect API key provided: sk-proj-AbC_d****wxyz.",
                "Incorrect API key provided: ***",
            ),
            (
                "key AIzaSyD-1234567890abcdef is not valid",
                "key *** is not valid",
            ),
            (
                "Authorization: Bearer abc.def-123 refused",
                "Authorization: *** refused",
            ),
            ("token eyJhbGciOi.eyJzdWIi.sig expired", "token *** expired"),
            ("key 0123456789abcdef0123456789abcdef", "key ***"),
            (
                "cannot reach https://me:pass@host/v1",
                "cannot reach https://***@host/v1",
            ),
            (
                "api_key_invalid, req_011CSHoEeqs5C35K2UUqR7Fy, gpt-4o-mini-2024-07-18",
                "api_key_invalid, req_011CSHoEeqs5C35K2UUqR7Fy, gpt-4o-mini-2024-07-18",
            ),
        ] {
            assert_eq!(clean_message(message, ""), want);
        }
    }

    proptest! {
        #[test]
        fn the_key_is_never_shown(before in any::<String>(), after in any::<String>(), key in "[a-zA-Z0-9-]{8,30}") {
            prop_assume!(!before.contains(&key) && !after.contains(&key));
            let line = clean_message(&format!("{before} {key} {after}"), &key);
            prop_assert!(!line.contains(&key) && line.chars().count() <= MESSAGE_LIMIT + 1);
            prop_assert!(!line.contains(char::is_control));
        }
    }
}
