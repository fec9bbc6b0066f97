//! How long reads take, measured.

pub(crate) mod table;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::table::{Measure, ReadFigures, ReadRow, ReadTable};
use super::Repo;
use crate::call::options::OnLag;
use crate::call::report::Report;
use crate::error::{Error, Result};
use crate::position::role::Role;
use crate::reading::on_primary::read_from_primary;
use crate::statement::kind::Writes;

impl Repo {
    /// Reads from each replica and from the primary for a while, one read after the other, and says how long it takes.
    ///
    /// A place that does not answer is in the table with the reason.
    ///
    /// ```no_run
    /// # async fn example(repo: homing_postgres::Repo) -> homing_postgres::Result<()> {
    /// use homing_postgres::Measure;
    ///
    /// println!("{}", repo.measure_reads(&Measure::default()).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Misuse, if the statement is one that cannot be run on a replica.
    pub async fn measure_reads(&self, measure: &Measure) -> Result<ReadTable> {
        crate::statement::sql::destination(&measure.statement)?;
        let mut rows = Vec::new();
        for replica in self.replicas().status() {
            // The primary next to this node is measured below.
            if replica.role != Some(Role::Primary) || replica.region.is_some() {
                let figures = Box::pin(self.measure_replica(&replica.name, measure)).await;
                rows.push(row(replica.name.to_string(), figures));
            }
        }
        let figures = Box::pin(self.measure_primary(measure)).await;
        rows.push(row(format!("{} (primary)", self.primary_region()), figures));
        Ok(ReadTable::new(rows))
    }

    async fn measure_replica(&self, name: &str, measure: &Measure) -> Result<ReadFigures> {
        let last = Arc::new(Mutex::new(None));
        let heard = Arc::clone(&last);
        let repo = self.replica(name)?.session().with_on_lag(OnLag::Fail).with_observer(move |report: &Report| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&report.replica);
        });
        times(measure, async || {
            repo.query(&measure.statement, &[]).await?;
            match last.lock().unwrap_or_else(PoisonError::into_inner).as_deref() {
                Some(replica) if replica == name => Ok(()),
                _ => Err(Error::misuse("the statement was answered by the primary, since it cannot run there")),
            }
        })
        .await
    }

    async fn measure_primary(&self, measure: &Measure) -> Result<ReadFigures> {
        let repo = self.session();
        times(measure, async || {
            let started = Instant::now();
            let read = read_from_primary(&repo.engine, MEASURE, started, &measure.statement, &[], Writes::No);
            repo.engine.reported(MEASURE, read).await.map(drop)
        })
        .await
    }
}

async fn times(measure: &Measure, mut read: impl AsyncFnMut() -> Result<()>) -> Result<ReadFigures> {
    for _ in 0..measure.warm_up {
        read().await?;
    }
    let began = Instant::now();
    let mut times: Vec<Duration> = Vec::new();
    while times.len() < MAX_READS && (times.is_empty() || began.elapsed() < measure.time) {
        let started = Instant::now();
        read().await?;
        times.push(started.elapsed());
    }
    ReadFigures::of(times).ok_or_else(|| Error::misuse("nothing was read"))
}

fn row(name: String, figures: Result<ReadFigures>) -> ReadRow {
    ReadRow { name, figures: figures.map_err(|error| crate::error::function::with_causes(&error)) }
}

const MEASURE: &str = "measure";

/// Enough for the hundredth part of a percent; who measures for an hour is not to run out of memory.
const MAX_READS: usize = 1_000_000;
