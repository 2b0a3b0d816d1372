//! Standard output and error: closed pipes end us quietly, terminals are not sent what would confuse them.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use super::error::{CliError, Exit};

/// Standard output, buffered: callers flush before they wait.
pub struct Output {
    stdout: BufWriter<Stdout>,
    pub is_terminal: bool,
}

/// Which of the few colours there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tint {
    /// What stands beside the matter: times, offsets.
    Dim,
    Topic,
    Sender,
    Alarm,
}

impl Output {
    pub fn new() -> Output {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Output { stdout: BufWriter::with_capacity(BUFFER_BYTES, stdout), is_terminal }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.stdout.write_all(bytes).map_err(written)
    }

    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    pub fn flush(&mut self) -> Result<(), CliError> {
        self.stdout.flush().map_err(written)
    }
}

impl Default for Output {
    fn default() -> Output {
        Output::new()
    }
}

/// A line on standard error; if that is closed, nobody wants to know.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "sealmq: {}", printable(text));
}

/// `text` without what a terminal would obey: others may have chosen it.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() || is_reordering(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The same for bytes: what is not UTF-8 is shown as `\xff`.
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out += &printable(chunk.valid());
        for byte in chunk.invalid() {
            out += &format!("\\x{byte:02x}");
        }
    }
    out
}

/// `text` in a colour, if there are to be colours.
pub fn tint(text: &str, tint: Tint, colours: bool) -> String {
    if !colours {
        return text.to_owned();
    }
    let code = match tint {
        Tint::Dim => "2",
        Tint::Topic => "36",
        Tint::Sender => "32",
        Tint::Alarm => "1;31",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Rows as columns that line up, two spaces between them; the last is not padded.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Characters that make a terminal show text in another order than it has (Unicode UAX 9).
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

fn written(error: io::Error) -> CliError {
    match error.kind() {
        // Whoever read our output has enough of it. An error without words ends quietly.
        io::ErrorKind::BrokenPipe => CliError::new(Exit::Done, ""),
        _ => CliError::other(format!("standard output cannot be written: {error}")),
    }
}

const BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_given_orders() {
        assert_eq!(printable("a\x1b[2Jb\r\u{9b}ü\n\t"), "a\\u{1b}[2Jb\\u{d}\\u{9b}ü\n\t");
        assert_eq!(printable("\u{202e}abc"), "\\u{202e}abc");
        assert_eq!(printable_bytes(b"21.5 \xc2\xb0C \xff\x07"), "21.5 °C \\xff\\u{7}");
    }

    #[test]
    fn tables_line_up() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let rows = [row(&["NAME", "N"]), row(&["küche", "10"]), row(&["a", ""])];
        assert_eq!(table(&rows), ["NAME   N", "küche  10", "a"]);
        assert_eq!(table(&[]), Vec::<String>::new());
    }

    #[test]
    fn colours_only_where_wanted() {
        assert_eq!(tint("x", Tint::Alarm, false), "x");
        assert_eq!(tint("x", Tint::Topic, true), "\x1b[36mx\x1b[0m");
    }
}
