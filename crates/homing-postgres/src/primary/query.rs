//! Opens a stream of rows or data through a peer in the primary region.

use homing_proto::v1 as proto;
use homing_rpc::{Dispatch, Dispatched, PeerChannel, Retry, explain_unimplemented};
use tokio::time::Instant;
use tonic::{Response, Status, Streaming};

use super::Primary;
use super::execute::to_wire;
use super::rejection::found_no_room;
use crate::error::{Error, Result};
use crate::position::Position;

impl Primary {
    /// Opens a stream through a peer. If the peer fails before the first part, another peer is tried. `ask_snapshot` asks which transactions had not
    /// ended before it.
    pub(crate) async fn query_peer(
        &self,
        statement: proto::Statement,
        session: &[Position],
        sends: StreamedAs,
        ask_snapshot: bool,
        deadline: Instant,
    ) -> Result<Dispatched<(proto::QueryPart, Streaming<proto::QueryPart>)>> {
        let (database, session) = (self.scope.to_wire(), to_wire(session));
        let request = proto::QueryRequest { database, statement: Some(statement), session, ask_snapshot };
        self.rpc.check_size(&request)?;
        let send = |channel: PeerChannel| {
            let (mut client, request) = (self.client(channel), request.clone());
            async move {
                let parts = match sends {
                    StreamedAs::Rows => client.query(request).await,
                    StreamedAs::Data => client.copy_out(request).await,
                };
                let mut parts = parts.map_err(explain_unimplemented)?.into_inner();
                let first = parts.message().await?.ok_or_else(|| Status::unknown("a stream without parts"))?;
                Ok(Response::new((first, parts)))
            }
        };
        let dispatch = Dispatch::new(deadline).with_retry(Retry::Always).with_operation("stream").with_stream();
        let region = self.region();
        self.dispatch_to(&region, dispatch, send).await.map_err(|error| {
            if !error.is_outcome_unknown() {
                return error.into();
            }
            found_no_room(&error).unwrap_or_else(|| {
                Error::not_sent(format!(
                    "no rows came from region {region} and nothing was changed: begin the stream again"
                ))
                .with_source(Error::from(error))
            })
        })
    }
}

/// What a stream sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamedAs {
    Rows,
    /// The messages of a COPY.
    Data,
}
