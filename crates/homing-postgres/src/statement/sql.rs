//! Reads the text of a statement, to find the few things that PostgreSQL itself would not report in time.
//!
//! Whether a statement writes is not guessed here: PostgreSQL reports that itself (SQLSTATE 25006). But a pooled
//! connection or a replica *accepts* a few statements and then does something else than their author meant. An advisory
//! lock on a replica does not lock out the sessions of other servers. `BEGIN` leaves a transaction open on a connection
//! that the next caller gets. A temporary table is created on a connection that its author never gets again.
//!
//! Functions of the application are looked up in the catalog ([`names`]), and `call` and `do` run on the primary.
//!
//! Only words are read, not their meaning. A function or a `do` block that changes the session is not noticed, and its
//! changes stay with the pooled connection.

use std::collections::BTreeSet;

use super::copy::check_copy;
use super::kind::RunsOn;
use super::words::{SqlToken, Words};
use crate::error::{Error, Result};

/// Returns where the statement may run, as far as its text tells. A replica accepts some statements that only work on
/// the primary, advisory locks for example; PostgreSQL itself reports a statement that writes.
///
/// # Errors
///
/// `is_misuse` if it changes the state of a session. Its author cannot keep that session, since connections are pooled.
pub(crate) fn destination(sql: &str) -> Result<RunsOn> {
    let functions = functions(sql);
    let calls = |function: &str| functions.iter().any(|name| name == function);
    if calls(SET_CONFIG) {
        return Err(Error::misuse(format!(
            "set_config needs a session of its own, but connections are pooled: {SETTING}"
        )));
    }
    if let Some(function) = ["currval", "lastval"].into_iter().find(|function| calls(function))
        && may_read(sql)
        && !calls("nextval")
    {
        return Err(Error::misuse(format!(
            "{function} asks what a session did before, but connections are pooled: take the number from nextval or \
             RETURNING, or use a transaction"
        )));
    }
    destination_of(sql, &functions)
}

/// Returns where a statement may run that sets nothing. `functions` are those that it calls.
fn destination_of(sql: &str, functions: &[String]) -> Result<RunsOn> {
    let mut words = Words::of(sql);
    let first = words.next();
    let second = words.next();
    if let Some(advice) = session_advice(first.as_deref(), second.as_deref(), &mut words) {
        return Err(Error::misuse(format!(
            "{} needs a session of its own, but connections are pooled: {advice}",
            first.unwrap_or_default().to_uppercase()
        )));
    }
    check_copy(sql)?;
    let mut destination = match (first.as_deref(), second.as_deref()) {
        // A replica runs these without a complaint: a procedure or block may swallow the refusal of a write, and the others
        // would change that server, or files on it.
        (Some("call" | "copy" | "do" | "checkpoint"), _) | (Some("alter"), Some("system")) => RunsOn::Primary,
        _ => RunsOn::Any,
    };
    for function in functions {
        if changes_server(function) {
            destination = RunsOn::Primary;
        }
        match lock_scope(function) {
            Some(LockScope::Session) => {
                return Err(Error::misuse(format!(
                    "{function} takes a lock that belongs to a session, but connections are pooled: use \
                     pg_advisory_xact_lock in a transaction or a named function"
                )));
            }
            Some(LockScope::Transaction) => destination = RunsOn::Primary,
            None => {}
        }
    }
    Ok(destination)
}

/// Returns where a statement of an interactive transaction has to go. Settings that end with the transaction and cursors
/// are allowed there.
///
/// # Errors
///
/// `is_misuse` if it is a transaction command, changes `synchronous_commit`, or changes the state of the session.
pub(crate) fn destination_in_transaction(sql: &str) -> Result<RunsOn> {
    let mut words = Words::of(sql);
    match (words.next().as_deref(), words.next().as_deref()) {
        (Some("set"), Some("local")) => match words.next().as_deref() {
            // If the commit does not flush, the position read after it lies before it.
            Some("synchronous_commit") => Err(Error::misuse(
                "set local synchronous_commit would hide which position a replica has to reach: leave it unchanged",
            )),
            _ => Ok(RunsOn::Any),
        },
        (Some("set"), Some("constraints")) => Ok(RunsOn::Any),
        (Some("declare"), _) if !has_hold(sql) => Ok(RunsOn::Any),
        (Some("fetch" | "move" | "close"), _) => Ok(RunsOn::Any),
        (Some("begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release"), _) => {
            Err(Error::misuse(NESTED))
        }
        _ if sets_by_function(sql) && !sets_locally(sql) => Err(Error::misuse(
            "set_config may change the session, but connections are pooled: write true as its third argument, so that the \
             setting ends with the transaction",
        )),
        _ => destination_of(sql, &functions(sql)),
    }
}

