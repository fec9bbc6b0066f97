//! As much Markdown as our documents need.

use std::path::PathBuf;

/// Returns the second cell of the row whose first cell is `name`, both without marks.
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

/// Returns what stands in backticks and looks like a path, if none of the folders has it.
///
/// A path begins with the name of an entry of a folder and a slash, or ends like the name of a file.
pub(super) fn missing_paths<'a>(text: &'a str, folders: &'a [PathBuf]) -> impl Iterator<Item = &'a str> {
    let exists = |path: &str| folders.iter().any(|folder| folder.join(path).exists());
    let is_path = move |word: &str| {
        let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let begins = word.split_once('/').is_some_and(|(first, _)| !first.is_empty() && exists(first));
        is_plain && (begins || ENDINGS.iter().any(|ending| word.ends_with(ending)))
    };
    let words = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    words.filter(move |word| is_path(word) && !exists(word))
}

const ENDINGS: [&str; 5] = [".md", ".proto", ".rs", ".toml", ".yml"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_links_are_dropped() {
        assert_eq!(plain("  plain, with [1] in it "), "plain, with [1] in it");
        assert_eq!(plain("[`a` b](link) and `c`"), "a b and c");
        assert_eq!(plain("[a](1)[b](2)"), "ab");
    }

    #[test]
    fn rows_match_whole_first_cells() {
        let table = "text\n| `homing-rpc` | calls |\n  | `homing` | all | crates |\n";
        assert_eq!(row(table, "homing").unwrap(), "all");
        assert_eq!(row(table, "homing-rpc").unwrap(), "calls");
        assert_eq!(row(table, "calls"), None);
    }

    #[test]
    fn missing_paths_are_found() {
        let text = "`src/rules.rs` and `src/none.rs` in `src/`, `main.rs`, `/healthz`, `a/b`, `Repo::get`, `*.rs`";
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let src = folder.join("src");
        assert_eq!(missing_paths(text, std::slice::from_ref(&folder)).collect::<Vec<_>>(), ["src/none.rs", "main.rs"]);
        assert_eq!(missing_paths(text, &[folder, src]).collect::<Vec<_>>(), ["src/none.rs"]);
    }
}
