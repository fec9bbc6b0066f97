//! How much many callers get done, without distance.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use homing_testbed::Postgres;
use tokio::process::Command;

use super::cpu;
use super::order::{Done, INSERT, Order, Wait, Work};
use super::stage::{Away, Home};
use crate::output::samples::Samples;
use crate::output::table::{Table, milliseconds};
use crate::run::Run;

/// Lets callers insert in all ways, in turns.
pub(super) async fn measure(run: &mut Run, home: &mut Home, near: &mut Away, pgbench: &Path) -> Result<()> {
    let (counts, rounds, seconds) = match run.is_quick() {
        true => (&COUNTS[2..3], 2, 0.6),
        false => (&COUNTS[..], 3, 2.0),
    };
    let script = Script::write()?;
    for &callers in counts {
        run.console.heading(&format!("{callers} callers, no distance: {rounds} rounds of {seconds} s each"));
        let mut crowds: Vec<_> = WAYS.iter().map(Crowd::new).collect();
        let mut limit = Samples::default();
        for round in 0..rounds {
            for crowd in &mut crowds {
                run.console.progress(format!("round {} of {rounds}: {}", round + 1, crowd.way.what));
                crowd.work(home, near, callers, seconds).await?;
            }
            run.console.progress(format!("round {} of {rounds}: pgbench", round + 1));
            limit.push(script.run(pgbench, &home.primary, callers, seconds).await?);
        }
        show(run, callers, &crowds, &limit);
    }
    Ok(())
}

/// A way to insert.
struct Way {
    what: &'static str,
    /// As the figures call it.
    name: &'static str,
    place: Place,
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Home,
    Near,
}

const WAYS: [Way; 8] = [
    Way { what: "pool at the primary", name: "pool", place: Place::Home, work: Work::PoolInsert },
    Way { what: "primary region", name: "local", place: Place::Home, work: INSERT },
    Way { what: "  at most once", name: "local_at_most_once", place: Place::Home, work: at_most_once(Wait::Now) },
    Way { what: "replica region, with its wait", name: "forward_wait", place: Place::Near, work: INSERT },
    Way {
        what: "  at most once",
        name: "forward_wait_at_most_once",
        place: Place::Near,
        work: at_most_once(Wait::Now),
    },
    Way {
        what: "  at most once, without its wait",
        name: "forward",
        place: Place::Near,
        work: at_most_once(Wait::Never),
    },
    Way { what: "  named function that does nothing", name: "empty_call", place: Place::Near, work: Work::CallNothing },
    Way { what: "  read of an entity", name: "get", place: Place::Near, work: Work::Get },
];

const fn at_most_once(wait: Wait) -> Work {
    Work::Insert { wait, is_protected: false }
}

/// What the callers got done in one way.
struct Crowd {
    way: &'static Way,
    per_second: Samples,
    p99: Samples,
    /// Microseconds of our processes for each call.
    ours: Samples,
    /// Those of the servers.
    servers: Samples,
    log_bytes: Samples,
}

impl Crowd {
    fn new(way: &'static Way) -> Self {
        let none = Samples::default;
        Self { way, per_second: none(), p99: none(), ours: none(), servers: none(), log_bytes: none() }
    }

    async fn work(&mut self, home: &mut Home, near: &mut Away, callers: usize, seconds: f64) -> Result<()> {
        let order = Order::Crowd { work: self.way.work, callers, seconds };
        let before = Used::now(home, near).await?;
        let done: Done = match self.way.place {
            Place::Home => home.node.order(&order).await?,
            Place::Near => near.node.order(&order).await?,
        };
        let after = Used::now(home, near).await?;
        let calls = done.calls as f64;
        self.per_second.push(calls / done.seconds);
        self.p99.push(done.times.p99());
        self.ours.push((after.ours - before.ours) * 1e6 / calls);
        self.servers.push((after.servers - before.servers) * 1e6 / calls);
        self.log_bytes.push((after.log_bytes - before.log_bytes) / calls);
        Ok(())
    }
}

/// What was used up so far.
struct Used {
    ours: f64,
    servers: f64,
    log_bytes: f64,
}

