//! The output on the terminal.

use std::io::{IsTerminal, Write, stdout};

use super::findings::Check;
use super::table::Table;

/// Standard output: plain text, with colours if it is a terminal and `NO_COLOR` is not set.
#[derive(Debug)]
pub(crate) struct Console {
    is_terminal: bool,
    colours: bool,
}

#[derive(Clone, Copy, Debug)]
enum Colour {
    Bold,
    Dim,
    Green,
    Red,
}

impl Console {
    pub(crate) fn new() -> Self {
        // https://no-color.org
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_terminal = stdout().is_terminal();
        Self { is_terminal, colours: wanted && is_terminal }
    }

    /// Prints the heading of a part.
    pub(crate) fn heading(&self, text: &str) {
        self.print(&format!("\n{}", self.paint(Colour::Bold, text)));
    }

    pub(crate) fn line(&self, text: impl AsRef<str>) {
        self.print(&format!("  {}", text.as_ref()));
    }

    /// Prints an explanation of a figure, which readers may skip.
    pub(crate) fn remark(&self, text: impl AsRef<str>) {
        self.print(&format!("  {}", self.paint(Colour::Dim, text.as_ref())));
    }

    /// Shows what the run is doing now. Appears on a terminal only, until the next line takes its place.
    pub(crate) fn progress(&self, text: impl AsRef<str>) {
        if self.is_terminal {
            print!("{CLEAR_LINE}  {}", self.paint(Colour::Dim, text.as_ref()));
            // If the terminal is gone, progress need not be shown.
            let _ = stdout().flush();
        }
    }

    /// Prints a table with an empty line before and after it.
    pub(crate) fn table(&self, table: &Table) {
        self.print("");
        for (index, line) in table.lines().iter().enumerate() {
            match index {
                0 => self.print(&format!("    {}", self.paint(Colour::Dim, line))),
                _ => self.print(&format!("    {line}")),
            }
        }
        self.print("");
    }

    pub(crate) fn check(&self, check: &Check) {
        let Check { name, failure } = check;
        match failure {
            None => self.print(&format!("  {} {name}", self.paint(Colour::Green, "ok    "))),
            Some(failure) => self.print(&format!("  {} {name}: {failure}", self.paint(Colour::Red, "FAILED"))),
        }
    }

    /// Prints the last line.
    pub(crate) fn verdict(&self, passed: bool, text: &str) {
        let colour = if passed { Colour::Green } else { Colour::Red };
        self.print(&format!("\n{}", self.paint(colour, text)));
    }

    fn print(&self, line: &str) {
        let clear = if self.is_terminal { CLEAR_LINE } else { "" };
        println!("{clear}{line}");
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Bold => 1,
            Colour::Dim => 2,
            Colour::Green => 32,
            Colour::Red => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// <https://en.wikipedia.org/wiki/ANSI_escape_code#Control_Sequence_Introducer_commands>
const CLEAR_LINE: &str = "\r\x1b[2K";
