//! The callers: tasks that write and read, one operation after the other.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use homing::{Consistency, Repo};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use super::sabotage::Sabotage;
use super::settings::NodeSettings;
use super::tables::ACCOUNTS;
use super::{reads, writes};
use crate::faults::clock::{Micros, now};
use crate::faults::journal::{FailedFate, JournalWriter, Line, Operation, Outcome, Transfer, Way, Write};

/// What the callers of this process share.
#[derive(Debug)]
pub(super) struct Process {
    settings: NodeSettings,
    journal: JournalWriter,
    operations: AtomicU64,
}

impl Process {
    pub(super) fn new(settings: NodeSettings) -> io::Result<Self> {
        let file = format!("{}.{}.journal", settings.name, std::process::id());
        let journal = JournalWriter::create(&settings.journals.join(file))?;
        Ok(Self { settings, journal, operations: AtomicU64::new(0) })
    }

    fn begin(&self, session: u32, operation: Operation) -> io::Result<u64> {
        let number = self.operations.fetch_add(1, Ordering::Relaxed);
        self.journal.write(&Line::Begin { at: now(), number, session, operation })?;
        Ok(number)
    }

    fn end(&self, number: u64, outcome: Outcome) -> io::Result<()> {
        self.journal.write(&Line::End { at: now(), number, outcome })
    }
}

#[derive(Debug)]
pub(super) struct Caller {
    process: Arc<Process>,
    repo: Repo,
    name: String,
    number: u32,
    rng: SmallRng,
    writes: u64,
    /// The register of the last write.
    last: Option<String>,
}

impl Caller {
    pub(super) fn new(process: Arc<Process>, repo: Repo, number: u32) -> Self {
        let name = format!("{}.{}.{number}", process.settings.name, std::process::id());
        // Not the process number, which no seed reproduces.
        let mut hasher = DefaultHasher::new();
        (process.settings.seed, &process.settings.name, number).hash(&mut hasher);
        let rng = SmallRng::seed_from_u64(hasher.finish());
        Self { process, repo, name, number, rng, writes: 0, last: None }
    }

