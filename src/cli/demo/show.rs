//! Shows a demo from its start to the end of its drain.

use std::io;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::widgets::Paragraph;
use tokio_util::sync::CancellationToken;

use super::Screen;
use super::commands::Addresses;
use super::figures::Frame;
use super::lines::Lines;
use super::panel::{DemoPhase, Panel, Scene};
use super::span::Span;
use crate::demo::{Demo, Watch};
use crate::topology::Look;

/// The interval at which keys are read and lines are written.
const TICK: Duration = Duration::from_millis(50);
/// The interval at which the panel is drawn, unless a key was pressed.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// The interval at which the panel's numbers change.
const NUMBERS_EVERY: Duration = Duration::from_secs(1);

/// The end of a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Drained,
    /// The demo was told to end a second time, while it drained.
    ToldTwice,
}

/// A command from the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    End,
    CloseVendor,
}

/// A demo with the view that shows it.
pub struct Show {
    pub addresses: Addresses,
    pub span: Span,
    pub stop: CancellationToken,
}

impl Show {
    /// Shows the demo until it is told to end, its time is over or the instance has ended; then
    /// drains it and shows the drain.
    pub async fn run(
        &self,
        demo: Demo,
        mut view: View,
        screen: &mut Screen<'_>,
    ) -> anyhow::Result<Ended> {
        let watch = demo.watch().clone();
        let mut shown = self.until_told(&demo, &mut view, screen).await;
        self.stop.cancel();
        let mut ending = std::pin::pin!(demo.end());
        let mut ticks = tokio::time::interval(TICK);
        let ended = loop {
            // The drain is waited for even where nothing can be shown any more.
            if shown.is_ok() {
                shown = self.show(&mut view, &watch, DemoPhase::Draining, screen);
            }
            tokio::select! {
                ended = &mut ending => break ended.map(|()| Ended::Drained),
                _ = ticks.tick() => {}
            }
            match view.keys() {
                Ok(keys) if keys.contains(&Key::End) => break Ok(Ended::ToldTwice),
                Ok(_) => {}
                Err(error) => shown = shown.and(Err(error)),
            }
        };
        view.close()?;
        shown?;
        Ok(ended?)
    }

    async fn until_told(
        &self,
        demo: &Demo,
        view: &mut View,
        screen: &mut Screen<'_>,
    ) -> io::Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        while !self.stop.is_cancelled() && !demo.is_over() && !self.span.is_over(Instant::now()) {
            self.show(view, demo.watch(), DemoPhase::Running, screen)?;
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.stop.cancelled() => {}
            }
            for key in view.keys()? {
                match key {
                    Key::End => self.stop.cancel(),
                    Key::CloseVendor => demo.close_most_named(),
                }
            }
        }
        Ok(())
    }

    fn show(
        &self,
        view: &mut View,
        watch: &Watch,
        phase: DemoPhase,
        screen: &mut Screen<'_>,
    ) -> io::Result<()> {
        let now = Instant::now();
        let scene = Scene {
            addresses: &self.addresses,
            phase,
            left: self.span.left(now),
        };
        match view {
            View::Panel(panel) => panel.draw(scene, watch, now),
            View::Lines(lines) => lines.show(&scene, &watch.look(), (now, &mut *screen.out)),
        }
    }
}

/// The output of the demo.
pub enum View {
    Panel(PanelView),
    Lines(Lines),
}

impl View {
    /// Takes over the terminal for the panel, or introduces the lines.
    pub fn open(
        has_panel: bool,
        began: Instant,
        screen: &mut Screen<'_>,
        addresses: &Addresses,
    ) -> io::Result<Self> {
        if has_panel {
            match PanelView::open(screen.look) {
                Ok(panel) => return Ok(Self::Panel(panel)),
                Err(error) => {
                    writeln!(
                        screen.out,
                        "no panel on this terminal ({error}): lines instead"
                    )?;
                }
            }
        }
        Lines::introduce(addresses, &mut *screen.out)?;
        Ok(Self::Lines(Lines::new(began, screen.look)))
    }

    fn keys(&mut self) -> io::Result<Vec<Key>> {
        match self {
            Self::Panel(panel) => panel.keys(),
            Self::Lines(_) => Ok(Vec::new()),
        }
    }

    /// Restores the terminal.
    fn close(self) -> io::Result<()> {
        match self {
            Self::Panel(panel) => panel.close(),
            Self::Lines(_) => Ok(()),
        }
    }
}

/// The panel on its terminal.
pub struct PanelView {
    terminal: DefaultTerminal,
    look: Look,
    frame: Frame,
    counted: Option<Instant>,
    drawn: Option<(Instant, DemoPhase)>,
}

impl PanelView {
    fn open(look: Look) -> io::Result<Self> {
        let opened = ratatui::try_init().and_then(|terminal| {
            // Fails here, rather than in the middle of the demo, where no keys can be read.
            event::poll(Duration::ZERO)?;
            Ok(Self {
                terminal,
                look,
                frame: Frame::default(),
                counted: None,
                drawn: None,
            })
        });
        if opened.is_err() {
            // A failed start may have set up a part of the terminal.
            ratatui::restore();
        }
        opened
    }

    fn draw(&mut self, scene: Scene<'_>, watch: &Watch, now: Instant) -> io::Result<()> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_drawn =
            |(at, phase): (Instant, DemoPhase)| phase == scene.phase && since(at) < DRAW_EVERY;
        if self.drawn.is_some_and(is_drawn) {
            return Ok(());
        }
        self.drawn = Some((now, scene.phase));
        let seen = watch.look();
        if self.counted.is_none_or(|at| since(at) >= NUMBERS_EVERY) {
            self.counted = Some(now);
            self.frame.take(&seen);
        }
        let panel = Panel {
            scene,
            frame: &self.frame,
            changes: &seen.changes,
            look: self.look,
        };
        let rows = panel.rows(self.terminal.size()?);
        // Before the terminal, which may be slow: the readers and the season wait for this lock.
        drop(seen);
        self.terminal
            .draw(|area| area.render_widget(Paragraph::new(rows), area.area()))?;
        Ok(())
    }

    fn keys(&mut self) -> io::Result<Vec<Key>> {
        let mut keys = Vec::new();
        while event::poll(Duration::ZERO)? {
            let event = event::read()?;
            keys.extend(key(&event));
            // So that a key, or a new size of the terminal, shows at once.
            self.drawn = None;
        }
        Ok(keys)
    }

    fn close(mut self) -> io::Result<()> {
        self.terminal.show_cursor()?;
        ratatui::try_restore()
    }
}

fn key(event: &Event) -> Option<Key> {
    let key = event.as_key_press_event()?;
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => Some(Key::End),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::End),
        KeyCode::Char('c' | 'C') => Some(Key::CloseVendor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn keys_mean_what_the_panel_says() {
        let press = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        for (code, modifiers, want) in [
            (KeyCode::Char('q'), KeyModifiers::NONE, Some(Key::End)),
            (KeyCode::Char('Q'), KeyModifiers::SHIFT, Some(Key::End)),
            (KeyCode::Esc, KeyModifiers::NONE, Some(Key::End)),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Key::End)),
            (
                KeyCode::Char('c'),
                KeyModifiers::NONE,
                Some(Key::CloseVendor),
            ),
            (KeyCode::Char('x'), KeyModifiers::NONE, None),
            (KeyCode::Enter, KeyModifiers::NONE, None),
        ] {
            assert_eq!(key(&press(code, modifiers)), want, "{code:?}");
        }
        assert_eq!(key(&Event::Resize(80, 24)), None);
    }
}