/// Checks that a script may run within an interactive transaction.
///
/// # Errors
///
/// `is_misuse` if it holds a transaction command, which would end the transaction unnoticed, or changes
/// `synchronous_commit`.
pub(crate) fn check_script_in_transaction(script: &str) -> Result<()> {
    check_copy(script)?;
    let mut words = Words::of(script);
    let mut is_first = true;
    while let Some(token) = words.token() {
        match token {
            SqlToken::Semicolon => is_first = true,
            SqlToken::Word(word) if is_first => {
                is_first = false;
                if let "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" = &*word {
                    return Err(Error::misuse(NESTED));
                }
                if word == "prepare" && words.next().as_deref() == Some("transaction") {
                    return Err(Error::misuse(NESTED));
                }
            }
            SqlToken::Word(word) if word == "synchronous_commit" => {
                return Err(Error::misuse("a script within a transaction cannot change synchronous_commit"));
            }
            SqlToken::Word(_) | SqlToken::Quoted(_) | SqlToken::Mark(_) => {}
        }
    }
    Ok(())
}

const NESTED: &str = "an interactive transaction does not take transaction commands: return Ok from its closure to commit, \
                      return an error to roll back, and call transaction on its handle for a savepoint";

fn has_hold(sql: &str) -> bool {
    let words: Vec<String> = Words::of(sql).collect();
    words.windows(2).any(|pair| pair[0] == "with" && pair[1] == "hold")
}

/// Returns whether a statement may change the types of other prepared statements. Statements that cannot are recognised by
/// their first word. If a function that they call does so, PostgreSQL reports the stale statement later.
pub(crate) fn may_change_schema(sql: &str) -> bool {
    const KEEP_IT: [&str; 17] = [
        "select", "insert", "update", "delete", "merge", "with", "values", "table", "explain", "show", "set", "fetch",
        "move", "close", "declare", "notify", "copy",
    ];
    Words::of(sql).next().is_some_and(|word| !KEEP_IT.contains(&&*word))
}

/// Returns whether a statement may only read, by its first word. PostgreSQL has to confirm it.
pub(crate) fn may_read(sql: &str) -> bool {
    matches!(Words::of(sql).next().as_deref(), Some("explain" | "select" | "show" | "table" | "values" | "with"))
}

/// Returns the words of a statement that may be names of functions or views, each once.
pub(crate) fn names(sql: &str) -> Vec<String> {
    let mut words = Words::of(sql);
    let mut names = BTreeSet::new();
    while let Some(token) = words.token() {
        match token {
            SqlToken::Word(word) => drop(names.insert(word)),
            SqlToken::Quoted(name) => drop(names.insert(name.trim_matches('"').to_owned())),
            SqlToken::Semicolon | SqlToken::Mark(_) => {}
        }
    }
    names.into_iter().collect()
}

/// Returns the names in front of a parenthesis, quoted or not: those of all functions that the statement itself calls.
fn functions(sql: &str) -> Vec<String> {
    let (mut words, mut functions, mut name) = (Words::of(sql), Vec::new(), None);
    while let Some(token) = words.token() {
        name = match token {
            SqlToken::Word(word) => Some(word),
            SqlToken::Quoted(quoted) => Some(quoted.trim_matches('"').to_owned()),
            SqlToken::Mark('(') => {
                functions.extend(name);
                None
            }
            SqlToken::Mark(_) | SqlToken::Semicolon => None,
        };
    }
    functions
}

