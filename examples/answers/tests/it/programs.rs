//! The examples as programs, one after the other on one database, as a reader runs them.

use std::path::PathBuf;

use homing_testbed::{Fsync, Postgres};
use tokio::process::Command;

#[tokio::test]
async fn programs_run_on_a_laptop() {
    let postgres = Postgres::options().with_fsync(Fsync::Off).start().await.unwrap();
    for database in ["laptop", "analytics"] {
        postgres.create_database(database).await.unwrap();
    }
    for _ in ["first run", "second run"] {
        for (name, says) in [
            ("batch", "author "),
            ("consistency", "own "),
            ("databases", " visits\n"),
            ("fates", "Ada: true, Bob: false\n"),
            ("job_token", "to send: lamp\n"),
            ("lost_updates", "refused: true\n"),
            ("named_replica", "at "),
            ("sea_query", "[House { id: 3, city: \"Rome\", price: 300 }, House { id: 2"),
            ("static_peers", "answered by Peer("),
            ("tenant", "tenant_8 has to pay Some("),
            ("transaction", "Ada has 70 left\n"),
        ] {
            let mut command = Command::new(program(name));
            command.env_clear().env("DATABASE_URL", postgres.database_url("laptop"));
            command.env("ANALYTICS_URL", postgres.database_url("analytics"));
            let output = command.output().await.unwrap_or_else(|error| panic!("{name}: {error}; {HINT}"));
            let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && stdout.contains(says), "{name}: {stdout}\n{stderr}");
        }
    }
}

/// Cargo builds examples into a folder next to that of the tests.
fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

const HINT: &str = "a choice of targets (--test) does not build the examples: run `cargo test -p answers`";
