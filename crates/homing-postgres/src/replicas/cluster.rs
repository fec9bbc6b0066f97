//! The cluster of the servers that a node reads from.

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::Replicas;
use crate::position::SystemIdentifier;

impl Replicas {
    /// Returns the cluster of these servers. `None` if it is not known, or if they are of several. Sends no query.
    pub(crate) fn cluster(&self) -> Option<SystemIdentifier> {
        let snapshot = self.snapshot();
        let answering = snapshot.0.iter().filter(|member| member.answers());
        common(answering.filter_map(|member| Some(member.database().pool().server()?.system_identifier)))
    }

    /// Asks these servers for their cluster, on new connections: a server may have been replaced since it was last used. One that
    /// does not answer is probed, so that it soon counts no longer. `None` if none answers, or if they are of several.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connections are closed.
    pub(crate) async fn ask_cluster(&self, until: Instant) -> Option<SystemIdentifier> {
        let snapshot = self.snapshot();
        let asked = snapshot.0.iter().map(|member| async move {
            let answer = member.database().pool().ask_anew(until).boxed().await;
            let server = answer.inspect_err(|_| self.suspect(member)).ok()?;
            Some(server.system_identifier)
        });
        common(join_all(asked).await.into_iter().flatten())
    }
}

/// Returns the cluster that all of them are of.
fn common(mut clusters: impl Iterator<Item = SystemIdentifier>) -> Option<SystemIdentifier> {
    let first = clusters.next()?;
    clusters.all(|cluster| cluster == first).then_some(first)
}