impl Used {
    async fn now(home: &Home, near: &Away) -> Result<Self> {
        let ours = cpu::of_process(home.node.pid().await)? + cpu::of_process(near.node.pid().await)?;
        let servers = cpu::of_server(&home.primary)? + cpu::of_server(&near.replica)?;
        Ok(Self { ours, servers, log_bytes: home.written().await? })
    }
}

fn show(run: &mut Run, callers: usize, crowds: &[Crowd], limit: &Samples) {
    let per_second = |name: &str| {
        crowds.iter().find(|crowd| crowd.way.name == name).map_or(f64::NAN, |crowd| crowd.per_second.p50())
    };
    let pool = per_second("pool");
    let mut table = Table::new(&["", "per second", "of the pool", "p99", "CPU of ours", "of servers", "log"]);
    table.row(["pgbench at the primary".to_owned(), whole(limit.p50()), share(limit.p50() / pool)]);
    run.findings.figure(format!("throughput.{callers}.pgbench"), limit.p50());
    for crowd in crowds {
        let Crowd { way, per_second, p99, ours, servers, log_bytes } = crowd;
        let rate = per_second.p50();
        table.row([
            way.what.to_owned(),
            whole(rate),
            share(rate / pool),
            milliseconds(p99.p50()),
            format!("{} us", whole(ours.p50())),
            format!("{} us", whole(servers.p50())),
            format!("{} bytes", whole(log_bytes.p50())),
        ]);
        let name = format!("throughput.{callers}.{}", way.name);
        run.findings.figure(format!("{name}_cpu_us"), ours.p50());
        run.findings.figure(format!("{name}_servers_cpu_us"), servers.p50());
        run.findings.figure(format!("{name}_log_bytes"), log_bytes.p50());
        run.findings.figure(name, rate);
    }
    let bars = [
        ("forward_wait_vs_pool", per_second("forward_wait") / pool, 0.75),
        ("forward_vs_pool", per_second("forward") / pool, 0.9),
        ("local_vs_pool", per_second("local") / pool, 0.95),
        ("forward_once_vs_at_most_once", per_second("forward_wait") / per_second("forward_wait_at_most_once"), 0.85),
        ("local_once_vs_at_most_once", per_second("local") / per_second("local_at_most_once"), 0.85),
        ("empty_calls", per_second("empty_call"), 25_000.0),
    ];
    for (name, figure, least) in bars {
        let name = format!("throughput.{callers}.{name}");
        // The bars are for as many callers as a busy node has.
        match callers == COUNTS[2] {
            true => run.bar(&name, figure, figure >= least, &format!("at least {least}")),
            false => run.findings.figure(name, figure),
        }
    }
    run.show(&table, &[]);
}

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

fn share(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// The script for pgbench: the limit of what the server can do with one statement at a time for each caller.
struct Script(PathBuf);

impl Script {
    fn write() -> Result<Self> {
        let file = std::env::temp_dir().join(format!("homing-bench-{}.sql", std::process::id()));
        let insert = "insert into users (name, age) values ('Ada', 36) returning id, name, age;\n";
        std::fs::write(&file, insert)?;
        Ok(Self(file))
    }

    /// Returns the transactions per second.
    async fn run(&self, pgbench: &Path, server: &Postgres, callers: usize, seconds: f64) -> Result<f64> {
        // It takes whole seconds, and a connection for each caller.
        let (seconds, connections) = (seconds.ceil().to_string(), callers.min(POOL).to_string());
        let (host, port) = (server.address().ip().to_string(), server.address().port().to_string());
        let output = Command::new(pgbench)
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client", &connections, "--time", &seconds])
            .args(["--host", &host, "--port", &port, "--username=postgres", "--file"])
            .arg(&self.0)
            .arg("postgres")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = rate.and_then(|line| line.split_whitespace().next()).context("pgbench printed no rate")?;
        Ok(rate.parse()?)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It is in the folder for temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}

const COUNTS: [usize; 4] = [1, 16, 64, 256];

/// As many connections as the pools have.
const POOL: usize = 16;
