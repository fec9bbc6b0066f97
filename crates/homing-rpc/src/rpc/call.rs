//! Calling a function by its name.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use homing_proto::v1::call_response::Outcome;
use homing_proto::v1::rpc_client::RpcClient;
use homing_proto::v1::{CallRequest, CallResponse, Position};
use serde::de::DeserializeOwned;
use tokio::time::{self, Instant};
use tonic::Status;
use tracing::Instrument;

use crate::error::details::Details;
use crate::error::reason::Reason;
use crate::error::{Error, Result};
use crate::function::arguments::{Arguments, IntoArguments};
use crate::function::codec;
use crate::metadata::caller::Caller;
use crate::peer::name::PeerName;
use crate::region::Region;
use crate::rpc::Rpc;
use crate::rpc::dispatch::Dispatch;
use crate::rpc::retry::Retry;

/// What a function returned, and how it came about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Called<R> {
    /// The result.
    pub value: R,
    /// For each database of the node that ran it, a position that is not before any commit of the function.
    pub positions: Vec<Position>,
    /// Who ran it; nobody else where it ran in place.
    pub peer: Option<PeerName>,
    /// How many peers were asked; none where it ran in place.
    pub attempts: u32,
    /// The stage before the call left for the last time.
    pub route: Duration,
    /// The stage from then to the answer; the function's own time is part of it.
    pub forward: Duration,
    /// How long the function ran.
    pub execute: Duration,
}

impl Rpc {
    /// Runs a function in a region and returns its result. In the own region it is run in place, without network, but
    /// through the same encoding.
    ///
    /// The call is sent again to another peer only while it was provably not executed; that of a function which this
    /// node has registered as idempotent also when its answer was lost.
    ///
    /// ```no_run
    /// # use homing_rpc::*;
    /// # async fn example(rpc: Rpc) -> Result<()> {
    /// let syd = Region::new("syd")?;
    /// let sum = rpc.call::<i64>(&syd, "add", (1, 2), std::time::Duration::from_secs(5)).await?.value;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - not sent: nothing was executed; see [`Error::reason`] for the cases in which a peer said why;
    /// - outcome unknown: it was sent, and the answer was lost or did not arrive in time;
    /// - executed: the function returned an error ([`Error::is_function_failed`]), or its result is no `R`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it tells the function that nobody waits ([`CallContext::cancelled`](crate::CallContext::cancelled));
    /// what it has done by then stays done.
    pub async fn call<R: DeserializeOwned>(
        &self,
        region: &Region,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Called<R>> {
        self.call_in(region, "", function, arguments, timeout).await
    }

    /// [`call`](Self::call) with a scope, which the function finds in [`CallContext::scope`](crate::CallContext::scope).
    /// A node of a build that knows no scopes does not run it.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn call_in<R: DeserializeOwned>(
        &self,
        region: &Region,
        scope: &str,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Called<R>> {
        let arguments = arguments.into_arguments()?;
        self.call_encoded(region, scope, function, arguments, Instant::now() + timeout).await
    }

    /// [`call`](Self::call) in the primary region.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn call_primary<R: DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Called<R>> {
        self.call(self.topology().primary_region(), function, arguments, timeout).await
    }

    /// [`call`](Self::call) in every region at once: those that discovery knows, the own one and the primary one. Each
    /// has its own result, in the order of the regions' names.
    ///
    /// # Errors
    ///
    /// Where the regions are not known, nothing is sent.
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn call_all<R: DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Vec<(Region, Result<Called<R>>)>> {
        let deadline = Instant::now() + timeout;
        let arguments = arguments.into_arguments()?;
        let calls = self.regions(deadline).await?.into_iter().map(|region| {
            let arguments = arguments.clone();
            async move {
                let called = self.call_encoded(&region, "", function, arguments, deadline).await;
                (region, called)
            }
        });
        Ok(stream::iter(calls).buffered(MAX_CONCURRENT_CALLS).collect().await)
    }

    async fn call_encoded<R: DeserializeOwned>(
        &self,
        region: &Region,
        scope: &str,
        function: &str,
        arguments: Arguments,
        deadline: Instant,
    ) -> Result<Called<R>> {
        let (plain, scoped) = if scope.is_empty() { (function, "") } else { ("", function) };
        let request = CallRequest {
            function: plain.to_owned(),
            arguments: arguments.into_encoded(),
            scope: scope.to_owned(),
            scoped_function: scoped.to_owned(),
        };
        self.check_size(&request)?;
        let dispatch = Dispatch::new(deadline).with_operation(function.to_owned()).with_retry(self.retry_of(function));
        if region == self.topology().region() {
            self.call_in_place(request, &dispatch).await
        } else {
            self.call_remote(region, request, dispatch).await
        }
    }

