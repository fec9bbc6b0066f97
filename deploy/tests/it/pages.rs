//! The pages for operators: the messages that they quote, and their links.

use std::path::{Path, PathBuf};

use crate::{read, root};

/// Returns the messages between `` `" `` and `` "` ``.
fn quotes(page: &str) -> Vec<String> {
    let spans = page.split('`').skip(1).step_by(2);
    let quoted = spans.filter_map(|span| span.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(|quote| quote.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Returns the text of each source file of the libraries, with the lines of a string joined.
fn sources() -> Vec<String> {
    let mut folders = vec![root().join("crates")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false if is_source(&path) => sources.push(joined(&std::fs::read_to_string(&path).unwrap())),
                false => {}
            }
        }
    }
    sources
}

fn is_source(path: &Path) -> bool {
    let is_in = |name| path.components().any(|part| part.as_os_str() == name);
    path.extension().is_some_and(|ending| ending == "rs") && is_in("src") && !is_in("target")
}

fn joined(source: &str) -> String {
    let mut lines = source.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

/// Returns whether a source has the message. `…` stands for what the program fills in.
fn is_message(quote: &str, source: &str) -> bool {
    quote.split('…').all(|part| source.contains(part))
}

#[test]
fn quoted_messages_are_in_the_code() {
    let sources = sources();
    let quotes = quotes(&read("docs/failover.md"));
    assert!(quotes.len() > 20);
    for quote in quotes {
        assert!(sources.iter().any(|source| is_message(&quote, source)), "no program says {quote:?}");
    }
}

#[test]
fn changed_message_is_found() {
    let source = joined("warn!(\"the primary in {} cannot \\\n    be reached\")");
    assert!(is_message("the primary in … cannot be reached", &source));
    assert!(!is_message("the primary in … is out of reach", &source));
    assert_eq!(quotes("`\"one\ntwo\"` and `three`"), ["one two"]);
}

/// Returns the pages for operators, and the files at the root.
fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    docs.chain(["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(|file| root().join(file))).collect()
}

/// Returns the anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        for link in links.filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            let has_anchor = || anchors(&std::fs::read_to_string(&target).unwrap()).iter().any(|known| known == anchor);
            assert!(anchor.is_empty() || has_anchor(), "{}: {link}", page.display());
        }
    }
}
