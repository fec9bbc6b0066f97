//! [`Orders`], which does what a node is told to.

use std::time::Duration;

use anyhow::{Context, Result};
use deadpool_postgres::Pool;
use futures_util::future::try_join_all;
use homing::{OnLag, Repo};
use rand::RngExt;
use serde_json::{Value, to_value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::caller::{Caller, Places, milliseconds};
use super::replays::Replays;
use super::tables::{NewUser, User};
use crate::bench::memory::resident;
use crate::bench::order::{Done, Memory, Order, Pauses, Times, Work};
use crate::output::samples::Samples;

pub(super) struct Orders {
    repo: Repo,
    pool: Pool,
    places: Places,
    /// Callers that wait for a row.
    waiting: JoinSet<homing::Result<()>>,
}

impl Orders {
    pub(super) fn new(repo: Repo, pool: Pool, places: Places) -> Self {
        Self { repo, pool, places, waiting: JoinSet::new() }
    }

    pub(super) async fn obey(&mut self, order: Order) -> Result<Value> {
        // Those of an earlier order have what they waited for.
        while let Some(waited) = self.waiting.join_next().await {
            waited??;
        }
        Ok(match order {
            Order::Turns { works, rounds, pauses, warm_up } => {
                to_value(self.turns(&works, rounds, pauses, warm_up).await?)?
            }
            Order::Crowd { work, callers, seconds } => to_value(self.crowd(work, callers, seconds).await?)?,
            Order::Added { callers, each, pauses } => to_value(self.added(callers, each, pauses).await?)?,
            Order::Wait { callers } => to_value(self.wait(callers).await?)?,
            Order::Drop { calls, seed } => to_value(self.drop_early(calls, seed).await)?,
        })
    }

    async fn turns(&self, works: &[Work], rounds: usize, pauses: Pauses, warm_up: bool) -> Result<Vec<Times>> {
        let mut caller = Caller::new(&self.repo, self.pool.clone()).with_drivers(&self.places).await?;
        let mut all = vec![Times::default(); works.len()];
        if warm_up {
            for work in works {
                caller.work(*work).await?;
            }
        }
        for _ in 0..rounds {
            for (work, times) in works.iter().zip(&mut all) {
                pause(pauses).await;
                caller.time(*work, times).await?;
            }
        }
        Ok(all)
    }

    async fn crowd(&self, work: Work, callers: usize, seconds: f64) -> Result<Done> {
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        let end = started + Duration::from_secs_f64(seconds);
        for _ in 0..callers {
            let mut caller = Caller::unobserved(&self.repo, self.pool.clone());
            tasks.spawn(async move {
                let mut times = Vec::new();
                let mut began = Instant::now();
                while began < end {
                    caller.work(work).await?;
                    let ended = Instant::now();
                    times.push(milliseconds(ended - began));
                    began = ended;
                }
                anyhow::Ok(times)
            });
        }
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done.context("a caller panicked")??);
        }
        Ok(Done { calls: times.len(), seconds: started.elapsed().as_secs_f64(), times: times.into_iter().collect() })
    }

    async fn added(&self, callers: usize, each: usize, pauses: Pauses) -> Result<Samples> {
        let replays = Replays::follow(self.places.own.clone())?;
        let callers = (0..callers).map(|_| {
            let caller = Caller::new(&self.repo, self.pool.clone());
            async move {
                let mut ends = Vec::new();
                for _ in 0..each {
                    pause(pauses).await;
                    ends.push((caller.insert().await?, Instant::now()));
                }
                anyhow::Ok(ends)
            }
        });
        let ends = try_join_all(callers).await?.into_iter().flatten();
        replays.end()?.added(ends)
    }

    async fn wait(&mut self, callers: usize) -> Result<Memory> {
        let repo = self.repo.session().with_wait(homing::Wait::AtNextRead).with_on_lag(OnLag::Fail);
        let repo = repo.with_replay_timeout(LONG).with_call_timeout(LONG);
        repo.insert(&NewUser::ada()).await?;
        let before_bytes = resident("self")?;
        for _ in 0..callers {
            let repo = repo.clone();
            self.waiting.spawn(async move { repo.get::<User>(1).await.map(drop) });
        }
        // All of them have begun to wait when each had its turn on the few threads of this process.
        sleep(SETTLED).await;
        Ok(Memory { before_bytes, after_bytes: resident("self")? })
    }

    async fn drop_early(&self, calls: usize, seed: usize) {
        let mut dropped = JoinSet::new();
        for number in seed..seed + calls {
            let repo = self.repo.clone();
            let call = async move {
                // Some end in time, and some fail. That is as good.
                match number % 3 {
                    0 => drop(repo.insert(&NewUser::ada()).await),
                    1 => drop(repo.execute("update users set age = 1 where name = 'nobody'", &[]).await),
                    _ => drop(repo.get::<User>(1).await),
                }
            };
            dropped.spawn(timeout(Duration::from_micros(number as u64 * 700 % 5_000), call));
        }
        dropped.join_all().await;
    }
}

async fn pause(pauses: Pauses) {
    if let Pauses::UpToMs(longest) = pauses {
        let time = Duration::from_millis(rand::rng().random_range(0..=longest));
        sleep(time).await;
    }
}

/// The row comes when the one who gave the order lets the replica replay.
const LONG: Duration = Duration::from_secs(60);

const SETTLED: Duration = Duration::from_secs(1);