    /// Nodes of one application have the same functions, so the own registry knows what may be repeated.
    fn retry_of(&self, function: &str) -> Retry {
        match self.node().config.functions.function(function) {
            Some(function) if function.is_idempotent() => Retry::Always,
            _ => Retry::NotProcessed,
        }
    }

    async fn call_remote<R: DeserializeOwned>(
        &self,
        region: &Region,
        request: CallRequest,
        dispatch: Dispatch,
    ) -> Result<Called<R>> {
        let function = dispatch.operation.clone();
        let limit = self.max_message_bytes();
        let send = |channel| {
            let mut client = RpcClient::new(channel).max_decoding_message_size(limit);
            let request = request.clone();
            async move { client.call(request).await }
        };
        let dispatched = self.dispatch(region, dispatch, send).await?;
        let place = dispatched.peer.to_string();
        let called = read(dispatched.response, &function, &place)?;
        Ok(Called {
            peer: Some(dispatched.peer),
            attempts: dispatched.attempts,
            route: dispatched.route,
            forward: dispatched.forward,
            ..called
        })
    }

    async fn call_in_place<R: DeserializeOwned>(&self, request: CallRequest, dispatch: &Dispatch) -> Result<Called<R>> {
        let function = dispatch.operation.clone();
        if dispatch.deadline <= Instant::now() {
            return Err(Error::not_sent(format!("{function}: the time limit was over before it was run")));
        }
        let region = self.topology().region();
        let caller = Caller::new(region.clone(), dispatch.deadline, dispatch.trace());
        let span =
            tracing::info_span!("homing.call", %region, %function, trace_id = %caller.trace.trace_id(), peer = "self");
        match self.node().call(request, caller).instrument(span).await {
            Ok(response) => read(response, &function, "this node"),
            Err(status) => Err(failed_in_place(&function, &status)),
        }
    }

    async fn regions(&self, deadline: Instant) -> Result<BTreeSet<Region>> {
        let found = match time::timeout_at(deadline, self.discover().regions()).await {
            Ok(found) => found?,
            Err(_) => {
                return Err(Error::not_sent("the regions were not found within the time limit; nothing was sent"));
            }
        };
        let own = [self.topology().region().clone(), self.topology().primary_region().clone()];
        Ok(found.into_iter().chain(own).collect())
    }
}

fn failed_in_place(function: &str, status: &Status) -> Error {
    match Reason::of(status) {
        Some(reason) => Error::refused(reason, None, status.message()),
        None => Error::outcome_unknown(format!(
            "{function}: {}; what it had done by then stays done, so look before calling it again",
            status.message()
        )),
    }
}

/// Reads an answer.
fn read<R: DeserializeOwned>(response: CallResponse, function: &str, place: &str) -> Result<Called<R>> {
    let value = match response.outcome {
        Some(Outcome::Result(result)) => match codec::decode(&result) {
            Ok(value) => value,
            Err(error) => {
                let message = format!(
                    "{function}: executed by {place}, but its result is no {}; compare the function's type there and \
                     here",
                    std::any::type_name::<R>()
                );
                return Err(Error::unreadable_result(message).with_positions(response.positions).with_source(error));
            }
        },
        Some(Outcome::Failure(failure)) => {
            let details =
                (!failure.details_type.is_empty()).then(|| Details::new(failure.details_type, failure.details));
            let message = format!("{function}: executed by {place} and failed: {}", failure.message);
            return Err(Error::function_failed(details, message).with_positions(response.positions));
        }
        None => {
            let message = format!("{function}: executed by {place}, whose answer has neither result nor error");
            return Err(Error::unreadable_result(message).with_positions(response.positions));
        }
    };
    Ok(Called {
        value,
        positions: response.positions,
        peer: None,
        attempts: 0,
        route: Duration::ZERO,
        forward: Duration::ZERO,
        execute: Duration::from_micros(response.execute_micros),
    })
}

/// More regions wait until one of these has answered.
const MAX_CONCURRENT_CALLS: usize = 64;
