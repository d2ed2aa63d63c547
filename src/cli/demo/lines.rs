//! The demo as lines, for pipes, files and terminals that cannot place the cursor: one line per
//! second with the numbers, and one for each change that matters.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::commands::{Addresses, commands};
use super::figures::{Frame, percent, time};
use super::panel::{DemoPhase, Scene};
use crate::demo::{Changes, Effect, Place, Seen};
use crate::topology::Look;

/// The time after which a closing is written a second time, with its effect until then.
const FOLLOW_UP: Duration = Duration::from_secs(3);

/// The state of the lines: what has been written already.
pub struct Lines {
    look: Look,
    began: Instant,
    written: Instant,
    frame: Frame,
    /// The time at which a change was first written, and true once nothing more is to be written of
    /// it. Only changes that [`Changes`] still keeps.
    told: HashMap<Place, (Instant, bool)>,
    drains: bool,
}

impl Lines {
    /// Returns the lines of a demo that began at `began`.
    pub fn new(began: Instant, look: Look) -> Self {
        Self {
            look,
            began,
            // So that the first line covers a whole second.
            written: Instant::now(),
            frame: Frame::default(),
            told: HashMap::new(),
            drains: false,
        }
    }

    /// Writes an introduction: the addresses, and commands to try.
    pub fn introduce(addresses: &Addresses, out: &mut dyn Write) -> io::Result<()> {
        let Addresses { kafka, metrics } = addresses;
        writeln!(
            out,
            "wedcache demo: the real program on an embedded broker; the AI provider is simulated.\n"
        )?;
        writeln!(out, "  Kafka    {kafka}\n  metrics  {metrics}\n")?;
        writeln!(out, "Try in another terminal:")?;
        for command in commands(addresses) {
            writeln!(out, "# {}", command.purpose)?;
            for line in command.lines {
                writeln!(out, "{line}")?;
            }
        }
        writeln!(out)?;
        out.flush()
    }

    /// Writes the lines that are due at `now`.
    pub fn show(
        &mut self,
        scene: &Scene<'_>,
        seen: &Seen,
        (now, out): (Instant, &mut dyn Write),
    ) -> io::Result<()> {
        for line in self.new_lines(scene, seen, now) {
            writeln!(out, "{}", super::ascii(&line, self.look))?;
        }
        out.flush()
    }

    fn new_lines(&mut self, scene: &Scene<'_>, seen: &Seen, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        let second = Duration::from_secs(1);
        let since = |at: Instant| now.saturating_duration_since(at);
        if since(self.written) >= second && scene.phase == DemoPhase::Running {
            self.written = now;
            self.frame.take(seen);
            lines.push(numbers(&self.frame, since(self.began)));
            lines.extend(self.changes(&seen.changes, now));
        }
        if scene.phase == DemoPhase::Draining && !std::mem::replace(&mut self.drains, true) {
            lines.push("draining: calls under way are finished".to_owned());
        }
        lines
    }

    /// Returns sentences on the changes since the last second: closings, changes from outside the
    /// season, and the change of the season that forbade most answers.
    fn changes(&mut self, changes: &Changes, now: Instant) -> Vec<String> {
        let mut effects: Vec<&Effect> = changes.effects().collect();
        effects.reverse();
        let mut lines = Vec::new();
        let mut most: Option<&Effect> = None;
        let is_pinned = |of: &Effect| of.is_closing() || of.is_of_a_stranger();
        for effect in effects.iter().filter(|of| of.sentence().is_some()) {
            match self.told.get_mut(effect.place()) {
                None if is_pinned(effect) => {
                    lines.extend(effect.sentence());
                    let is_all = !effect.is_closing();
                    self.told.insert(effect.place().clone(), (now, is_all));
                }
                None => {
                    self.told.insert(effect.place().clone(), (now, true));
                    if effect.forbidden > most.map_or(0, |of| of.forbidden) {
                        most = Some(effect);
                    }
                }
                Some((at, is_all))
                    if !*is_all && now.saturating_duration_since(*at) >= FOLLOW_UP =>
                {
                    *is_all = true;
                    lines.extend(effect.sentence());
                }
                Some(_) => {}
            }
        }
        lines.extend(most.and_then(Effect::sentence));
        let known = |place: &Place| effects.iter().any(|of| of.place() == place);
        self.told.retain(|place, _| known(place));
        lines
            .into_iter()
            .map(|line| format!("        {line}"))
            .collect()
    }
}

