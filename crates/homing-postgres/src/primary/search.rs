//! The search for the primary in all regions.
//!
//! If the region of the primary has none any longer, because its peers are gone or say that their database is a replica, all
//! regions that discovery knows are asked. A request asks the databases themselves: what a peer remembers of its database
//! may be older than the failover.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use homing_proto::v1 as proto;
use homing_rpc::{Dispatch, Region, Retry};
use proto::execute_response::Outcome;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::Primary;
use crate::error::Result;
use crate::executor::question::select_one;
use crate::position::Position;

impl Primary {
    /// Looks for the primary in all regions, unless that was done a moment ago. Returns whether it was found; then
    /// [`region`](Self::region) returns its region.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the next call searches again, not too soon.
    pub(crate) async fn find_region(&self, until: Instant) -> bool {
        let ask = async {
            let region = ask_all(self, until.min(Instant::now() + SEARCH_TIMEOUT)).await?;
            let former = self.region();
            if region != former {
                let database = self.scope.database.as_str();
                warn!(database, %region, %former, "the primary is in another region now: writes go there");
            }
            Some(region)
        };
        self.region.search(until, ask).await
    }
}

/// Asks all other regions whether the primary is there. If two say so, the primary that was promoted last counts.
async fn ask_all(primary: &Primary, mut deadline: Instant) -> Option<Region> {
    let regions = primary.rpc.regions(deadline).await.ok()?;
    let own = primary.rpc.topology().region();
    let asked = regions.into_iter().filter(|region| region != own);
    let asked = asked.map(|region| async move { (ask(primary, &region, deadline).await, region) });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut best = None;
    while let Ok(Some((position, region))) = timeout_at(deadline, asked.next()).await {
        if let Ok(Some(position)) = position {
            best = best.max(Some((position.timeline, region)));
            deadline = deadline.min(Instant::now() + GRACE);
        }
    }
    best.map(|(_, region)| region)
}

/// Returns the position of the primary, if it is in this region.
async fn ask(primary: &Primary, region: &Region, deadline: Instant) -> Result<Option<Position>> {
    let request = proto::ExecuteRequest {
        database: primary.scope.database.as_str().to_owned(),
        statements: vec![select_one()],
        ..proto::ExecuteRequest::default()
    };
    let send = |channel| {
        let (mut client, request) = (primary.client(channel), request.clone());
        async move { client.execute(request).await }
    };
    let dispatch = Dispatch::new(deadline).with_retry(Retry::Always).with_operation("find primary");
    let dispatched = primary.dispatch_to(region, dispatch, send).await?;
    let proto::ExecuteResponse { outcome, position, .. } = dispatched.response;
    let position = position.as_ref().and_then(Position::from_proto);
    Ok(position.filter(|_| matches!(outcome, Some(Outcome::Results(_)))))
}

/// How long a search may take. It may have to connect to peers on the other side of the world.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for further regions after one said that the primary is there.
const GRACE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use homing_rpc::{BoxFuture, Discover, NodeConfig, Resolution, Rpc, Topology};

    use super::*;
    use crate::database::Database;
    use crate::primary::region::SEARCH_INTERVAL;
    use crate::scope::Scope;

    /// Counts the searches, which begin with the list of regions. No region has a peer.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Discover for Counting {
        fn resolve<'a>(&'a self, _: &'a Region) -> BoxFuture<'a, homing_rpc::Result<Resolution>> {
            Box::pin(async { Ok(Resolution::new([], Resolution::MAX_TTL)) })
        }

        fn regions(&self) -> BoxFuture<'_, homing_rpc::Result<Vec<Region>>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn searches_are_a_second_apart() {
        let [syd, iad] = ["syd", "iad"].map(|name| Region::new(name).unwrap());
        let discover = Arc::new(Counting::default());
        let rpc = Rpc::new(NodeConfig::new(Topology::new(syd, iad)), Arc::clone(&discover) as Arc<dyn Discover>);
        let primary = Primary::new(rpc, None::<Database>.into(), Scope::default());
        let until = Instant::now() + Duration::from_secs(600);
        let searches = (0..1000).map(|_| primary.find_region(until));
        let found = futures_util::future::join_all(searches).await;
        assert!(found.iter().all(|found| !found));
        assert_eq!(discover.0.load(Ordering::SeqCst), 1);
        tokio::time::advance(SEARCH_INTERVAL).await;
        assert!(!primary.find_region(until).await);
        assert_eq!(discover.0.load(Ordering::SeqCst), 2);
    }
}
