//! Answers the requests of hickory's server from the records.

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::Record;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::sync::watch;

use super::records::{Answer, Records};

pub(super) struct Handler {
    records: watch::Sender<Records>,
    queries: watch::Sender<u64>,
}

impl Handler {
    pub(super) fn new(records: watch::Sender<Records>, queries: watch::Sender<u64>) -> Self {
        Self { records, queries }
    }

    fn answer(&self, request: &Request) -> Answer {
        self.queries.send_modify(|queries| *queries += 1);
        match request.request_info() {
            Ok(info) => {
                let query = info.query;
                self.records.borrow().answer(query.name(), query.query_type())
            }
            // Not exactly one question, which no resolver sends.
            Err(_) => Answer::Refused,
        }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        // Stub resolvers ask for recursion, and complain if it is not available.
        metadata.recursion_available = true;
        let records = match self.answer(request) {
            Answer::Records(records) => records,
            Answer::Failing => refuse(&mut metadata, ResponseCode::ServFail),
            Answer::NoSuchName => refuse(&mut metadata, ResponseCode::NXDomain),
            Answer::Refused => refuse(&mut metadata, ResponseCode::Refused),
            Answer::Silent => return unsent(metadata),
        };
        // The response repeats how much the client takes over UDP.
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload());
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &records, [], [], []);
        response_handle.send_response(response).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot answer a DNS query");
            unsent(metadata)
        })
    }
}

fn refuse(metadata: &mut Metadata, code: ResponseCode) -> Vec<Record> {
    metadata.response_code = code;
    Vec::new()
}

/// Returns what the server logs about a request without an answer.
fn unsent(metadata: Metadata) -> ResponseInfo {
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}
