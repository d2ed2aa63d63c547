//! JSON as servers write it: read strictly, and if that fails, repaired where its meaning is beyond
//! doubt. A reply is paid for, whatever its server's JSON writer got wrong.

use std::iter::Peekable;
use std::str::CharIndices;

use serde_json::{Deserializer, Value};

/// Reads the first value of a text and ignores the rest. Unwraps JSON within a JSON string, or a
/// list of one object, which some gateways make of a reply.
pub(super) fn read(text: &str) -> Option<Value> {
    let begins = text.trim_start().starts_with(['{', '[', '"']);
    let value = first(text).or_else(|| begins.then(|| first(&mended(text)))?)?;
    match &value {
        Value::String(inner) if inner.trim_start().starts_with('{') => first(inner).or(Some(value)),
        Value::Array(list) if list.len() == 1 && list[0].is_object() => Some(list[0].clone()),
        _ => Some(value),
    }
}

fn first(text: &str) -> Option<Value> {
    let mut values = Deserializer::from_str(text).into_iter::<Value>();
    values.next()?.ok()
}

/// Repairs what JSON forbids but has one clear meaning: non-finite numbers (`NaN`, `1e999`) and
/// words of other languages become null, halves of surrogate pairs become U+FFFD, bare control
/// characters in strings are escaped, commas before a closing bracket are removed.
fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => {
                out.push('"');
                string(&mut rest, &mut out);
            }
            ']' | '}' => {
                if out.trim_end().ends_with(',') {
                    out.truncate(out.trim_end().len() - 1);
                }
                out.push(c);
            }
            '-' | '+' | '.' | '0'..='9' | 'A'..='Z' | 'a'..='z' => {
                let mut end = at + 1;
                while let Some((next, _)) =
                    rest.next_if(|(_, c)| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'))
                {
                    end = next + 1;
                }
                out.push_str(&word(&text[at..end]));
            }
            _ => out.push(c),
        }
    }
    out
}

/// Returns a number or a word outside strings as valid JSON.
fn word(word: &str) -> String {
    let number = || word.parse::<f64>().ok().filter(|number| number.is_finite());
    match word {
        "true" | "false" | "null" => word.to_owned(),
        "True" => "true".to_owned(),
        "False" => "false".to_owned(),
        _ if first(word).is_some_and(|value| value.is_number()) && number().is_some() => {
            word.to_owned()
        }
        _ => number().map_or_else(|| "null".to_owned(), |number| format!("{number:?}")),
    }
}

/// Copies a string, from behind its opening quote to its closing one.
fn string(rest: &mut Peekable<CharIndices<'_>>, out: &mut String) {
    while let Some((_, c)) = rest.next() {
        match c {
            '"' => {
                out.push('"');
                return;
            }
            '\\' => escape(rest, out),
            c if c < '\u{20}' => out.push_str(&escaped(c)),
            c => out.push(c),
        }
    }
}

fn escaped(c: char) -> String {
    unit_escaped(u32::from(c))
}

/// Returns a UTF-16 code unit as a JSON escape.
fn unit_escaped(unit: u32) -> String {
    format!("\\u{unit:04x}")
}

/// Copies the escape sequence that follows a backslash in a string.
fn escape(rest: &mut Peekable<CharIndices<'_>>, out: &mut String) {
    let Some((_, c)) = rest.next() else {
        return;
    };
    match c {
        '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => out.extend(['\\', c]),
        '\'' => out.push(c),
        'u' => match code(rest) {
            Some(unit @ 0xd800..=0xdbff) => {
                let mut ahead = rest.clone();
                let low = (ahead.next().is_some_and(|(_, c)| c == '\\')
                    && ahead.next().is_some_and(|(_, c)| c == 'u'))
                .then(|| code(&mut ahead))
                .flatten()
                .filter(|low| (0xdc00..=0xdfff).contains(low));
                match low {
                    Some(low) => {
                        *rest = ahead;
                        out.push_str(&unit_escaped(unit));
                        out.push_str(&unit_escaped(low));
                    }
                    None => out.push('\u{fffd}'),
                }
            }
            Some(unit) => match char::from_u32(unit) {
                Some(c) => out.push_str(&escaped(c)),
                None => out.push('\u{fffd}'),
            },
            None => out.push('\u{fffd}'),
        },
        c if c < '\u{20}' => {
            out.push_str("\\\\");
            out.push_str(&escaped(c));
        }
        c => out.extend(['\\', '\\', c]),
    }
}

/// Reads four hexadecimal digits; consumes nothing if there are fewer.
fn code(rest: &mut Peekable<CharIndices<'_>>) -> Option<u32> {
    let mut ahead = rest.clone();
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + ahead.next()?.1.to_digit(16)?;
    }
    *rest = ahead;
    Some(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: &Value) {
        assert_eq!(read(text).as_ref(), Some(want), "{text}");
    }

    #[test]
    fn what_nobody_can_misread_is_read() {
        check(
            "{\"a\": NaN, \"b\": -Infinity, \"c\": 1e999, \"d\": None, \"e\": True}",
            &json!({"a": null, "b": null, "c": null, "d": null, "e": true}),
        );
        check(
            "{\"a\": 01, \"b\": .5, \"c\": +2, \"d\": 7}",
            &json!({"a": 1.0, "b": 0.5, "c": 2.0, "d": 7}),
        );
        check("{\"a\": \"x\\ud83d\"}", &json!({"a": "x\u{fffd}"}));
        check(
            "{\"a\": \"x\\ude00y\", \"b\": NaN, \"c\": \"\\ud83d\\ude00\"}",
            &json!({"a": "x\u{fffd}y", "b": null, "c": "😀"}),
        );
        check(
            "{\"a\": \"two\nlines\tand \\' \\x\"}",
            &json!({"a": "two\nlines\tand ' \\x"}),
        );
        check("{\"a\": [1, 2,], }", &json!({"a": [1, 2]}));
        check(" {\"a\": 1}\n\0\0", &json!({"a": 1}));
        check("{\"a\": 1} trailing", &json!({"a": 1}));
        check("{\"a\": 1, \"a\": 2}", &json!({"a": 2}));
        check("\"{\\\"a\\\": 1}\"", &json!({"a": 1}));
        check("[{\"a\": 1}]", &json!({"a": 1}));
    }

    #[test]
    fn what_is_no_json_or_breaks_off_is_not_read() {
        for text in [
            "",
            " ",
            "<html>502</html>",
            "upstream error",
            "{\"a\": [1, 2",
            "{\"a\": \"x",
            "{\"a\" 1}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn mending_changes_nothing_that_is_right(texts in prop::collection::vec(any::<String>(), 0..4), n in any::<i64>(), x in -1e6..1e6) {
            let value = json!({"texts": texts, "n": n, "x": x, "deep": [{"a": [true, null, {}]}]});
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                prop_assert_eq!(first(&mended(&text)), first(&text));
            }
        }

        #[test]
        fn no_text_is_too_odd(text in any::<String>(), pieces in prop::collection::vec(
            prop::sample::select(vec!["{", "}", "\"", "\\", "u", "d83d", ",", "[", "]", "1e9", "\n", "a", ":", "-"]), 0..30,
        )) {
            read(&text);
            read(&pieces.concat());
        }
    }
}
