//! Every kind of SQL, from a replica region and next to the primary: the answers are equal, or the call is refused by name.
//!
//! `docs/statements.md` is written by this test: `HOMING_WRITE_GENERATED=1 cargo test --package homing --test it statements`. It is
//! that of PostgreSQL [`PAGE_VERSION`]; other versions know other statements.

mod list;

use std::error::Error as StdError;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use homing::report::AnsweredBy;
use homing::{Error, Repo, Row};
use postgres_types::{FromSql, Type};

use self::list::{Calls, GROUPS, SETUP};
use crate::fixture::{Reports, Servers, World, recorded};

/// What a call returned, as far as two regions can be compared: rows or an error.
#[derive(Debug, PartialEq)]
enum Outcome {
    Rows(Vec<String>, Vec<Vec<Option<Vec<u8>>>>),

    /// Homing refuses the call by name.
    Refused(String),

    /// An error of PostgreSQL, by its SQLSTATE.
    Failed(String),
}

/// A value of any type, as PostgreSQL sends it.
struct Bytes(Vec<u8>);

impl FromSql<'_> for Bytes {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Outcome {
    fn of(result: homing::Result<Vec<Row>>) -> Self {
        match result {
            Ok(rows) => {
                let names = rows.first().map(Row::columns).unwrap_or_default();
                let names = names.iter().map(|column| column.name().to_owned()).collect();
                let value = |row: &Row, index| row.get::<_, Option<Bytes>>(index).map(|bytes| bytes.0);
                let values = |row: &Row| (0..row.len()).map(|index| value(row, index)).collect();
                Self::Rows(names, rows.iter().map(values).collect())
            }
            Err(error) if error.is_misuse() => {
                let message = error.to_string();
                // Without the call and the statement, which the page shows already.
                Self::Refused(message.split_once("\": ").map_or(&*message, |(_, why)| why).to_owned())
            }
            Err(error) => Self::Failed(sqlstate(&error)),
        }
    }
}

/// Returns the SQLSTATE of an error, which has to say that nothing remains.
fn sqlstate(error: &Error) -> String {
    assert!(error.is_rejected(), "{error:?}");
    error.code().unwrap_or_else(|| panic!("PostgreSQL did not report this: {error:?}")).code().to_owned()
}

/// A region: its handle, and the reports of its calls.
struct Region {
    repo: Repo,
    reports: Reports,
}

impl Region {
    fn new(repo: &Repo) -> Self {
        let (repo, reports) = recorded(repo);
        Self { repo, reports }
    }

    /// Returns the outcome of each statement.
    async fn run(&self, calls: &Calls, database: &str) -> Vec<Outcome> {
        let named = |sql: &&str| sql.replace("{database}", database);
        match calls {
            Calls::Statement(sql) => vec![Outcome::of(self.repo.query(&named(sql), &[]).await)],
            Calls::Script(sql) => vec![Outcome::of(self.repo.batch_execute(&named(sql)).await.map(|()| Vec::new()))],
            Calls::Transaction(statements) => {
                let statements = statements.iter().map(named).collect::<Vec<_>>();
                let within = |tx: Repo| async move {
                    let mut outcomes = Vec::new();
                    for sql in &statements {
                        outcomes.push(Outcome::of(tx.query(sql, &[]).await));
                    }
                    Ok(outcomes)
                };
                self.repo.transaction(within).await.unwrap()
            }
        }
    }

    /// Returns where the last call ran.
    fn place(&self) -> &'static str {
        match self.reports.last().answered_by {
            AnsweredBy::Local => "the replica",
            AnsweredBy::Peer(_) => "the primary",
            _ => "an error",
        }
    }
}

/// Two databases with the same contents. All statements run in one of them from the primary region, in the other one from
/// a replica region.
#[tokio::test]
async fn regions_answer_alike() {
    // Of its own: some statements change the server.
    let servers = Servers::start(&[]).await;
    let (near, far) = (servers.world().await, servers.world().await);
    for world in [&near, &far] {
        world.primary.batch_execute(SETUP).await.unwrap();
    }
    servers.replica.caught_up_with(&servers.primary).await.unwrap();
    let (iad, syd) = (Region::new(&near.iad.repo()), Region::new(&far.syd.repo()));
    let mut page = HEAD.to_owned();
    for (group, calls) in GROUPS {
        write!(page, "\n## {group}\n\n| statement | from a replica region |\n|---|---|\n").unwrap();
        for call in *calls {
            let expected = iad.run(call, &near.database).await;
            let found = syd.run(call, &far.database).await;
            assert_eq!(found, expected, "{call:?}");
            line(&mut page, call, &found, syd.place());
        }
    }
    assert_eq!(contents(&far).await, contents(&near).await);
    let version = "select current_setting('server_version_num')::int / 10000";
    if near.primary.query_one(version, &[]).await.unwrap().get::<_, i32>(0) == PAGE_VERSION {
        compare(&page);
    }
}

fn line(page: &mut String, call: &Calls, outcomes: &[Outcome], place: &str) {
    let refused = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Refused(message) => Some(format!("refused: {message}")),
        Outcome::Failed(code) => Some(format!("PostgreSQL's error {code}")),
        Outcome::Rows(..) => None,
    });
    writeln!(page, "| {call} | {} |", refused.unwrap_or_else(|| place.to_owned())).unwrap();
}

/// Returns what is in the tables.
async fn contents(world: &World) -> Vec<String> {
    let tables = "select table_name::text from information_schema.tables where table_schema = 'public'
                  and table_type = 'BASE TABLE' order by 1";
    let mut contents = Vec::new();
    for row in world.primary.query(tables, &[]).await.unwrap() {
        let table: String = row.get(0);
        let sql = format!("select coalesce(string_agg(t::text, ' ' order by t::text), '') from \"{table}\" t");
        let rows: String = world.primary.query_one(&sql, &[]).await.unwrap().get(0);
        contents.push(format!("{table}: {rows}"));
    }
    contents
}

fn compare(page: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/statements.md");
    if std::env::var_os("HOMING_WRITE_GENERATED").is_some() {
        fs::write(&file, page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(written, page, "docs/statements.md is old; the head of this test says how to write it");
}

/// The version of PostgreSQL whose answers the page shows.
const PAGE_VERSION: i32 = 15;

const HEAD: &str = "# Which SQL works, and where it runs

A test runs each of these statements twice: next to the primary, and from a region that has a replica. The answers are equal:
the same rows, the same error of PostgreSQL, the same contents of all tables afterwards. Or Homing refuses the statement in both
regions, and the message says what to do. The second column says who answers in the replica region: its replica, or the
primary. The test writes this page with PostgreSQL 15; other versions know more statements or fewer.

A statement about the server itself, such as `select pg_is_in_recovery()` or `show transaction_read_only`, tells of the server
that answers.
";