    /// Writes and reads until it is told to stop. Fails if the journal cannot be written.
    pub(super) async fn run(mut self, stopped: watch::Receiver<bool>) -> Result<()> {
        while !*stopped.borrow() {
            match self.rng.random_range(0..10) {
                0..6 => self.write().await?,
                6..8 => self.read().await?,
                8 => self.read_sum().await?,
                _ => self.read_account().await?,
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> io::Result<()> {
        let write = self.draw();
        let number = self.begin(Operation::Write(write.clone()))?;
        let result = match self.sabotage().filter(|_| self.rng.random_range(0..SABOTAGED) == 0) {
            Some(Sabotage::Lose) => Ok(0),
            Some(Sabotage::Double) => match writes::write(&self.repo, &write).await {
                Ok(_) => writes::write(&self.repo, &write).await,
                failed => failed,
            },
            Some(Sabotage::Sum) => self.lose_amount(&write).await,
            Some(Sabotage::Fate) => writes::write(&self.repo, &write).await.and_then(|_| self.refuse()),
            _ => writes::write(&self.repo, &write).await,
        };
        self.last = Some(write.register);
        self.process.end(number, outcome(result, |place| Outcome::Stored { place: Some(place) }))
    }

    async fn read(&mut self) -> io::Result<()> {
        let register = match &self.last {
            Some(register) if self.rng.random_range(0..4) > 0 => register.clone(),
            _ => self.register(),
        };
        let number = self.begin(Operation::Read { register: register.clone() })?;
        let repo = self.reader();
        let saw = if self.rng.random() {
            reads::entities(&repo, &register).await
        } else {
            reads::rows(&repo, &register).await
        };
        self.process.end(number, outcome(saw, Outcome::Saw))
    }

    async fn read_sum(&mut self) -> io::Result<()> {
        let number = self.begin(Operation::Sum)?;
        let sum = reads::sum(&self.reader()).await;
        self.process.end(number, outcome(sum, Outcome::Sum))
    }

    async fn read_account(&mut self) -> io::Result<()> {
        let id = self.rng.random_range(0..ACCOUNTS);
        let number = self.begin(Operation::Account { id })?;
        let found = reads::account(&self.reader(), id).await;
        self.process.end(number, outcome(found, |_| Outcome::Found))
    }

    fn begin(&self, operation: Operation) -> io::Result<u64> {
        self.process.begin(self.number / 2, operation)
    }

    fn draw(&mut self) -> Write {
        let ways = if self.may_wait_for_locks() { &WAYS[..] } else { &SHORT_WAYS[..] };
        let way = ways[self.rng.random_range(0..ways.len())];
        let may_transfer = self.may_wait_for_locks() && !matches!(way, Way::Insert | Way::Function | Way::Statement);
        let transfer = may_transfer.then(|| self.draw_transfer());
        self.writes += 1;
        Write { caller: self.name.clone(), number: self.writes, register: self.register(), way, transfer }
    }

    /// Returns whether the caller writes what waits for the locks of others. The other callers show how long nothing can be
    /// written at all.
    fn may_wait_for_locks(&self) -> bool {
        self.number >= CALLERS / 2
    }

    fn draw_transfer(&mut self) -> Transfer {
        let source = self.rng.random_range(0..ACCOUNTS);
        let target = (source + self.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        Transfer { source, target, amount: self.rng.random_range(1..100) }
    }

    /// Returns the register that the callers of this number, of all nodes, write to now. Each register stays small.
    fn register(&self) -> String {
        format!("{}-{}", self.number, now() / REGISTER_PERIOD)
    }

    fn reader(&mut self) -> Repo {
        match self.sabotage() {
            Some(Sabotage::Stale) => self.repo.with_consistency(Consistency::Eventual),
            Some(Sabotage::Back) if self.rng.random_range(0..2) == 0 => {
                self.repo.with_consistency(Consistency::Eventual)
            }
            Some(Sabotage::Back) => self.repo.session().with_consistency(Consistency::Global),
            _ => self.repo.clone(),
        }
    }

    fn sabotage(&self) -> Option<Sabotage> {
        self.process.settings.sabotage
    }

    /// Takes the amount of a transfer, and gives it to nobody.
    async fn lose_amount(&self, write: &Write) -> homing::Result<i64> {
        if let Some(transfer) = write.transfer {
            let sql = "update accounts set balance = balance - $2 where id = $1";
            self.repo.execute(sql, &[&transfer.source, &transfer.amount]).await?;
        }
        writes::write(&self.repo, write).await
    }

    /// Fails as a call that was not sent.
    fn refuse(&self) -> homing::Result<i64> {
        self.repo.with_schema("").map(|_| 0)
    }
}

fn outcome<T>(result: homing::Result<T>, done: impl FnOnce(T) -> Outcome) -> Outcome {
    match result {
        Ok(value) => done(value),
        Err(error) => Outcome::Failed { fate: FailedFate::from(error.fate()), error: described(&error) },
    }
}

/// Returns the error with its causes.
fn described(error: &homing::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The callers of a node. They are enough to keep calls under way at all times, and few enough for a machine with two cores.
pub(super) const CALLERS: u32 = 8;

/// All ways, those that are most used in applications more often.
const WAYS: [Way; 8] = [
    Way::Insert,
    Way::Insert,
    Way::Statement,
    Way::Statement,
    Way::Batch,
    Way::Transaction,
    Way::Function,
    Way::TransactionalFunction,
];

/// The ways that take no lock which outlives a request.
const SHORT_WAYS: [Way; 5] = [Way::Insert, Way::Statement, Way::Batch, Way::Function, Way::TransactionalFunction];

/// How long a register is used.
const REGISTER_PERIOD: Micros = 1_000_000;

/// One operation of so many is sabotaged, if something is.
const SABOTAGED: u32 = 50;
