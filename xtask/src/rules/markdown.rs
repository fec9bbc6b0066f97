//! As much Markdown as our tables have.

/// The second cell of the row whose first cell is `name`, both without marks.
pub(super) fn row(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix('|'))
        .map(|line| line.split('|').map(plain))
        .find_map(|mut cells| (cells.next()? == name).then(|| cells.next()).flatten())
}

/// `` [`a` b](link) `` is `a b`.
fn plain(cell: &str) -> String {
    let mut plain = String::new();
    let mut rest = cell.trim();
    while let Some((before, (label, after))) = next_link(rest) {
        plain += before;
        plain += label;
        rest = after;
    }
    plain += rest;
    plain.replace('`', "")
}

fn next_link(text: &str) -> Option<(&str, (&str, &str))> {
    let (label_end, _) = text.match_indices("](").next()?;
    let (before, label) = text[..label_end].rsplit_once('[')?;
    let (_, after) = text[label_end..].split_once(')')?;
    Some((before, (label, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_links_do_not_count() {
        assert_eq!(plain("  plain, with [1] in it "), "plain, with [1] in it");
        assert_eq!(plain("[`a` b](link) and `c`"), "a b and c");
        assert_eq!(plain("[a](1)[b](2)"), "ab");
    }

    #[test]
    fn a_row_is_found_by_its_whole_first_cell() {
        let table = "text\n| `homing-rpc` | calls |\n  | `homing` | all | crates |\n";
        assert_eq!(row(table, "homing").unwrap(), "all");
        assert_eq!(row(table, "homing-rpc").unwrap(), "calls");
        assert_eq!(row(table, "calls"), None);
    }
}
