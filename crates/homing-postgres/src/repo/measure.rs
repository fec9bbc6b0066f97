//! Measures how long reads take.

pub(crate) mod table;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::table::{Measure, ReadFigures, ReadRow, ReadTable};
use super::Repo;
use crate::call::options::OnLag;
use crate::call::report::Report;
use crate::engine::operation::Operation;
use crate::error::{Error, Result};
use crate::position::role::Role;
use crate::reading::on_primary::read_from_primary;

impl Repo {
    /// Measures how long reads take from each replica and from the primary.
    ///
    /// Each server is read from for a while, one read after the other. If a server does not answer, its row in the
    /// table says why.
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
    /// [`is_misuse`](Error::is_misuse) if a pooled connection cannot keep the statement, such as `BEGIN` or `SET`.
    ///
    /// # Cancel safety
    ///
    /// Follows [`Repo`](Repo#cancel-safety).
    pub async fn measure_reads(&self, measure: &Measure) -> Result<ReadTable> {
        crate::statement::sql::destination(&measure.statement)?;
        let mut rows = Vec::new();
        for replica in self.replicas().status() {
            // The local primary is measured below.
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
        let reported = Arc::clone(&last);
        let repo = self.replica(name)?.session().with_on_lag(OnLag::Fail).with_observer(move |report: &Report| {
            reported.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&report.replica);
        });
        times(measure, async || {
            repo.query(&measure.statement, &[]).await?;
            match last.lock().unwrap_or_else(PoisonError::into_inner).as_deref() {
                Some(replica) if replica == name => Ok(()),
                _ => Err(Error::misuse("the primary answered the statement, since it cannot run on a replica")),
            }
        })
        .await
    }

    async fn measure_primary(&self, measure: &Measure) -> Result<ReadFigures> {
        let repo = self.session();
        times(measure, async || {
            let started = Instant::now();
            let read = read_from_primary(&repo.engine, MEASURE, started, &measure.statement, &[]);
            repo.engine.reported(Operation::new(MEASURE).with_sql(&measure.statement), read).await.map(drop)
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
    ReadFigures::of(times).ok_or_else(|| Error::misuse("no read was made"))
}

fn row(name: String, figures: Result<ReadFigures>) -> ReadRow {
    ReadRow { name, figures: figures.map_err(|error| crate::error::function::with_causes(&error)) }
}

const MEASURE: &str = "measure";

/// Enough for a hundredth of a percent, and few enough that an hour of reads fits into memory.
const MAX_READS: usize = 1_000_000;
