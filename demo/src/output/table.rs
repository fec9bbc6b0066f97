//! Plain text in columns.

/// A table. Columns of figures are aligned to the right, others to the left.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Returns the lines, the headings first; no line ends with spaces.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let columns: Vec<_> = (0..columns).map(|column| self.column(column)).collect();
        self.rows.iter().map(|row| line(row, &columns)).collect()
    }

    fn column(&self, column: usize) -> Column {
        let cells = || self.rows.iter().filter_map(|row| row.get(column));
        let width = cells().map(|cell| cell.chars().count()).max().unwrap_or(0);
        Column { width, is_figures: cells().skip(1).all(|cell| is_figure(cell)) }
    }
}

#[derive(Debug)]
struct Column {
    width: usize,
    is_figures: bool,
}

fn line(row: &[String], columns: &[Column]) -> String {
    let cells = row.iter().zip(columns).map(|(cell, Column { width, is_figures })| match is_figures {
        true => format!("{cell:>width$}"),
        false => format!("{cell:<width$}"),
    });
    cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
}

/// Returns whether the cell holds a figure, or a dash in place of one.
fn is_figure(cell: &str) -> bool {
    cell.starts_with(|c: char| c.is_ascii_digit()) || cell.is_empty() || cell == "-"
}

/// Formats a time for people: with its significant digits, or as a dash if nothing was measured.
pub(crate) fn milliseconds(milliseconds: f64) -> String {
    match milliseconds {
        none if none == 0.0 || none.is_nan() => "-".to_owned(),
        slow if slow >= 10_000.0 => format!("{:.1} s", slow / 1_000.0),
        long if long >= 100.0 => format!("{long:.0} ms"),
        short if short >= 10.0 => format!("{short:.1} ms"),
        tiny => format!("{tiny:.2} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["region", "p50", "answered by", "calls"]);
        table.row(["iad", "-", "here", "5"].map(str::to_owned));
        table.row(["syd", "201 ms", "iad/127.0.0.1:1", "12"].map(str::to_owned));
        let lines = [
            "region      p50   answered by       calls",
            "iad           -   here                  5",
            "syd      201 ms   iad/127.0.0.1:1      12",
        ];
        assert_eq!(table.lines(), lines);
    }

    #[test]
    fn times_have_significant_digits() {
        let table = [
            (0.0, "-"),
            (0.123, "0.12 ms"),
            (12.34, "12.3 ms"),
            (201.7, "202 ms"),
            (4_012.0, "4012 ms"),
            (12_345.0, "12.3 s"),
        ];
        for (time, expected) in table {
            assert_eq!(milliseconds(time), expected);
        }
    }
}