/// Returns whether a statement calls `set_config`.
pub(crate) fn sets_by_function(sql: &str) -> bool {
    // Most statements do not, and some are long.
    let mut texts = sql.as_bytes().windows(SET_CONFIG.len());
    texts.any(|text| text.eq_ignore_ascii_case(SET_CONFIG.as_bytes()))
        && functions(sql).iter().any(|name| name == SET_CONFIG)
}

/// Returns whether each call of `set_config` says that its setting ends with the transaction: its third argument is the
/// word `true`. A parameter may be false.
fn sets_locally(sql: &str) -> bool {
    let (mut words, mut is_setting) = (Words::of(sql), false);
    while let Some(token) = words.token() {
        is_setting = match token {
            SqlToken::Word(word) => word == SET_CONFIG,
            SqlToken::Quoted(quoted) => quoted.trim_matches('"') == SET_CONFIG,
            SqlToken::Mark('(') if is_setting => {
                let is_local = third_argument(words.clone()).is_some_and(|text| text.eq_ignore_ascii_case("true"));
                if !is_local {
                    return false;
                }
                false
            }
            SqlToken::Mark(_) | SqlToken::Semicolon => false,
        };
    }
    true
}

/// Returns the text of the third argument, if there are exactly three. `words` are behind the opening parenthesis.
fn third_argument<'a>(mut words: Words<'a>) -> Option<&'a str> {
    let (mut depth, mut commas, mut argument) = (0, 0, "");
    loop {
        match words.token()? {
            SqlToken::Mark('(') => depth += 1,
            SqlToken::Mark(')') if depth == 0 => break,
            SqlToken::Mark(')') => depth -= 1,
            SqlToken::Mark(_) if depth == 0 => (commas, argument) = (commas + 1, words.rest()),
            _ => {}
        }
    }
    let end = argument.len().checked_sub(words.rest().len() + 1)?;
    (commas == 2).then(|| argument[..end].trim())
}

const SET_CONFIG: &str = "set_config";

/// Returns whether a statement is known to run in a transaction block as it does by itself, by its first word.
pub(crate) fn runs_in_block(sql: &str) -> bool {
    may_read(sql) || matches!(Words::of(sql).next().as_deref(), Some("delete" | "insert" | "merge" | "update"))
}

/// Returns whether a statement writes and returns the rows that it writes, so that it can be a part of another one.
pub(crate) fn returns_written_rows(sql: &str) -> bool {
    let mut words = Words::of(sql);
    if !matches!(words.next().as_deref(), Some("delete" | "insert" | "update")) {
        return false;
    }
    let (mut depth, mut returns) = (0, false);
    while let Some(token) = words.token() {
        match token {
            SqlToken::Mark('(') => depth += 1,
            SqlToken::Mark(')') => depth -= 1,
            SqlToken::Word(word) if word == "returning" && depth == 0 => returns = true,
            SqlToken::Semicolon => return false,
            _ => {}
        }
    }
    returns
}

const SETTING: &str = "use with_setting for a setting of a handle's calls, or set it for the role or the database";

