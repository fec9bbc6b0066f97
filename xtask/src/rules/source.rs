//! Rules on Rust files.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cargo::root;

/// Adds a line to `broken` for every place below `folder` that breaks a rule.
pub(super) fn check_folder(folder: &Path, broken: &mut Vec<String>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if !["generated", "target"].map(OsStr::new).map(Some).contains(&path.file_name()) {
                check_folder(&path, broken)?;
            }
        } else if path.extension() == Some(OsStr::new("rs")) {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(root()).unwrap_or(&path).display();
            let max_lines = if is_in_src(&path) { MAX_LINES } else { MAX_LINES_OF_TESTS };
            broken.extend(check_text(&text, max_lines).map(|what| format!("{name}{what}")));
        }
    }
    Ok(())
}

fn is_in_src(path: &Path) -> bool {
    path.strip_prefix(root()).is_ok_and(|path| path.iter().any(|part| part == "src"))
}

fn check_text(text: &str, max_lines: usize) -> impl Iterator<Item = String> + '_ {
    let lines = text.lines().count();
    let too_long = (lines > max_lines).then(|| format!(": {lines} lines, more than {max_lines}: split it"));
    let ignored =
        text.lines().zip(1..).filter(|(line, _)| is_ignored_example(line)).map(|(_, number)| {
            format!(":{number}: an example that is ignored: let it compile, with no_run if it must")
        });
    too_long.into_iter().chain(ignored)
}

/// Returns whether the line opens an example in documentation that rustdoc would skip.
fn is_ignored_example(line: &str) -> bool {
    let line = line.trim_start();
    let Some(text) = line.strip_prefix("///").or(line.strip_prefix("//!")) else {
        return false;
    };
    text.trim_start().strip_prefix("```").is_some_and(|words| words.split(',').any(|word| word.trim() == "ignore"))
}

const MAX_LINES: usize = 500;

const MAX_LINES_OF_TESTS: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_files_are_refused() {
        assert_eq!(check_text(&"//\n".repeat(500), 500).count(), 0);
        let broken: Vec<_> = check_text(&"//\n".repeat(501), 500).collect();
        assert_eq!(broken, [": 501 lines, more than 500: split it"]);
    }

    #[test]
    fn ignored_example_is_named_by_line() {
        let broken: Vec<_> = check_text("fn f() {}\n    /// ```rust,ignore\n", 9).collect();
        assert_eq!(broken.len(), 1);
        assert!(broken[0].starts_with(":2: an example that is ignored"));
        assert_eq!(check_text("/// ```no_run\n//! ```\n// ```ignore\n", 9).count(), 0);
    }
}
