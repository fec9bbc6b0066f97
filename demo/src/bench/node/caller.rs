//! One caller, who works through Homing, by the driver alone or through the pool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use deadpool_postgres::Pool;
use homing::position::Lsn;
use homing::report::Report;
use homing::{Batch, Delivery, Repo};
use tokio::time::Instant;
use tokio_postgres::Config;

use super::driver::{Driver, STATEMENTS};
use super::tables::{NewUser, User, import, nothing};
use super::{pool, tables};
use crate::bench::order::{Times, Wait, Work};

#[derive(Debug)]
pub(super) struct Caller {
    /// A session of its own.
    repo: Repo,
    reports: Arc<Mutex<Vec<Report>>>,
    pool: Pool,
    /// To the primary, over the link.
    direct: Option<Driver>,
    /// To the node's own database.
    own: Option<Driver>,
}

/// Where the databases are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) direct: Config,
    pub(super) own: Config,
}

impl Caller {
    pub(super) fn new(repo: &Repo, pool: Pool) -> Self {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&reports);
        let repo = repo.session().with_observer(move |report| {
            record.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
        });
        Self { repo, reports, pool, direct: None, own: None }
    }

    /// A caller whose calls are not reported.
    pub(super) fn unobserved(repo: &Repo, pool: Pool) -> Self {
        Self { repo: repo.session(), reports: Arc::default(), pool, direct: None, own: None }
    }

    /// Connects by the driver alone, for works that need it.
    pub(super) async fn with_drivers(mut self, places: &Places) -> Result<Self> {
        self.direct = Some(Driver::connect(&places.direct).await?);
        self.own = Some(Driver::connect(&places.own).await?);
        Ok(self)
    }

    /// Does a work, and adds the times that it took.
    pub(super) async fn time(&mut self, work: Work, times: &mut Times) -> Result<()> {
        self.take_reports();
        let started = Instant::now();
        let replayed = self.work(work).await.with_context(|| format!("{work:?}"))?;
        times.total.push(milliseconds(replayed.unwrap_or_else(|| started.elapsed())));
        let reports = self.take_reports();
        let sum = |stage: fn(&Report) -> Duration| milliseconds(reports.iter().map(stage).sum());
        times.forward.push(sum(|report| report.stages.forward));
        times.execute.push(sum(|report| report.stages.execute));
        times.replay_wait.push(sum(|report| report.stages.replay_wait));
        Ok(())
    }

    /// Does a work. Returns how long the part took that is timed, if it is not the whole.
    pub(super) async fn work(&mut self, work: Work) -> Result<Option<Duration>> {
        match work {
            Work::Insert { wait, is_protected } => drop(self.handle(wait, is_protected).insert(&NewUser::ada()).await?),
            Work::UpdateNothing => drop(self.repo.execute("update users set age = 1 where id = $1", &[&0_i64]).await?),
            Work::InsertAndPoll => self.insert_and_poll().await?,
            Work::Get => drop(self.repo.get::<User>(1).await?.context("the first row is gone")?),
            Work::Query => drop(self.repo.query_one(tables::SELECT, &[&1_i64]).await?),
            Work::CallNothing => nothing::call(&self.repo).await?,
            Work::TwentyInLoop => {
                for _ in 0..20 {
                    self.repo.insert(&NewUser::ada()).await?;
                }
            }
            Work::TwentyInBatch => self.batch().await?,
            Work::TwentyInFunction => import::call(&self.repo, 20).await?,
            Work::Transaction => self.transaction().await?,
            Work::DriverInsert => drop(self.direct()?.insert().await?),
            Work::DriverTwentyInLoop => {
                for _ in 0..20 {
                    self.direct()?.insert().await?;
                }
            }
            Work::DriverTransaction => self.direct.as_mut().context(NO_DRIVER)?.transaction().await?,
            Work::DriverReplay => {
                let id = self.direct()?.insert().await?;
                return Ok(Some(self.own()?.wait_for(id).await?));
            }
            Work::DriverQuery => drop(self.own()?.query(1).await?),
            Work::PoolInsert => drop(pool::insert(&self.pool).await?),
        }
        Ok(None)
    }

    /// Inserts with a wait, and returns the position of the write.
    pub(super) async fn insert(&self) -> Result<Lsn> {
        self.repo.insert(&NewUser::ada()).await?;
        let position = self.take_reports().pop().and_then(|report| report.position);
        Ok(position.context("an insert has a position")?.lsn)
    }

    fn handle(&self, wait: Wait, is_protected: bool) -> Repo {
        let wait = match wait {
            Wait::Now => homing::Wait::Now,
            Wait::AtNextRead => homing::Wait::AtNextRead,
            Wait::Never => homing::Wait::Never,
        };
        let delivery = if is_protected { Delivery::ExactlyOnce } else { Delivery::AtMostOnce };
        self.repo.with_wait(wait).with_delivery(delivery)
    }

    async fn insert_and_poll(&self) -> Result<()> {
        let repo = self.handle(Wait::Never, false);
        repo.insert(&NewUser::ada()).await?;
        let position = repo.primary_position().await?;
        self.own()?.poll_for(&position.lsn.to_string()).await
    }

    async fn batch(&self) -> Result<()> {
        let mut batch = Batch::new();
        for number in 0..20 {
            batch.insert(number.to_string(), NewUser::ada())?;
        }
        self.repo.batch(&batch).await?;
        Ok(())
    }

    async fn transaction(&self) -> Result<()> {
        let body = |tx: Repo| async move {
            let user = tx.insert(&NewUser::ada()).await?;
            for statement in STATEMENTS {
                tx.query(statement, &[&user.id]).await?;
            }
            Ok(())
        };
        Ok(self.repo.transaction(body).await?)
    }

    fn direct(&self) -> Result<&Driver> {
        self.direct.as_ref().context(NO_DRIVER)
    }

    fn own(&self) -> Result<&Driver> {
        self.own.as_ref().context(NO_DRIVER)
    }

    fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

const NO_DRIVER: &str = "a crowd has no connections of its own";
