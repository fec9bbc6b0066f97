//! [`Words`], which reads the words of a statement and nothing else.

use std::iter::Peekable;
use std::str::CharIndices;

/// The unquoted words of a statement in lower case: keywords and plain identifiers. Comments, strings, quoted
/// identifiers and dollar-quoted bodies are skipped.
///
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>
#[derive(Clone)]
pub(super) struct Words<'a> {
    sql: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Words<'a> {
    pub(super) fn of(sql: &'a str) -> Self {
        Self { sql, chars: sql.char_indices().peekable() }
    }

    /// Returns the text behind the last token.
    pub(super) fn rest(&mut self) -> &'a str {
        self.chars.peek().map_or("", |&(index, _)| &self.sql[index..])
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|&(_, char)| char)
    }

    fn skip_line(&mut self) {
        let _ = self.chars.by_ref().find(|&(_, char)| char == '\n');
    }

    /// Skips a block comment. PostgreSQL nests them.
    fn skip_block(&mut self) {
        let mut depth = 1;
        while let Some((_, char)) = self.chars.next() {
            match (char, self.peek()) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => continue,
            }
            self.chars.next();
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips the rest of a quoted text. A doubled quote ends it and begins the next text at once, with the same result.
    fn skip_quoted(&mut self, quote: char, escapes: bool) {
        while let Some((_, char)) = self.chars.next() {
            if escapes && char == '\\' {
                self.chars.next();
            } else if char == quote {
                return;
            }
        }
    }

    /// Skips `$tag$ ... $tag$`. A parameter such as `$1` has no second dollar sign.
    fn skip_dollar_quoted(&mut self, start: usize) {
        let rest = &self.sql[start + 1..];
        let tag_length = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        if !rest[tag_length..].starts_with('$') || rest.starts_with(|char: char| char.is_ascii_digit()) {
            return;
        }
        let tag = &self.sql[start..start + tag_length + 2];
        let body = start + tag.len();
        let end = self.sql[body..].find(tag).map_or(self.sql.len(), |found| body + found + tag.len());
        while self.chars.next_if(|&(index, _)| index < end).is_some() {}
    }

    fn word(&mut self, start: usize) -> String {
        let mut end = self.sql.len();
        while let Some(&(index, char)) = self.chars.peek() {
            if !is_word(char) && char != '$' {
                end = index;
                break;
            }
            self.chars.next();
        }
        self.sql[start..end].to_ascii_lowercase()
    }
}

/// A part of a script.
pub(super) enum SqlToken<'a> {
    Word(String),
    /// An identifier with its quotes. A doubled quote within it begins the next one.
    Quoted(&'a str),
    Semicolon,
    /// A parenthesis or a comma.
    Mark(char),
}

impl<'a> Words<'a> {
    pub(super) fn token(&mut self) -> Option<SqlToken<'a>> {
        while let Some((start, char)) = self.chars.next() {
            match (char, self.peek()) {
                ('-', Some('-')) => self.skip_line(),
                ('/', Some('*')) => {
                    self.chars.next();
                    self.skip_block();
                }
                ('e' | 'E', Some('\'')) => {
                    self.chars.next();
                    self.skip_quoted('\'', true);
                }
                ('\'', _) => self.skip_quoted(char, false),
                ('"', _) => {
                    self.skip_quoted(char, false);
                    let end = self.chars.peek().map_or(self.sql.len(), |&(index, _)| index);
                    return Some(SqlToken::Quoted(&self.sql[start..end]));
                }
                ('$', _) => self.skip_dollar_quoted(start),
                (';', _) => return Some(SqlToken::Semicolon),
                ('(' | ')' | ',', _) => return Some(SqlToken::Mark(char)),
                _ if is_word(char) => return Some(SqlToken::Word(self.word(start))),
                _ => {}
            }
        }
        None
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            if let SqlToken::Word(word) = self.token()? {
                return Some(word);
            }
        }
    }
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_has_no_words() {
        let words = |sql| Words::of(sql).collect::<Vec<_>>().join(" ");
        for (sql, expected) in [
            ("SELECT a FROM b", "select a from b"),
            ("-- begin\nselect /* commit /* nested */ lock */ 1", "select 1"),
            ("select 'begin '' commit', \"listen\"\"x\", e'\\' set'", "select"),
            ("select $$ begin $$, $x$ $$ set $x$, $1, a$b", "select 1 a$b"),
            ("select 'unfinished", "select"),
            ("do $body$ begin", "do"),
            ("select 'é', ü", "select ü"),
            ("", ""),
        ] {
            assert_eq!(words(sql), expected, "{sql}");
        }
    }
}
