//! Plots as inline SVG: drawn in the page's colours, with a title and a description for screen
//! readers.

use std::fmt::{Display, Write as _};

/// A drawing with its own coordinates, scaled to the available width.
pub struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

/// A class of the page's style sheet, which defines the colours.
pub type Class = &'static str;

/// The point of a text that is placed at its coordinates.
#[derive(Debug, Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Drawing {
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    fn push(&mut self, what: impl Display) {
        write!(self.body, "{what}").expect("writing to a string cannot fail");
    }

    /// Draws a bar; `words` is its tooltip.
    pub fn bar(&mut self, at: (f64, f64), size: (f64, f64), class: Class, words: &str) {
        let ((x, y), (width, height)) = (at, size);
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{}</title></rect>"#,
            escape(words)
        ));
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: Class) {
        self.push(format_args!(
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    pub fn curve(&mut self, points: &[(f64, f64)], class: Class) {
        let points: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.push(format_args!(
            r#"<polyline class="{class}" points="{}"/>"#,
            points.join(" ")
        ));
    }

    pub fn dot(&mut self, at: (f64, f64), class: Class, words: &str) {
        self.push(format_args!(
            r#"<circle class="{class}" cx="{:.1}" cy="{:.1}" r="2.6"><title>{}</title></circle>"#,
            at.0,
            at.1,
            escape(words)
        ));
    }

    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, class: Class, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            r#"<text class="{class}" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            at.0,
            at.1,
            escape(text)
        ));
    }

    /// Returns the SVG; `id` must be unique on the page.
    pub fn finish(self, id: &str, title: &str, description: &str) -> String {
        let Self {
            width,
            height,
            body,
        } = self;
        format!(
            r#"<svg viewBox="0 0 {width:.0} {height:.0}" role="img" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc>{body}</svg>"#,
            escape(title),
            escape(description)
        )
    }
}

/// Returns a round step (1, 2 or 5 times a power of ten) with which an axis reaches `most` in at
/// most five steps.
pub fn axis_step(most: f64) -> f64 {
    let least = (most / 5.0).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|of| of * power >= least);
    factor.unwrap_or(10.0) * power
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_at_most_five_reach_the_top() {
        for (most, want) in [
            (100.0, 20.0),
            (41.0, 10.0),
            (0.9, 0.2),
            (1.0, 0.2),
            (6.0, 2.0),
        ] {
            let step = axis_step(most);
            assert!((step - want).abs() < 1e-9, "{most}: {step}");
        }
    }

    #[test]
    fn no_text_can_pose_as_markup() {
        let mut drawing = Drawing::new(10.0, 10.0);
        drawing.text((0.0, 0.0), Anchor::Start, "l", "<script>\"&");
        let svg = drawing.finish("a", "<b>", "&");
        assert!(
            svg.contains("&lt;script&gt;&quot;&amp;") && !svg.contains("<b>"),
            "{svg}"
        );
    }
}
