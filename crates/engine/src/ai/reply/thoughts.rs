//! Removes the thoughts of reasoning models from the text, which should be the answer alone.
//!
//! Servers without a reasoning parser leave them in: `<think>…</think>` before the answer, often
//! without the opening tag (it was in the prompt's template), sometimes without the closing one
//! (the token budget ended). A thought that is stored would be given to everyone who asks, so text
//! that is not certainly the answer is left out, and a reply of nothing but thoughts has no answer.
//!
//! Text that only mentions such a tag, in quotes, in code or in the middle of a line, is left
//! unchanged.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The rest of a text without its thoughts.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ai) enum Spoken<'a> {
    /// The answer; borrowed and unchanged if there were no thoughts.
    Answer(Cow<'a, str>),
    /// The text consists of thoughts alone.
    Nothing,
    /// The text ends within its thoughts.
    Unfinished,
}

/// Removes the thoughts from a text.
pub(in crate::ai) fn without_thoughts(text: &str) -> Spoken<'_> {
    if let Some(spoken) = channels(text) {
        return spoken;
    }
    if let Some(spoken) = headings(text) {
        return spoken;
    }
    let tags = tags(text);
    if tags.is_empty() {
        return Spoken::Answer(Cow::Borrowed(text));
    }
    let mut cut = Cut::new(text);
    for tag in &tags {
        cut.take(tag);
    }
    cut.end()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern, compiled by the tests")
}

/// The tags of reasoning models: `<think>`, `</think>`, `<Thinking type="x">`, `<seed:think>`,
/// `◁think▷`, `[THINK]`, `<|START_THINKING|>`, `<|begin_of_thought|>`, and escaped ones.
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    let names = "think|thinking|thoughts?|thought_process|reasoning|reason|reflection|analysis|scratchpad|inner_monologue";
    regex(&format!(
        r"(?ix)
        (?: < | &lt; | ◁ ) \s* (?<close>/)? \s* (?: [a-z]+ : )? (?: {names} ) (?: \s [^<>◁▷]{{0,200}}? )? (?<empty>/)? \s* (?: > | &gt; | ▷ )
        | \[ \s* (?<close2>/)? \s* (?: think | thinking | reasoning ) \s* \]
        | < [|｜] \s* (?: start[_▁] | begin[_▁](?:of[_▁])? | (?<close3> / | end[_▁](?:of[_▁])? ) )? (?: think | thinking | thoughts? | reasoning ) \s* [|｜] >"
    ))
});

/// The tags in which reasoning models wrap the answer itself, after their thoughts.
static WRAPPED: LazyLock<Regex> = LazyLock::new(|| {
    let names = "answer|final_answer|final|response|solution|output";
    regex(&format!(
        r"(?isx) ^ \s* (?: < \s* (?: {names} ) \s* > | <\| (?: start_ | begin_of_ ) (?: {names} ) \|> )
        (?<answer> .*? )
        (?: (?: < \s* / \s* (?: {names} ) \s* > | <\| end_ (?:of_)? (?: {names} ) \|> ) \s* )? $"
    ))
});

#[derive(Debug)]
struct Tag {
    at: Range<usize>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Close,
    /// `<think/>`: an empty thought.
    Empty,
}

fn tags(text: &str) -> Vec<Tag> {
    let kind = |found: &Captures<'_>| {
        let has = |name| found.name(name).is_some();
        if has("close") || has("close2") || has("close3") {
            Kind::Close
        } else if has("empty") {
            Kind::Empty
        } else {
            Kind::Open
        }
    };
    TAG.captures_iter(text)
        .filter_map(|found| {
            let at = found.get(0)?.range();
            Some(Tag {
                at,
                kind: kind(&found),
            })
        })
        .collect()
}

/// A walk over the tags of a text.
struct Cut<'a> {
    text: &'a str,
    answer: String,
    /// The text before this offset is already decided.
    decided: usize,
    within: bool,
    /// The number of opening tags that are only mentioned; their closing tags are mentions, too.
    mentioned: usize,
    changed: bool,
}

