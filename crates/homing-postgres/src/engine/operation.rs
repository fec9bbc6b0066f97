//! [`Operation`], what a call does, for reports, spans and errors.

use crate::entity::Entity;
use crate::error::Error;

/// The name of a call, and the entity or the statement that it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) name: &'static str,
    table: Option<&'static str>,
    /// The text of the statement, or of the first one.
    pub(crate) sql: Option<&'a str>,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, table: None, sql: None }
    }

    /// Returns a call about an entity.
    pub(crate) fn on<T: Entity>(name: &'static str) -> Self {
        Self { table: Some(T::TABLE), ..Self::new(name) }
    }

    pub(crate) fn with_sql<'b>(self, sql: &'b str) -> Operation<'b> {
        Operation { name: self.name, table: self.table, sql: Some(sql) }
    }

    /// Begins the error's message with the call and its entity, or with the first words of its statement.
    pub(crate) fn locate(self, error: Error) -> Error {
        match self.subject() {
            Some(subject) => error.about(&subject),
            None => error,
        }
    }

    /// Returns the name for messages. `None` if the call's messages name it by themselves.
    pub(crate) fn subject(self) -> Option<String> {
        match (self.table, self.sql) {
            (Some(table), _) => Some(format!("{} of {table}", self.name)),
            (None, Some(sql)) => Some(format!("{} of \"{}\"", self.name, beginning(sql))),
            (None, None) => None,
        }
    }
}

/// Returns the first words of a statement, up to the first quoted text, which may be a person's data.
fn beginning(sql: &str) -> String {
    let is_parameter = |text: &str| text.starts_with(|char: char| char.is_ascii_digit());
    let is_shown = |word: &str| !word.contains('\'') && word.split('$').skip(1).all(is_parameter);
    let words: Vec<&str> = sql.split_whitespace().collect();
    let shown = words.iter().take(MAX_WORDS).take_while(|word| is_shown(word)).count();
    let mut text = words[..shown].join(" ");
    if shown == words.len() && text.len() <= MAX_BYTES {
        return text;
    }
    let end = (0..=MAX_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text + " …"
}

/// Enough words to find a statement in the source code.
const MAX_WORDS: usize = 8;

/// Limits the length of unusual words.
const MAX_BYTES: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_is_named_by_first_words() {
        let table = [
            ("select 1", "select 1"),
            ("select name\n  from users\n where id = $1", "select name from users where id = $1"),
            ("select a, b, c, d, e, f, g, h from t", "select a, b, c, d, e, f, g, …"),
            ("insert into users (name) values ('Ada')", "insert into users (name) values …"),
            ("do $$ begin end $$", "do …"),
            ("'Ada'", " …"),
            ("", ""),
        ];
        for (sql, expected) in table {
            let subject = Operation::new("execute").with_sql(sql).subject().unwrap();
            assert_eq!(subject, format!("execute of \"{expected}\""), "{sql}");
        }
        assert!(beginning(&"é".repeat(500)).len() <= MAX_BYTES + " …".len());
    }
}
