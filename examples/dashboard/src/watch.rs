//! How all regions are, while somebody looks at the page.

use std::time::Duration;

use homing::{Remote, Repo};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{Dashboard, Standing, how_is_it};

impl Dashboard {
    /// Looks at the regions again and again, and tells the pages. To be spawned, and aborted when the node ends. While
    /// nobody looks at a page, nobody is asked anything.
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
            self.look(&repo).await;
            let now = live.now_without_calls();
            live.tell("now", now.to_string());
            let position = now.here().map(|here| here.position.clone());
            if position != known {
                // What there is to see is not told: each viewer has a session of its own, and reads what it has to see.
                live.tell("changed", "here".to_owned());
                known = position;
            }
        }
    }

    /// Asks all regions how they are, and who runs the demo what is cut and stopped. Of those who want to know at the same
    /// time one asks, and the others have that answer, unless it was begun before they wanted it.
    pub(crate) async fn look(&self, repo: &Repo) {
        let wanted = Instant::now();
        let _turn = self.0.looking.lock().await;
        if self.0.live.was_looked_at_since(wanted) {
            return;
        }
        let began = Instant::now();
        let outside = async { self.0.control.as_ref()?.outside().await.ok() };
        let asked = repo.rpc_client().call_all::<Standing>(<how_is_it as Remote>::NAME, (), LIMIT);
        let (asked, outside) = tokio::join!(asked, outside);
        let regions = asked.unwrap_or_default().into_iter();
        let regions = regions.map(|(region, called)| (region.to_string(), called.ok().map(|called| called.value)));
        self.0.live.looked(began, regions.collect(), outside);
    }
}

const PAUSE: Duration = Duration::from_millis(500);

/// Longer than the longest way between two regions.
const LIMIT: Duration = Duration::from_millis(900);
