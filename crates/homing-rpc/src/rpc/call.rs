//! Calls of named functions.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use homing_proto::v1::call_response::Outcome;
use homing_proto::v1::rpc_client::RpcClient;
use homing_proto::v1::{CallOnceRequest, CallRequest, CallResponse, Position};
use serde::de::DeserializeOwned;
use tokio::time::{self, Instant};
use tonic::Status;
use tracing::Instrument;

use crate::error::details::Details;
use crate::error::reason::{Reason, explain_unimplemented};
use crate::error::{Error, Result};
use crate::function::arguments::{Arguments, IntoArguments};
use crate::function::codec;
use crate::metadata::caller::Caller;
use crate::metadata::expectations::Expectations;
use crate::metadata::key::CallKey;
use crate::metadata::timeout::deadline_after;
use crate::peer::name::PeerName;
use crate::region::Region;
use crate::rpc::Rpc;
use crate::rpc::dispatch::Dispatch;
use crate::rpc::retry::Retry;

/// The result of a function, and how the call went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Called<R> {
    /// The result of the function.
    pub value: R,
    /// A position for each database of the node that ran the function, if the database could be asked. No commit of the
    /// function is after it.
    pub positions: Vec<Position>,
    /// Whether the function says that it wrote nothing; see
    /// [`CallContext::note_unchanged`](crate::CallContext::note_unchanged).
    pub unchanged: bool,
    /// The peer that ran the function; `None` if it ran on this node.
    pub peer: Option<PeerName>,
    /// How many attempts were made; 0 if the function ran on this node.
    pub attempts: u32,
    /// The stage before the last attempt was sent.
    pub route: Duration,
    /// The stage from then to the answer. It includes the time of the function.
    pub forward: Duration,
    /// How long the function ran.
    pub execute: Duration,
}