/// Returns the advice for a statement that needs a session of its own. `None` for any other statement.
fn session_advice(first: Option<&str>, second: Option<&str>, rest: &mut Words<'_>) -> Option<&'static str> {
    const TRANSACTION: &str = "use transaction, or send several statements together with batch_execute";
    const TEMPORARY: &str = "use a common table expression, an unlogged table or a named function";
    match (first?, second) {
        ("begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release", _) => Some(TRANSACTION),
        ("prepare", Some("transaction")) => Some(TRANSACTION),
        ("prepare" | "deallocate", _) => Some("Homing prepares every statement by itself"),
        ("listen" | "unlisten", _) => Some("connect to the primary's database for it"),
        ("declare" | "fetch" | "move" | "close", _) => Some("use a named function"),
        ("set", Some("local")) => Some("use with_setting, or SET LOCAL within a transaction"),
        ("set", Some("constraints" | "transaction")) => Some(TRANSACTION),
        ("set" | "reset" | "discard" | "load", _) => Some(SETTING),
        ("create", Some("temp" | "temporary" | "local" | "global")) => Some(TEMPORARY),
        ("create", Some("or")) => {
            let temporary = matches!(
                (rest.next().as_deref(), rest.next().as_deref()),
                (Some("replace"), Some("temp" | "temporary"))
            );
            temporary.then_some(TEMPORARY)
        }
        ("select", Some("into")) => matches!(rest.next().as_deref(), Some("temp" | "temporary")).then_some(TEMPORARY),
        ("select" | "with", _) => selects_into_temporary(rest).then_some(TEMPORARY),
        _ => None,
    }
}

fn selects_into_temporary(rest: &mut Words<'_>) -> bool {
    let mut after_into = false;
    for word in rest {
        if after_into && matches!(&*word, "temp" | "temporary") {
            return true;
        }
        after_into = word == "into";
    }
    false
}

/// Returns whether a function changes the server that it runs on, without writing: a replica would run it.
/// <https://www.postgresql.org/docs/current/functions-admin.html>
fn changes_server(function: &str) -> bool {
    matches!(
        function,
        "lo_export" | "pg_cancel_backend" | "pg_reload_conf" | "pg_rotate_logfile" | "pg_terminate_backend"
    ) || function.starts_with("pg_stat_reset")
        || function.starts_with("pg_replication_slot_advance")
        || (function.starts_with("pg_create_") || function.starts_with("pg_copy_") || function.starts_with("pg_drop_"))
            && function.contains("replication_slot")
}

enum LockScope {
    Session,
    Transaction,
}

/// <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS>
fn lock_scope(word: &str) -> Option<LockScope> {
    let function = word.strip_prefix("pg_try_advisory_").or_else(|| word.strip_prefix("pg_advisory_"))?;
    match function {
        "xact_lock" | "xact_lock_shared" => Some(LockScope::Transaction),
        "lock" | "lock_shared" | "unlock" | "unlock_shared" | "unlock_all" => Some(LockScope::Session),
        _ => None,
    }
}

/// Returns the text of a statement for a span: its beginning, if it is long.
pub(crate) fn shown(sql: &str) -> &str {
    let end = (0..=MAX_SHOWN_BYTES.min(sql.len())).rev().find(|end| sql.is_char_boundary(*end));
    &sql[..end.unwrap_or_default()]
}

/// Longer than nearly all statements that people write, and short enough for a line of a log.
const MAX_SHOWN_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_return_rows_are_recognized() {
        for (sql, expected) in [
            ("insert into a (b) values ($1) returning c", true),
            ("/* new */ UPDATE a SET b = 1 WHERE c = (select 2) RETURNING *", true),
            ("delete from a\nreturning b", true),
            ("insert into a values (1)", false),
            ("insert into a values ('returning')", false),
            ("insert into \"returning\" values (1) -- returning", false),
            ("insert into a with b as (delete from c returning d) select d from b", false),
            ("insert into a values (1) returning b;", false),
            ("with a as (select 1) insert into b select * from a returning c", false),
            ("select 1 as returning", false),
            ("", false),
        ] {
            assert_eq!(returns_written_rows(sql), expected, "{sql}");
        }
    }

    #[test]
    fn statements_that_need_a_session_are_refused() {
        for sql in [
            "BEGIN",
            " /* now */ start transaction",
            "commit",
            "savepoint a",
            "listen orders",
            "set search_path = x",
            "set local work_mem = '1GB'",
            "prepare q as select 1",
            "prepare transaction 'x'",
            "create temp table t (id int)",
            "create or replace temporary view v as select 1",
            "create local temporary table t (id int)",
            "select * into temp t from u",
            "select a, b into temporary t from u",
            "select pg_advisory_lock(1)",
            "select currval('tickets')",
            "with a as (select 1) select lastval() from a",
            "select set_config('synchronous_commit', 'off', false)",
            "select set_config('app.user', $1, true)",
            "select pg_catalog.\"set_config\" ('app.user', $1, false)",
            "select \"pg_advisory_lock\"(1)",
            "select 1 where pg_try_advisory_lock_shared(1, 2)",
            "select pg_advisory_unlock_all()",
            "discard all",
            "declare c cursor with hold for select 1",
            "copy t (a, b) from stdin with (format csv)",
            "COPY (select 1) TO STDOUT",
            "copy \"t\" (a, b) from stdin",
            "copy (select \"a\", 1 from stdin) to stdout",
            "select 1; copy t from stdin",
        ] {
            let error = destination(sql).unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{sql}: {error}");
        }
    }

    #[test]
    fn transaction_allows_what_ends_with_it() {
        for sql in ["set local lock_timeout = '1s'", "set constraints all deferred", "declare c cursor for select 1"] {
            assert!(destination(sql).is_err(), "{sql}");
            assert_eq!(destination_in_transaction(sql).unwrap(), RunsOn::Any, "{sql}");
        }
        for sql in [
            "select set_config('app.user', $1, true)",
            "select set_config($1, $2, TRUE), pg_catalog.set_config ( 'a', set_config('b', ')', true), true )",
            "with a as (select \"set_config\"('a', concat('b', (','), $1), true)) select * from a",
        ] {
            assert_eq!(destination_in_transaction(sql).unwrap(), RunsOn::Any, "{sql}");
        }
        for sql in [
            "select set_config('app.user', $1, false)",
            "select set_config('app.user', $1, $2), true",
            "select set_config('app.user', $1, not true)",
            "select set_config('app.user', $1, 'f' = true)",
            "select set_config('app.user', 'true', $1 -- true\n)",
            "select set_config('a', set_config('b', 'c', false), true)",
            "select set_config('a', 'b', true), set_config('a', 'b', false)",
            "select \"set_config\"('a', 'b', false)",
            "select set_config(is_local => $1, setting_name => 'a', new_value => true)",
            "select set_config(variadic array['a', 'b', true])",
            "select set_config('a', 'b', true",
            "commit",
            "savepoint a",
            "set lock_timeout = '1s'",
            "set local synchronous_commit = off",
            "declare c cursor with hold for select 1",
            "listen a",
        ] {
            assert!(destination_in_transaction(sql).unwrap_err().is_misuse(), "{sql}");
        }
    }

    #[test]
    fn script_cannot_end_its_transaction() {
        for script in ["commit", "select 1; COMMIT ;", ";;rollback", "select 1; -- x\n begin; select 2", "end"] {
            assert!(check_script_in_transaction(script).unwrap_err().is_misuse(), "{script}");
        }
        for script in [
            "select 1; select 2;",
            "do $$ begin perform 1; end $$;",
            "create table commit (id int); insert into a values ('; commit')",
            "",
        ] {
            check_script_in_transaction(script).unwrap();
        }
    }

    #[test]
    fn first_word_shows_schema_changes() {
        for sql in ["create table a ()", "ALTER type a", "drop view v", "truncate a", "do $$ $$", "call p()", "lock a"]
        {
            assert!(may_change_schema(sql), "{sql}");
        }
        for sql in ["select 1", "with a as (select 1) insert into b select 1", "(select 1)", "values (1)", ""] {
            assert!(!may_change_schema(sql), "{sql}");
        }
    }

    #[test]
    fn locks_and_files_go_to_the_primary() {
        let sql = "select pg_advisory_xact_lock(hashtext('a'))";
        assert_eq!(destination(sql).unwrap(), RunsOn::Primary);
        assert_eq!(destination("copy t to '/tmp/t'").unwrap(), RunsOn::Primary);
    }

    #[test]
    fn other_statements_go_anywhere() {
        for sql in [
            "select 1",
            "insert into t values ('set x')",
            "select \"begin\" from commit_log",
            "create table temp_things (id int)",
            "create or replace view v as select 1",
            "insert into temp select 1",
            "update t set listen = 1",
            "select 'pg_advisory_lock(1)'",
            "explain select 1",
            "select nextval('tickets'), currval('tickets')",
            "insert into t values (currval('tickets'))",
            "select currval from t",
        ] {
            assert_eq!(destination(sql).unwrap(), RunsOn::Any, "{sql}");
        }
    }
}
