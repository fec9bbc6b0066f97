use std::time::SystemTime;

use homing::{Entity, Insert, Repo, Update};
use serde::Deserialize;

/// An entry of the guestbook.
#[derive(Debug, Entity)]
#[entity(table = "entries")]
pub(crate) struct Entry {
    #[entity(key)]
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) message: String,
    /// The region in which it was written.
    pub(crate) region: String,
    pub(crate) written_at: SystemTime,
    /// How often it was changed. Two visitors who change it at once do not overwrite each other.
    #[entity(version)]
    pub(crate) version: i32,
}

/// A form of the page. The database assigns number and time, and refuses texts that are too long.
#[derive(Debug, Deserialize, Insert)]
#[insert(into = Entry)]
pub(crate) struct NewEntry {
    pub(crate) name: String,
    pub(crate) message: String,
    #[serde(skip)]
    pub(crate) region: String,
}

/// The form that changes an entry, with the version that the visitor has seen.
#[derive(Debug, Deserialize, Update)]
#[update(of = Entry)]
pub(crate) struct Edit {
    pub(crate) name: String,
    pub(crate) message: String,
    #[update(version)]
    pub(crate) version: i32,
}

impl Entry {
    pub(crate) fn ago(&self) -> String {
        match self.written_at.elapsed().unwrap_or_default().as_secs() {
            0..60 => "just now".to_owned(),
            seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
            seconds @ 3_600..86_400 => format!("{} h ago", seconds / 3_600),
            seconds => format!("{} days ago", seconds / 86_400),
        }
    }
}

/// Creates the table if it is missing. Several nodes may run this at the same time. The lock is there because PostgreSQL lets
/// only one of two simultaneous `create table if not exists` succeed.
pub(crate) async fn migrate(repo: &Repo) -> homing::Result<()> {
    repo.batch_execute(
        r#"select pg_advisory_xact_lock(hashtext('guestbook.schema'));
        create table if not exists entries (
            id bigint generated always as identity primary key,
            name text not null constraint "a name has 1 to 60 characters"
                check (char_length(trim(name)) > 0 and char_length(name) <= 60),
            message text not null constraint "a message has up to 500 characters" check (char_length(message) <= 500),
            region text not null,
            written_at timestamptz not null default now()
        );
        alter table entries add column if not exists version integer not null default 1;"#,
    )
    .await
}
