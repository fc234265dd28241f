//! The terminal: draws a view, and hears keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table as Grid};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::Notify;

use super::view::{Table, View};

/// How long the thread that hears keys is deaf to the end.
const LISTEN: Duration = Duration::from_millis(100);
/// Columns between two cells.
const GAP: u16 = 2;
/// The last line.
const HELP: &str = "q quits";

/// The terminal, given back as it was when this is dropped.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    heard: Arc<Heard>,
}

/// What the person did.
#[derive(Debug, Default)]
struct Heard {
    quit: Notify,
    resized: Notify,
    is_over: AtomicBool,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When standard output is no terminal that can be drawn on.
    pub(super) fn open() -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().context("take the terminal")?;
        let heard = Arc::new(Heard::default());
        let listening = Arc::clone(&heard);
        tokio::task::spawn_blocking(move || listening.listen());
        Ok(Self { terminal, heard })
    }

    /// Resolves once the person wants to leave.
    pub(super) async fn quit(&self) {
        self.heard.quit.notified().await;
    }

    /// Resolves once the window has another size.
    pub(super) async fn resized(&self) {
        self.heard.resized.notified().await;
    }

    /// Draws a view, or why there is none.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, shown: &Result<View, String>) -> anyhow::Result<()> {
        self.terminal.draw(|frame| draw(frame, shown)).context("draw on the terminal")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.heard.is_over.store(true, Ordering::Release);
        ratatui::restore();
    }
}

impl Heard {
    fn listen(&self) {
        while !self.is_over.load(Ordering::Acquire) {
            match event::poll(LISTEN) {
                Ok(false) => {}
                Ok(true) => match event::read() {
                    Ok(Event::Key(key)) if is_quit(key) => self.quit.notify_one(),
                    Ok(Event::Resize(..)) => self.resized.notify_one(),
                    Ok(_) => {}
                    Err(_) => return self.quit.notify_one(),
                },
                // Without a keyboard one could not leave.
                Err(_) => return self.quit.notify_one(),
            }
        }
    }
}

fn is_quit(key: KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let quits = [KeyCode::Char('q'), KeyCode::Esc].contains(&key.code)
        || (with_control && key.code == KeyCode::Char('c'));
    quits && key.kind != KeyEventKind::Release
}

fn draw(frame: &mut Frame<'_>, shown: &Result<View, String>) {
    let view = match shown {
        Ok(view) => view,
        Err(why) => {
            let words = Paragraph::new(vec![Line::from(why.as_str()), Line::from(HELP)]);
            return frame.render_widget(words, frame.area());
        }
    };
    let tables = view.tables();
    let lines = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    // A line of names, the rows, an empty line; what does not fit is cut at the bottom.
    let heights = tables.iter().map(|table| lines(table.rows.len() + 2));
    let problems: Vec<Line<'_>> =
        view.problems.iter().map(|problem| Line::from(format!("! {problem}"))).collect();
    let constraints = std::iter::once(Constraint::Length(2))
        .chain([Constraint::Length(lines(problems.len()))])
        .chain(heights.map(Constraint::Length))
        .chain([Constraint::Min(1)]);
    let areas = Layout::vertical(constraints).split(frame.area());
    let colour = if view.is_healthy { Color::Green } else { Color::Red };
    let headline = Line::styled(view.headline(), Style::new().fg(colour));
    frame.render_widget(headline, areas[0]);
    frame.render_widget(Paragraph::new(problems).style(Style::new().fg(Color::Yellow)), areas[1]);
    for (table, area) in tables.iter().zip(&areas[2..]) {
        frame.render_widget(grid(table), *area);
    }
    if let Some(last) = areas.last() {
        frame.render_widget(Line::styled(HELP, Style::new().fg(Color::DarkGray)), *last);
    }
}

fn grid(table: &Table) -> Grid<'static> {
    let header: Vec<String> = table.header.iter().map(|name| name.to_uppercase()).collect();
    let widths = header.iter().enumerate().map(|(at, name)| {
        let cells = table.rows.iter().filter_map(|row| row.get(at));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        Constraint::Length(u16::try_from(widest.max(name.chars().count())).unwrap_or(u16::MAX))
    });
    let widths: Vec<Constraint> = widths.collect();
    let rows = table.rows.iter().map(|row| {
        // Whoever is away is seen at once.
        let is_down = row.get(1).is_some_and(|state| state.starts_with("down"));
        let style = if is_down { Style::new().fg(Color::Red) } else { Style::new() };
        Row::new(row.clone()).style(style)
    });
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Grid::new(rows, widths).header(Row::new(header).style(bold)).column_spacing(GAP)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::view::tests::looks;
    use super::*;

    fn drawn(shown: &Result<View, String>, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
        terminal.draw(|frame| draw(frame, shown)).expect("in memory");
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>())
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    #[test]
    fn a_view_is_drawn_with_the_dead_node_and_its_problem() {
        let (before, now) = looks();
        let lines = drawn(&Ok(View::between(&before, &now)), 90, 16);
        let expected = [
            "NOT HEALTHY   1 of 2 nodes alive   controller 1   in 2 KiB/s   out 0 B/s",
            "",
            "! node 2 (host2:9292) does not answer",
            "NODE  STATE  LEADS  REPLICAS  IN       OUT    ADDRESS",
            "1     alive  2      3         2 KiB/s  0 B/s  host1:9192",
            "2     down   0      3         -        -      host2:9192",
            "",
            "TOPIC  PARTITIONS  RECORDS  WRITTEN",
            "fees   2           135      20/s",
            "",
            "GROUP  STATE   MEMBERS  LAG  LAG TIME  READ  CAUGHT UP IN",
            "sms    stable  1        80   1.5 s     30/s  8 s",
            "",
            "q quits",
            "",
            "",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_small_window_shows_what_fits() {
        let (before, now) = looks();
        let lines = drawn(&Ok(View::between(&before, &now)), 30, 5);
        assert!(lines[0].starts_with("NOT HEALTHY   1 of 2"), "{lines:?}");
        assert_eq!(drawn(&Err("nobody answers".to_owned()), 30, 3)[..2], ["nobody answers", HELP]);
    }

    #[test]
    fn q_and_control_c_quit_and_other_keys_do_not() {
        let key = |code, modifiers| is_quit(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Char('x'), KeyModifiers::CONTROL));
    }
}
