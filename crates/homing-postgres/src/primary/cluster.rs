//! The cluster that a request expects behind a peer: that of the servers which this node reads from. A write on another one
//! would never be visible here.

use futures_util::FutureExt;
use homing_rpc::{Cluster, Dispatch, Dispatched, PeerChannel, Reason, Region};
use tokio::time::Instant;
use tonic::{Response, Status};

use super::Primary;

impl Primary {
    /// Sends a request to a peer of a region, which has to have the cluster that this node expects.
    pub(crate) async fn dispatch_to<T, F, Fut>(
        &self,
        region: &Region,
        dispatch: Dispatch,
        send: F,
    ) -> homing_rpc::Result<Dispatched<T>>
    where
        T: Send,
        F: Fn(PeerChannel) -> Fut + Sync,
        Fut: Future<Output = Result<Response<T>, Status>> + Send,
    {
        // Boxed, since the compiler limits how deep futures may be nested.
        let dispatched = |cluster| self.rpc.dispatch(region, dispatch.clone().with_cluster(cluster), &send).boxed();
        self.expecting(dispatch.deadline, dispatched).await
    }

    /// Runs `call` with the cluster that it has to expect of a peer. If the peer has another one, the servers of this node are
    /// asked anew, since they may have been replaced too, or be gone. If so, runs `call` once more: nothing was executed.
    pub(crate) async fn expecting<T, Fut>(
        &self,
        deadline: Instant,
        call: impl Fn(Option<Cluster>) -> Fut,
    ) -> homing_rpc::Result<T>
    where
        Fut: Future<Output = homing_rpc::Result<T>>,
    {
        let expected = self.replicas.cluster();
        let cluster = |identifier| Cluster::from(u64::from(identifier));
        let called = call(expected.map(cluster)).await;
        if called.as_ref().err().and_then(homing_rpc::Error::reason) != Some(Reason::OtherCluster) {
            return called;
        }
        let now = Instant::now();
        let current = self.replicas.ask_cluster(now + deadline.saturating_duration_since(now) / 2).await;
        if current == expected { called } else { call(current.map(cluster)).await }
    }
}
