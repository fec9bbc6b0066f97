//! The settings in `postgresql.conf`.

use std::{fmt::Write as _, net::SocketAddr};

use super::options::{Fsync, PostgresOptions};
use crate::error::{Error, Result};

/// Returns the text to append to a primary's `postgresql.conf`. PostgreSQL takes the last value of a
/// name.
pub(super) fn of_server(options: &PostgresOptions) -> String {
    let max_connections = options.max_connections().to_string();
    let fsync = match options.fsync() {
        Fsync::On => "on",
        Fsync::Off => "off",
    };
    let chosen = [("max_connections", max_connections.as_str()), ("fsync", fsync)];
    let further = options.settings().iter().map(|(name, value)| (name.as_str(), value.as_str()));
    render(FIXED.into_iter().chain(chosen).chain(further))
}

/// Returns the text to append to the `postgresql.conf` of a replica that streams from `upstream`.
pub(super) fn of_replica(options: &PostgresOptions, upstream: SocketAddr) -> String {
    let primary_conninfo =
        format!("host={} port={} user=postgres application_name={}", upstream.ip(), upstream.port(), options.name());
    let own = [
        ("primary_conninfo", primary_conninfo.as_str()),
        // The smallest value: pg_stat_replication on the primary is at most this old.
        ("wal_receiver_status_interval", "1s"),
        // Reconnect soon after a cut link is healed (PostgreSQL's default is 5 s).
        ("wal_retrieve_retry_interval", "100ms"),
    ];
    render(own) + &of_server(options)
}

/// Checks the names of settings, which stand unquoted in `postgresql.conf`.
pub(super) fn check_names(settings: &[(String, String)]) -> Result<()> {
    match settings.iter().find(|(name, _)| !is_name(name)) {
        None => Ok(()),
        Some((name, _)) => Err(not_a_setting(name)),
    }
}

/// Returns `name` as a quoted SQL identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns `value` as a quoted SQL literal. A backslash is an ordinary character
/// (`standard_conforming_strings`).
pub(super) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn render<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in settings {
        // Unlike in SQL, a backslash escapes in this file.
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        writeln!(text, "{name} = '{value}'").expect("a String takes everything");
    }
    text
}

pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    !name.is_empty() && name.chars().all(allowed)
}

pub(super) fn not_a_setting(name: &str) -> Error {
    Error::misuse(format!("invalid name {name:?} of a PostgreSQL setting; use letters, digits, `_` and `.`"))
}

const FIXED: [(&str, &str); 14] = [
    ("listen_addresses", "127.0.0.1"),
    // Below a temporary folder, the path of a socket may be too long for a Unix socket.
    ("unix_socket_directories", ""),
    ("wal_level", "replica"),
    ("hot_standby", "on"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    // A replica that was stopped or cut off for a while still finds the WAL that it missed.
    ("wal_keep_size", "256MB"),
    ("shared_buffers", "32MB"),
    // In the data directory, which the janitor removes. POSIX segments would survive a kill.
    ("dynamic_shared_memory_type", "mmap"),
    ("huge_pages", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", "%m [%p] %q%a "),
    ("timezone", "UTC"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_file() {
        assert_eq!(render([("a.b", r"it's C:\x")]), "a.b = 'it''s C:\\\\x'\n");
    }

    #[test]
    fn further_settings_come_last() {
        let options = PostgresOptions::default().with_setting("max_connections", "7");
        let text = of_server(&options);
        assert!(text.ends_with("max_connections = '7'\n"), "{text}");
    }

    #[test]
    fn line_break_in_name_is_refused() {
        let error = check_names(&[("a\nb".to_owned(), String::new())]).unwrap_err();
        assert!(error.is_misuse());
    }
}
