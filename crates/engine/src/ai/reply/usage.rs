//! The token counts of a reply, in any form of JSON.
//!
//! A count that makes no sense is treated as unknown rather than zero: a cost of zero would be
//! believed.

use serde_json::Value;

/// Tokens of the prompt and of the text that the model wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ai) struct Usage {
    pub prompt: u64,
    pub completion: u64,
}

/// The highest plausible count: no model reads or writes more in one call.
const MOST: u64 = 1_000_000_000;

/// Reads `usage` of either dialect. `None` if a part of it is missing or makes no sense.
pub(in crate::ai) fn usage(reply: &Value) -> Option<Usage> {
    let usage = reply.get("usage")?;
    let prompt = prompt(usage);
    let completion = either(usage, ["completion_tokens", "output_tokens"]);
    // One of the two may be missing if their sum is given.
    let rest = |known: u64| tokens(usage.get("total_tokens")?)?.checked_sub(known);
    let found = match (prompt, completion) {
        (Some(prompt), Some(completion)) => Usage { prompt, completion },
        (Some(prompt), None) => Usage {
            prompt,
            completion: rest(prompt)?,
        },
        (None, Some(completion)) => Usage {
            prompt: rest(completion)?,
            completion,
        },
        (None, None) => return None,
    };
    // Some servers send zeros because they do not count.
    (found.prompt > 0 || found.completion > 0).then_some(found)
}

/// Returns the tokens of the prompt. Anthropic's `input_tokens` exclude tokens written to or read
/// from the provider's prompt cache, so those are added. They have other prices, but no request
/// here makes the provider cache anything.
fn prompt(usage: &Value) -> Option<u64> {
    let read = either(usage, ["prompt_tokens", "input_tokens"])?;
    ["cache_creation_input_tokens", "cache_read_input_tokens"]
        .iter()
        .filter_map(|name| usage.get(name))
        .filter(|cached| !cached.is_null())
        .try_fold(read, |sum, cached| sum.checked_add(tokens(cached)?))
}

fn either(usage: &Value, names: [&str; 2]) -> Option<u64> {
    names.iter().find_map(|name| tokens(usage.get(name)?))
}

/// Reads a number of tokens: an integer, a float, or either as text.
fn tokens(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?))
        }
        _ => None,
    };
    number.filter(|number| *number <= MOST)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "NaN, infinities, negative and huge numbers are kept out"
)]
fn whole(number: f64) -> Option<u64> {
    (0.0..1e18).contains(&number).then(|| number.round() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(given: &Value, want: Option<(u64, u64)>) {
        let got = usage(&json!({ "usage": given })).map(|of| (of.prompt, of.completion));
        assert_eq!(got, want, "{given}");
    }

    #[test]
    fn both_dialects_are_read_in_any_form_of_number() {
        for (prompt, completion) in [
            (json!(12), json!(5)),
            (json!(12.0), json!(5.0)),
            (json!("12"), json!(" 5 ")),
            (json!("12.0"), json!("5e0")),
            (json!(11.6), json!(5)),
        ] {
            check(
                &json!({"prompt_tokens": prompt, "completion_tokens": completion}),
                Some((12, 5)),
            );
            check(
                &json!({"input_tokens": prompt, "output_tokens": completion}),
                Some((12, 5)),
            );
        }
        check(
            &json!({"prompt_tokens": 12, "completion_tokens": 0}),
            Some((12, 0)),
        );
    }

    #[test]
    fn what_makes_no_sense_is_unknown() {
        for bad in [
            Value::Null,
            json!(-1),
            json!(-0.6),
            json!(1e300),
            json!(u64::MAX),
            json!(1_000_000_001),
            json!("many"),
            json!(""),
            json!("-3"),
            json!("NaN"),
            json!("inf"),
            json!(true),
            json!([5]),
            json!({"n": 5}),
        ] {
            check(&json!({"prompt_tokens": bad, "completion_tokens": 5}), None);
            check(
                &json!({"prompt_tokens": 12, "completion_tokens": bad}),
                None,
            );
        }
        for none in [
            Value::Null,
            json!({}),
            json!([]),
            json!("12"),
            json!({"prompt_tokens": 0, "completion_tokens": 0}),
        ] {
            check(&none, None);
        }
        assert_eq!(usage(&json!({})), None);
        assert_eq!(usage(&json!([1])), None);
    }

    #[test]
    fn what_the_prompt_cache_took_counts() {
        let with = |read: Value| json!({"input_tokens": 3, "cache_read_input_tokens": read, "cache_creation_input_tokens": null, "output_tokens": 5});
        check(&with(json!(4)), Some((7, 5)));
        check(&with(json!("4")), Some((7, 5)));
        check(&with(json!("x")), None);
    }

    #[test]
    fn one_of_the_two_follows_from_the_total() {
        check(
            &json!({"prompt_tokens": 12, "total_tokens": 17}),
            Some((12, 5)),
        );
        check(
            &json!({"completion_tokens": 5, "total_tokens": "17"}),
            Some((12, 5)),
        );
        check(&json!({"prompt_tokens": 12, "total_tokens": 7}), None);
        check(&json!({"total_tokens": 7}), None);
    }

    proptest! {
        #[test]
        fn any_number_is_read_the_same_as_int_float_and_text(n in 1..=MOST) {
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let float = n as f64;
            for form in [json!(n), json!(float), json!(n.to_string()), json!(format!("{float:?}"))] {
                let reply = json!({"usage": {"prompt_tokens": form, "completion_tokens": 1}});
                prop_assert_eq!(usage(&reply), Some(Usage { prompt: n, completion: 1 }));
            }
        }

        #[test]
        fn no_number_is_too_odd(n in any::<f64>(), m in any::<i64>()) {
            let usage = usage(&json!({"usage": {"prompt_tokens": n, "completion_tokens": m}}));
            prop_assert!(usage.is_none_or(|of| of.prompt <= MOST && of.completion <= MOST));
        }
    }
}
