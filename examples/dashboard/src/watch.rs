//! Watches all regions while a page is open.

use std::time::Duration;

use homing::{Remote, Repo};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{Dashboard, Standing, how_is_it};

impl Dashboard {
    /// Asks the regions for their states again and again, and sends them to the pages. Spawn it, and abort it when the node
    /// ends. It asks nothing while no page is open.
    pub async fn run(self, repo: Repo) {
        let live = &self.0.live;
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = None;
        loop {
            ticks.tick().await;
            if live.viewers() == 0 {
                continue;
            }
            self.refresh(&repo).await;
            let now = live.now_without_calls();
            live.send("now", now.to_string());
            let position = now.here().map(|here| here.position.clone());
            if position != known {
                // The entries are not sent: each viewer has a session of its own, and reads the entries itself.
                live.send("changed", "here".to_owned());
                known = position;
            }
        }
    }

    /// Asks all regions for their states, and the control address what is cut and stopped. If several tasks call this at the
    /// same time, one asks, and the others take its answer, unless it asked before they called.
    pub(crate) async fn refresh(&self, repo: &Repo) {
        let wanted = Instant::now();
        let _turn = self.0.refreshing.lock().await;
        if self.0.live.was_refreshed_since(wanted) {
            return;
        }
        let began = Instant::now();
        let outside = async { self.0.control.as_ref()?.outside().await.ok() };
        let asked = repo.rpc_client().call_all::<Standing>(<how_is_it as Remote>::NAME, (), LIMIT);
        let (asked, outside) = tokio::join!(asked, outside);
        let regions = asked.unwrap_or_default().into_iter();
        let regions = regions.map(|(region, called)| (region.to_string(), called.ok().map(|called| called.value)));
        self.0.live.refreshed(began, regions.collect(), outside);
    }
}

const PAUSE: Duration = Duration::from_millis(500);

/// Longer than the longest round trip between two regions.
const LIMIT: Duration = Duration::from_millis(900);