impl<'a> Cut<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            answer: String::new(),
            decided: 0,
            within: false,
            mentioned: 0,
            changed: false,
        }
    }

    fn take(&mut self, tag: &Tag) {
        if is_quoted(self.text, &tag.at) || (!self.within && is_in_fence(self.text, &tag.at)) {
            return;
        }
        match tag.kind {
            Kind::Open | Kind::Empty if self.within => {}
            Kind::Open | Kind::Empty if !self.begins_a_thought(tag) => self.mentioned += 1,
            Kind::Open | Kind::Empty => {
                self.answer.push_str(&self.text[self.decided..tag.at.start]);
                self.within = tag.kind == Kind::Open;
                self.cut_to(tag.at.end);
            }
            Kind::Close if self.within => {
                self.within = false;
                self.cut_to(tag.at.end);
            }
            Kind::Close if self.mentioned > 0 => self.mentioned -= 1,
            // The opening tag is missing: everything before this closing tag was thought.
            Kind::Close => {
                self.answer.clear();
                self.cut_to(tag.at.end);
            }
        }
    }

    fn cut_to(&mut self, end: usize) {
        self.decided = end;
        self.changed = true;
    }

    /// Returns true if an opening tag begins a thought rather than mentions the tag. Models begin a
    /// thought on a new line or directly after the last token; people mention a tag between blanks,
    /// and a mentioned tag closes on its own line, if at all.
    fn begins_a_thought(&self, tag: &Tag) -> bool {
        let before = &self.text[self.decided..tag.at.start];
        let line = before.rsplit('\n').next().unwrap_or_default();
        if line.trim().is_empty() && (before.len() > line.len() || self.answer.trim().is_empty()) {
            return true;
        }
        if !before.ends_with(char::is_whitespace) {
            return true;
        }
        let after = &self.text[tag.at.end..];
        let closing = TAG.captures_iter(after).find_map(|found| {
            let closes = ["close", "close2", "close3"];
            let closes = closes.iter().any(|name| found.name(name).is_some());
            closes
                .then(|| found.get(0).map(|all| all.start()))
                .flatten()
        });
        closing.is_some_and(|closing| after[..closing].contains('\n'))
    }

    fn end(mut self) -> Spoken<'a> {
        if self.within {
            return Spoken::Unfinished;
        }
        if !self.changed {
            return Spoken::Answer(Cow::Borrowed(self.text));
        }
        self.answer.push_str(&self.text[self.decided..]);
        spoken(&self.answer)
    }
}

/// Returns the text after the thoughts, without its wrapping tags.
fn spoken(rest: &str) -> Spoken<'static> {
    let answer = match WRAPPED
        .captures(rest)
        .and_then(|found| found.name("answer"))
    {
        Some(answer) => answer.as_str().trim(),
        None => rest.trim(),
    };
    if answer.is_empty() {
        Spoken::Nothing
    } else {
        Spoken::Answer(Cow::Owned(answer.to_owned()))
    }
}

/// Returns true if a tag is in quotes or in code on its line.
fn is_quoted(text: &str, at: &Range<usize>) -> bool {
    let line_start = text[..at.start].rfind('\n').map_or(0, |found| found + 1);
    let before = &text[line_start..at.start];
    let after = text[at.end..].split('\n').next().unwrap_or_default();
    let inside = |quote: char| before.matches(quote).count() % 2 == 1;
    // Everything between backticks is code.
    if inside('`') && after.contains('`') {
        return true;
    }
    match (before.chars().next_back(), after.chars().next()) {
        (Some(quote @ ('"' | '\'')), Some(end)) if end == quote => inside(quote),
        (Some('“' | '„'), Some('”' | '“')) | (Some('‘'), Some('’')) | (Some('«'), Some('»')) => {
            true
        }
        _ => false,
    }
}

/// Returns true if a tag is in a fenced block of code that is closed after it.
fn is_in_fence(text: &str, at: &Range<usize>) -> bool {
    let fences = |part: &str| {
        part.lines()
            .filter(|line| matches!(line.trim_start().get(..3), Some("```" | "~~~")))
            .count()
    };
    fences(&text[..at.start]) % 2 == 1 && fences(&text[at.end..]) > 0
}

/// Reads the format of gpt-oss ("harmony"): channels of which only `final` is the answer. `None` if
/// the text is not in this format.
fn channels(text: &str) -> Option<Spoken<'static>> {
    const CHANNEL: &str = "<|channel|>";
    static FINAL: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"<\|channel\|>\s*final\b(?:\s*<\|constrain\|>\s*\w+)?\s*(?:<\|message\|>)?")
    });
    static BODY_END: LazyLock<Regex> =
        LazyLock::new(|| regex(r"<\|(?:end|return|start|call|channel)\|>"));
    /// The rest of this format when a server drops the special tokens.
    static BARE: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?s)^\s*analysis[A-Z].*?(?:assistantfinal(?<answer>.*))?$"));

    if let Some(found) = BARE.captures(text) {
        return Some(match found.name("answer") {
            Some(answer) => spoken(answer.as_str()),
            None => Spoken::Unfinished,
        });
    }
    let begins = text.trim_start();
    let is_one = begins.starts_with(CHANNEL)
        || begins.starts_with("<|start|>")
        || FINAL
            .find(text)
            .is_some_and(|found| !is_quoted(text, &found.range()));
    if !is_one {
        return None;
    }
    let answer: String = FINAL
        .find_iter(text)
        .map(|found| {
            let body = &text[found.end()..];
            let end = BODY_END.find(body).map_or(body.len(), |end| end.start());
            &body[..end]
        })
        .collect();
    let ended = ["<|end|>", "<|return|>"]
        .iter()
        .any(|end| text.trim_end().ends_with(end));
    Some(match spoken(&answer) {
        Spoken::Nothing if !ended => Spoken::Unfinished,
        other => other,
    })
}

/// Reads the format of IBM's Granite: two fixed headings. `None` if the text is not in this format.
fn headings(text: &str) -> Option<Spoken<'static>> {
    static THOUGHT: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?i)^\s*here(?:'|’| i)s my thought process:"));
    static RESPONSE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)here(?:'|’| i)s my response:"));
    THOUGHT.find(text)?;
    Some(match RESPONSE.find(text) {
        Some(found) => spoken(&text[found.end()..]),
        None => Spoken::Unfinished,
    })
}

#[cfg(test)]
mod tests;
