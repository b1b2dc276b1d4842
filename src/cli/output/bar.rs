//! One line with a progress bar, as text. `indicatif` draws it and knows the rate; nothing is written here.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// The line without a bar.
const TEXT: &str = "{wide_msg}";
/// The line with a bar, on a terminal of at least so many columns.
const WITH_BAR: [(u16, &str); 3] =
    [(110, "offshoot: [{bar:24}] {wide_msg}"), (80, "offshoot: [{bar:10}] {wide_msg}"), (0, TEXT)];
/// What the bar is made of: what is done, its end, and what is not done.
const CHARACTERS: &str = "=> ";
/// The columns of a terminal that does not say how many it has.
const USUAL: u16 = 80;

#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    canvas: Canvas,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let canvas = Canvas::default();
        let target = ProgressDrawTarget::term_like(Box::new(canvas.clone()));
        Self { bar: ProgressBar::with_draw_target(Some(0), target), canvas }
    }

    /// The bytes in a second, on an average that prefers the last seconds.
    pub(crate) fn rate(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is shown to three digits")]
        let rate = self.bar.per_sec() as u64;
        rate
    }

    /// How long it takes at that rate; `None` if nothing moves.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        (self.rate() > 0).then(|| self.bar.eta())
    }

    /// A line with this text, as far as it fits.
    pub(crate) fn text(&self, text: &str, columns: u16) -> String {
        self.draw(TEXT, text.to_owned(), columns)
    }

    /// A line with a bar, if there is room for it, that shows how much is done of how much, and with a text, which may
    /// say the rate.
    pub(crate) fn with_bar(&self, (done, all): (u64, u64), columns: u16, text: impl FnOnce(&Self) -> String) -> String {
        self.bar.update(|state| {
            state.set_len(all);
            state.set_pos(done);
        });
        let usable = if columns == 0 { USUAL } else { columns };
        let template = WITH_BAR.iter().find(|(least, _)| usable >= *least).map_or(TEXT, |(_, template)| template);
        let text = text(self);
        let text = if template == TEXT { format!("offshoot: {text}") } else { text };
        self.draw(template, text, columns)
    }

    fn draw(&self, template: &str, text: String, columns: u16) -> String {
        let columns = if columns == 0 { USUAL } else { columns };
        // The last column stays free: a terminal wraps a line that fills it, and a wrapped line cannot be removed.
        self.canvas.drawn().columns = columns.saturating_sub(1).max(1);
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars(CHARACTERS));
        }
        self.bar.set_message(text);
        self.canvas.drawn().line.trim_end().to_owned()
    }
}

/// Where `indicatif` draws.
#[derive(Debug, Clone, Default)]
struct Canvas(Arc<Mutex<Drawn>>);

#[derive(Debug, Default)]
struct Drawn {
    columns: u16,
    line: String,
}

impl Canvas {
    fn drawn(&self) -> std::sync::MutexGuard<'_, Drawn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        self.drawn().columns.max(1)
    }

    fn height(&self) -> u16 {
        1
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.drawn().line.push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.drawn().line.clear();
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_as_wide_as_the_terminal() {
        let bar = Bar::new();
        for text in ["x".repeat(200), "漢字".repeat(100), "xé".repeat(100), String::new(), "short".into()] {
            for columns in [1, 2, 5, 20, 79, 80, 81, 109, 110, 150, 0] {
                let room = if columns == 0 { USUAL } else { columns };
                for line in [bar.text(&text, columns), bar.with_bar((3, 4), columns, |_| text.clone())] {
                    let width = unicode_width(&line);
                    assert!(width < usize::from(room).max(2), "{columns}: {width} columns of {line:?}");
                    assert!(!line.contains(char::is_control), "{line:?}");
                }
            }
        }
    }

    /// As terminals count it: two columns for what is Chinese.
    fn unicode_width(line: &str) -> usize {
        line.chars().map(|c| if c > '\u{2e80}' { 2 } else { 1 }).sum()
    }

    #[test]
    fn the_bar_shows_the_share_that_is_done() {
        let bar = Bar::new();
        let half = bar.with_bar((5, 10), 80, |_| "half".into());
        assert_eq!(half, "offshoot: [=====>    ] half");
        assert_eq!(bar.with_bar((10, 10), 80, |_| "all".into()), "offshoot: [==========] all");
        assert_eq!(bar.with_bar((0, 10), 60, |_| "none".into()), "offshoot: none");
        assert_eq!(bar.with_bar((0, 0), 120, |_| "nothing".into()).len(), "offshoot: [] nothing".len() + 24);
        assert_eq!(bar.text("without", 80), "without");
        assert_eq!(bar.time_left(), None);
    }
}
