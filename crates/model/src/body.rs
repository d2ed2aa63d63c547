//! An answer's text, kept in the form in which it is sent: escaping 1.5 KB costs more than the rest
//! of encoding a JSON answer.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The form in which a text is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The text as the model wrote it: the form of Avro records and of stored entries.
    #[default]
    Plain,
    /// The text escaped as the inside of a JSON string.
    Json,
}

/// A text in one of the forms, or in both if nothing in it has to be escaped. Cheap to clone.
#[derive(Clone)]
pub struct Body {
    text: Arc<str>,
    kept: Kept,
    /// The length of the plain text in bytes.
    len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Plain,
    Escaped,
    /// The two forms are the same.
    Both,
}

impl Body {
    /// Returns the plain text's length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the memory that the text takes, in bytes.
    pub fn weight(&self) -> usize {
        self.text.len()
    }

    /// Returns the text as the model wrote it.
    pub fn plain(&self) -> Cow<'_, str> {
        match self.kept {
            Kept::Plain | Kept::Both => Cow::Borrowed(&self.text),
            Kept::Escaped => Cow::Owned(unescape(&self.text)),
        }
    }

    /// Returns the text as the inside of a JSON string.
    pub fn escaped(&self) -> Cow<'_, str> {
        match self.kept {
            Kept::Escaped | Kept::Both => Cow::Borrowed(&self.text),
            Kept::Plain => Cow::Owned(escape(&self.text)),
        }
    }

    /// Returns the text in another form; `None` if it is already kept in that form.
    pub fn in_form(&self, form: Form) -> Option<Self> {
        match (self.kept, form) {
            (Kept::Both, _) | (Kept::Plain, Form::Plain) | (Kept::Escaped, Form::Json) => None,
            (Kept::Escaped, Form::Plain) => Some(Self::from(unescape(&self.text))),
            (Kept::Plain, Form::Json) => {
                let escaped = escape(&self.text);
                Some(if escaped.len() == self.len {
                    Self {
                        kept: Kept::Both,
                        ..self.clone()
                    }
                } else {
                    Self {
                        text: escaped.into(),
                        kept: Kept::Escaped,
                        len: self.len,
                    }
                })
            }
        }
    }
}

fn escape(plain: &str) -> String {
    let mut quoted = serde_json::to_string(plain).expect("any text can be written as JSON");
    quoted.pop();
    quoted.remove(0);
    quoted
}

fn unescape(escaped: &str) -> String {
    serde_json::from_str(&format!("\"{escaped}\"")).expect("it was escaped here")
}

impl From<&str> for Body {
    fn from(plain: &str) -> Self {
        Self {
            text: plain.into(),
            kept: Kept::Plain,
            len: plain.len(),
        }
    }
}

impl From<String> for Body {
    fn from(plain: String) -> Self {
        Self::from(plain.as_str())
    }
}

/// Compares the texts, whatever their form.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.plain() == other.plain()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.plain(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_the_same_in_both_forms(text in "(\\PC|[\"\\\\\n\u{7f}é])*") {
            let plain = Body::from(text.as_str());
            let quoted = serde_json::to_string(&text).unwrap();
            let json = plain.in_form(Form::Json).unwrap();
            for body in [&plain, &json] {
                prop_assert_eq!(body.plain(), text.as_str());
                prop_assert_eq!(format!("\"{}\"", body.escaped()), quoted.as_str());
                prop_assert_eq!(body.len(), text.len());
            }
            prop_assert_eq!(&json, &plain);
            prop_assert!(json.in_form(Form::Json).is_none());
            let back = json.in_form(Form::Plain).unwrap_or(json);
            prop_assert_eq!(back, plain);
        }
    }

    #[test]
    fn what_needs_no_escape_is_kept_once() {
        let body = Body::from("plain é").in_form(Form::Json).unwrap();
        assert!(matches!(body.plain(), Cow::Borrowed(_)));
        assert!(matches!(body.escaped(), Cow::Borrowed(_)));
    }
}