fn numbers(frame: &Frame, elapsed: Duration) -> String {
    let now = &frame.now;
    format!(
        "{:>4} s  {:>5}/s  hits {:>3} %  AI calls {:>3} %  failed {}  p50 {}  p99 {}",
        elapsed.as_secs(),
        frame.answers_now(),
        percent(frame.rate_now()),
        percent(frame.calls_now()),
        now.failed,
        time(now.p50),
        time(now.p99),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::LogRecord;
    use crate::demo::Told;
    use crate::model::{Progress, Timestamp};

    const ASCII: Look = Look {
        unicode: false,
        colour: false,
    };

    fn addresses() -> Addresses {
        Addresses {
            kafka: "127.0.0.1:19092".to_owned(),
            metrics: "http://127.0.0.1:19464/metrics".to_owned(),
        }
    }

    /// Returns the lines written for `seen`, `after` ms after the start.
    fn written(lines: &mut Lines, seen: &Seen, (after, phase): (u64, DemoPhase)) -> String {
        let addresses = addresses();
        let scene = Scene {
            addresses: &addresses,
            phase,
            left: None,
        };
        let now = lines.began + Duration::from_millis(after);
        let mut out = Vec::new();
        lines.show(&scene, seen, (now, &mut out)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_second_is_a_line_and_a_closing_is_told_twice() {
        let (mut lines, mut seen) = (Lines::new(Instant::now(), ASCII), Seen::default());
        assert_eq!(written(&mut lines, &seen, (500, DemoPhase::Running)), "");
        let numbers = |after| {
            format!(
                "{after:>4} s      0/s  hits   0 %  AI calls   0 %  failed 0  p50 0.0 ms  p99 0.0 ms\n"
            )
        };
        let told = Told {
            text: "v-3 closed".to_owned(),
            closed: Some("v-3".to_owned()),
            ..Told::default()
        };
        seen.changes
            .change(("v".to_owned(), 0, 4), Timestamp(1000), told);
        let judged = LogRecord::Progress(Progress {
            topic: "v".to_owned(),
            topic_id: None,
            partition: 0,
            next: 5,
            at: Timestamp(1004),
        });
        seen.changes.log_record(0, &judged, Timestamp(1008));
        let closing = "        v-3 closed -> concerned no answer given so far in 8 ms\n";
        let running = |lines: &mut Lines, after| written(lines, &seen, (after, DemoPhase::Running));
        assert_eq!(running(&mut lines, 1200), numbers(1) + closing);
        assert_eq!(running(&mut lines, 1900), "");
        assert_eq!(running(&mut lines, 2200), numbers(2));
        assert_eq!(running(&mut lines, 5200), numbers(5) + closing);
        assert_eq!(running(&mut lines, 9200), numbers(9));
        let draining = "draining: calls under way are finished\n";
        assert_eq!(
            written(&mut lines, &seen, (9300, DemoPhase::Draining)),
            draining
        );
        assert_eq!(written(&mut lines, &seen, (9900, DemoPhase::Draining)), "");
    }

    #[test]
    fn the_introduction_has_addresses_and_commands_that_can_be_copied() {
        let mut out = Vec::new();
        Lines::introduce(&addresses(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for command in commands(&addresses()) {
            let as_it_is = command.lines.join("\n");
            assert!(text.contains(&as_it_is), "{as_it_is}\n{text}");
        }
    }
}
