//! As much of Rust's grammar as finding imports takes.

use std::collections::BTreeSet;

/// The imports in a file.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) uses: Vec<Use>,
    /// Paths of more than one name outside of `use` lines.
    pub(super) paths: Vec<Vec<String>>,
    /// The first names of paths outside of `use` lines.
    pub(super) words: BTreeSet<String>,
    /// The children that are for tests alone.
    pub(super) tests: Vec<String>,
}

/// One name that a `use` line brings.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) path: Vec<String>,
    /// `*` for all names.
    pub(super) name: String,
    pub(super) is_public: bool,
}

impl Code {
    pub(super) fn parse(text: &str) -> Self {
        let tokens = tokens(text);
        let mut code = Self::default();
        let mut rest = &tokens[..];
        let mut before = "";
        while let [token, after @ ..] = rest {
            if rest.starts_with(&TEST) {
                rest = code.skip_test(&rest[TEST.len()..]);
            } else if *token == "use" {
                let is_public = before == "pub" || before == ")";
                rest = code.use_tree(after, &[], is_public);
            } else if is_word(token) && ![".", "$", "::", "mod"].contains(&before) {
                rest = code.path(rest);
            } else {
                rest = after;
            }
            before = token;
        }
        code
    }

    /// Skips an item; its end is a semicolon or the brace that closes it.
    fn skip_test<'a>(&mut self, mut rest: &'a [&'a str]) -> &'a [&'a str] {
        if let ["mod", name, ";", ..] = rest {
            self.tests.push((*name).to_owned());
        }
        let mut depth = 0;
        while let [token, after @ ..] = rest {
            rest = after;
            depth += i32::from(*token == "{") - i32::from(*token == "}");
            if depth == 0 && (*token == ";" || *token == "}") {
                break;
            }
        }
        rest
    }

    /// Reads a tree such as `a::{b, c as d}`, up to the token that ends it.
    fn use_tree<'a>(&mut self, mut rest: &'a [&'a str], prefix: &[String], is_public: bool) -> &'a [&'a str] {
        let mut path = prefix.to_vec();
        let mut name = None;
        while let [token, after @ ..] = rest {
            match *token {
                "::" => {}
                "as" => name = after.first().copied(),
                "self" if !prefix.is_empty() => name = prefix.last().map(String::as_str),
                "{" => return self.use_list(after, &path, is_public),
                token if name.is_none() && (is_word(token) || token == "*") => path.push(token.to_owned()),
                token if is_word(token) => {}
                _ => break,
            }
            rest = after;
        }
        if let Some(name) = name.or_else(|| path.last().map(String::as_str).filter(|_| path.len() > prefix.len())) {
            let name = name.to_owned();
            self.uses.push(Use { path, name, is_public });
        }
        rest
    }

    /// Reads the trees between braces.
    fn use_list<'a>(&mut self, mut rest: &'a [&'a str], prefix: &[String], is_public: bool) -> &'a [&'a str] {
        loop {
            rest = self.use_tree(rest, prefix, is_public);
            match rest {
                [",", after @ ..] => rest = after,
                [_, after @ ..] => return after,
                [] => return rest,
            }
        }
    }

    /// Reads the path that begins here.
    fn path<'a>(&mut self, mut rest: &'a [&'a str]) -> &'a [&'a str] {
        let mut path = Vec::new();
        while let [token, after @ ..] = rest
            && is_word(token)
        {
            path.push((*token).to_owned());
            rest = after;
            match rest {
                ["::", after @ ..] if after.first().is_some_and(|next| is_word(next)) => rest = after,
                _ => break,
            }
        }
        self.words.extend(path.first().cloned());
        if path.len() > 1 {
            self.paths.push(path);
        }
        rest
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Splits into words, `::` and single characters, without comments, literals and lifetimes.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' if raw_string(rest).is_some() => raw_string(rest).unwrap_or_default(),
            '"' => quoted(rest, '"'),
            '\'' if rest[1..].starts_with('\\') => quoted(rest, '\''),
            '\'' => {
                let mut characters = rest.char_indices().skip(2);
                characters.next().filter(|(_, c)| *c == '\'').map_or(1, |(end, _)| end + 1)
            }
            _ => {
                let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let length = if rest.starts_with("::") { 2 } else { word.max(first.len_utf8()) };
                tokens.extend(Some(&rest[..length]).filter(|token| !token.trim().is_empty()));
                length
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of the literal at the beginning.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        if character == quote && !is_escaped {
            return index + 1;
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    text.len()
}

/// Returns the length of the raw string at the beginning, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].find(|c| c != '#')?;
    let body = 1 + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    text[1 + hashes..].starts_with('"').then(|| text[body..].find(&end).map_or(text.len(), |at| body + at + end.len()))
}

/// `#[cfg(test)]`.
const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