impl Rpc {
    /// Runs a function in a region and returns its result. In the own region the function runs on this node, without
    /// network; arguments and result are encoded in the same way.
    ///
    /// The call is sent again only if it was provably not executed. If this node has registered the function as
    /// idempotent, the call is also sent again if its answer was lost.
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
    /// - [`Error::is_misuse`] if an argument cannot be encoded;
    /// - [`Error::is_not_sent`] if nothing was executed; if a peer refused the call, [`Error::reason`] says why;
    /// - [`Error::is_outcome_unknown`] if the call was sent, and the answer was lost or did not arrive in time;
    /// - [`Error::is_executed`] if the function returned an error ([`Error::is_function_failed`]), or if its result
    ///   cannot be decoded into `R`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, [`CallContext::cancelled`](crate::CallContext::cancelled) tells the function. Effects
    /// up to that point remain.
    pub async fn call<R: DeserializeOwned>(
        &self,
        region: &Region,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Called<R>> {
        self.call_in(region, "", function, arguments, timeout).await
    }

    /// Calls a function with a scope, which [`CallContext::scope`](crate::CallContext::scope) returns to the function.
    /// A node with a build that does not support scopes refuses the call.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`], [`Error::is_outcome_unknown`] or [`Error::is_executed`]; see [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// See [`call`](Self::call).
    pub async fn call_in<R: DeserializeOwned>(
        &self,
        region: &Region,
        scope: &str,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Called<R>> {
        self.call_after(region, scope, function, arguments, Expectations::default(), timeout).await
    }

    /// Calls a function with a scope, on a node whose databases are what the caller expects. Other nodes refuse the call: see
    /// [`Positions::check`](crate::Positions::check).
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`], [`Error::is_outcome_unknown`] or [`Error::is_executed`]; see [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// See [`call`](Self::call).
    pub async fn call_after<R: DeserializeOwned>(
        &self,
        region: &Region,
        scope: &str,
        function: &str,
        arguments: impl IntoArguments,
        expected: Expectations,
        timeout: Duration,
    ) -> Result<Called<R>> {
        let arguments = arguments.into_arguments()?;
        self.call_encoded(region, scope, function, arguments, expected, deadline_after(timeout)).await
    }

    /// Calls a function in the primary region.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`], [`Error::is_outcome_unknown`] or [`Error::is_executed`]; see [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// See [`call`](Self::call).
    pub async fn call_primary<R: DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Called<R>> {
        self.call(self.topology().primary_region(), function, arguments, timeout).await
    }

    /// Calls a function on one peer of a region, one of those that [`peers`](Self::peers) returns. It goes to no other peer, if
    /// this one fails.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`], [`Error::is_outcome_unknown`] or [`Error::is_executed`]; see [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// See [`call`](Self::call).
    pub async fn call_peer<R: DeserializeOwned>(
        &self,
        peer: &PeerName,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Called<R>> {
        let arguments = arguments.into_arguments()?;
        let (deadline, expected) = (deadline_after(timeout), Expectations::default());
        let (request, dispatch) = self.prepare("", function, arguments, expected, deadline)?;
        self.call_remote(&peer.region, request, None, dispatch.with_peer(peer.clone())).await
    }

    /// Calls a function in all regions at the same time: those that discovery returns, the own region and the primary
    /// region. Returns the result of each region, in the order of the regions' names.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`] if the regions cannot be found, and [`Error::is_misuse`] if an argument cannot be
    /// encoded. Nothing is sent then.
    ///
    /// # Cancel safety
    ///
    /// See [`call`](Self::call).
    pub async fn call_all<R: DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl IntoArguments,
        timeout: Duration,
    ) -> Result<Vec<(Region, Result<Called<R>>)>> {
        let deadline = deadline_after(timeout);
        let arguments = arguments.into_arguments()?;
        let calls = self.regions(deadline).await?.into_iter().map(|region| {
            let arguments = arguments.clone();
            async move {
                let expected = Expectations::default();
                let called = self.call_encoded(&region, "", function, arguments, expected, deadline).await;
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
        expected: Expectations,
        deadline: Instant,
    ) -> Result<Called<R>> {
        let key = expected.key.clone().filter(|_| self.takes_key(function));
        let (request, dispatch) = self.prepare(scope, function, arguments, expected, deadline)?;
        if region == self.topology().region() {
            self.call_in_place(request, key, &dispatch).await
        } else {
            let dispatch = if key.is_some() { dispatch.with_retry(Retry::Always) } else { dispatch };
            self.call_remote(region, request, key, dispatch).await
        }
    }

    /// Returns whether calls of a function may have a key. The nodes of an application have the same functions, so the own registry
    /// knows.
    pub fn takes_key(&self, function: &str) -> bool {
        self.node().config.functions.function(function).is_some_and(|function| function.takes_key())
    }

    fn prepare(
        &self,
        scope: &str,
        function: &str,
        arguments: Arguments,
        expected: Expectations,
        deadline: Instant,
    ) -> Result<(CallRequest, Dispatch)> {
        let Expectations { session, cluster, key: _ } = expected;
        let (plain, scoped) = if scope.is_empty() { (function, "") } else { ("", function) };
        let request = CallRequest {
            function: plain.to_owned(),
            arguments: arguments.into_encoded(),
            scope: scope.to_owned(),
            scoped_function: scoped.to_owned(),
            session,
        };
        self.check_size(&request)?;
        let dispatch = Dispatch::new(deadline).with_operation(function.to_owned()).with_retry(self.retry_of(function));
        Ok((request, dispatch.with_cluster(cluster)))
    }

    /// The nodes of an application have the same functions, so the own registry knows which calls may be repeated.
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
        key: Option<CallKey>,
        dispatch: Dispatch,
    ) -> Result<Called<R>> {
        let function = dispatch.operation.clone();
        let limit = self.max_message_bytes();
        let is_sent = AtomicBool::new(false);
        let send = |channel| {
            let mut client = RpcClient::new(channel).max_decoding_message_size(limit);
            let request = request.clone();
            let once = key.as_ref().map(|key| key.to_proto(is_sent.swap(true, Ordering::Relaxed)));
            async move {
                match once {
                    None => client.call(request).await,
                    Some(once) => {
                        let request = CallOnceRequest { call: Some(request), once: Some(once) };
                        client.call_once(request).await.map_err(explain_unimplemented)
                    }
                }
            }
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

    async fn call_in_place<R: DeserializeOwned>(
        &self,
        request: CallRequest,
        key: Option<CallKey>,
        dispatch: &Dispatch,
    ) -> Result<Called<R>> {
        let function = dispatch.operation.clone();
        if dispatch.deadline <= Instant::now() {
            return Err(Error::not_sent(format!("{function}: the time limit was over before the function ran")));
        }
        let region = self.topology().region();
        let caller = Caller::new(region.clone(), dispatch.deadline, dispatch.trace());
        let span =
            tracing::info_span!("homing.call", %region, %function, trace_id = %caller.trace.trace_id(), peer = "self");
        match self.node().call(request, key, caller).instrument(span).await {
            Ok(response) => read(response, &function, "this node"),
            Err(status) => Err(failed_in_place(&function, &status)),
        }
    }

    /// Returns the regions of the application: those that discovery returns, the own region and the primary region.
    ///
    /// # Errors
    ///
    /// [`Error::is_not_sent`] if the regions cannot be found before the deadline.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn regions(&self, deadline: Instant) -> Result<BTreeSet<Region>> {
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
            "{function}: {}; its effects up to that point remain, so check them before calling it again",
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
                    "{function}: executed by {place}, but its result is not of type {}; compare the function's types \
                     on both nodes",
                    std::any::type_name::<R>()
                );
                return Err(Error::unreadable_result(message).with_positions(response.positions).with_source(error));
            }
        },
        Some(Outcome::Failure(failure)) if failure.returned => {
            let message = format!("{function}: executed by {place}, but {}", failure.message);
            return Err(Error::unreadable_result(message).with_positions(response.positions));
        }
        Some(Outcome::Failure(failure)) => {
            let details =
                (!failure.details_type.is_empty()).then(|| Details::new(failure.details_type, failure.details));
            let message = format!("{function}: executed by {place} and failed: {}", failure.message);
            return Err(Error::function_failed(details, message).with_positions(response.positions));
        }
        None => {
            let message =
                format!("{function}: executed by {place}, but the answer contains neither a result nor an error");
            return Err(Error::unreadable_result(message).with_positions(response.positions));
        }
    };
    Ok(Called {
        value,
        positions: response.positions,
        unchanged: response.unchanged,
        peer: None,
        attempts: 0,
        route: Duration::ZERO,
        forward: Duration::ZERO,
        execute: Duration::from_micros(response.execute_micros),
    })
}

/// How many regions `call_all` calls at the same time. Further ones wait until one of these has answered.
const MAX_CONCURRENT_CALLS: usize = 64;
