//! This node, as its callers see it: it runs functions and describes itself.
//!
//! The task of a named function:
//!
//! - **Spawned** by [`LocalNode::call`], which awaits it.
//! - **Owns** the function's future.
//! - **Channels:** in, a `watch` that closes with the [`LocalNode`]; to the function, a `watch` that closes when the
//!   caller goes away.
//! - **Ends** with the function's result, at the caller's deadline, or with the [`LocalNode`]: that of the server, or
//!   that of the `Rpc`. A caller that goes away does not end it. From then on it does not count as in flight.
//! - **Bounded** by the server's admission. Calls of this node to itself are not bounded.
//! - **Panics** are caught: the caller gets *function failed*.

pub(crate) mod config;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_proto::v1::call_response::Outcome;
use homing_proto::v1::{CallRequest, CallResponse, DescribeResponse, FunctionFailure, Position};
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{self, Instant};
use tonic::Status;
use tracing::{Instrument, debug, info, warn};

use crate::error::reason::{Reason, truncate};
use crate::function::Function;
use crate::function::arguments::Arguments;
use crate::function::context::CallContext;
use crate::function::error::FunctionError;
use crate::metadata::caller::Caller;
use crate::metadata::expectations::Expectations;
use crate::metadata::key::CallKey;
use crate::node::config::NodeConfig;
use crate::task::panic_message;

/// Runs this node's functions for callers in any region.
#[derive(Debug)]
pub(crate) struct LocalNode {
    pub(crate) config: NodeConfig,
    /// Closed when the node is dropped, which ends the functions whose callers have gone away.
    life: watch::Sender<()>,
}

impl LocalNode {
    pub(crate) fn new(config: NodeConfig) -> Self {
        Self { config, life: watch::Sender::new(()) }
    }

    /// Runs a function. A status with a reason says that nothing was executed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the function's context reports it, and the function goes on until its deadline.
    ///
    /// A function that takes no key is not run with one.
    pub(crate) async fn call(
        &self,
        request: CallRequest,
        key: Option<CallKey>,
        caller: Caller,
    ) -> Result<CallResponse, Status> {
        let name = if request.scope.is_empty() { request.function } else { request.scoped_function };
        let Some(function) = self.config.functions.function(&name) else {
            return Err(Reason::UnknownFunction.status(self.unknown(&name)));
        };
        if key.is_some() && !function.takes_key() {
            return Err(Reason::ProtocolVersion.status(format!(
                "function {name:?} takes no key in the build of this node: update the nodes of both regions to one build"
            )));
        }
        let deadline = caller.deadline;
        let expected = Expectations { session: request.session, cluster: caller.cluster, key: None };
        self.check(&request.scope, expected, deadline).await?;
        let began = Instant::now();
        let (context, _awaiting) = CallContext::new(caller.region.clone(), deadline, caller.trace.clone());
        let key = key.map(|key| key.of_call(&name, &request.scope, &request.arguments));
        let context = context.with_scope(request.scope).with_key(key);
        let result = self.run(function, Arguments::from_encoded(request.arguments), context.clone()).await;
        let unchanged = context.is_unchanged();
        let execute = began.elapsed();
        if let Err(failure) = &result {
            failure.log(&name, &caller, execute);
        }
        let outcome = match result {
            Ok(result) => Outcome::Result(result),
            Err(CallFailure::BadArguments(message)) => {
                return Err(Reason::BadArguments.status(format!("function {name:?}: {message}")));
            }
            Err(CallFailure::Refused(reason, message)) => {
                return Err(reason.status(format!("function {name:?}: {message}")));
            }
            Err(CallFailure::TooLate) => return Err(too_late(&name)),
            Err(CallFailure::Failed(failure) | CallFailure::Panicked(failure)) => Outcome::Failure(failure),
        };
        let Ok(positions) = time::timeout_at(deadline, self.positions()).await else {
            return Err(too_late(&name));
        };
        let execute_micros = u64::try_from(execute.as_micros()).unwrap_or(u64::MAX);
        let response = CallResponse { positions, execute_micros, unchanged, outcome: Some(outcome) };
        Ok(self.limit_size(&name, response))
    }

    pub(crate) fn describe(&self) -> DescribeResponse {
        DescribeResponse {
            protocol_version: homing_proto::PROTOCOL_VERSION,
            node: format!("{:032x}", self.config.id),
            region: self.config.topology.region().to_string(),
            primary_region: self.config.topology.primary_region().to_string(),
            functions: self.config.functions.names().map(ToOwned::to_owned).collect(),
            databases: self.config.states.as_ref().map(|states| states.states()).unwrap_or_default(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Runs the function in a task of its own, so that a handler that is dropped does not interrupt it.
    async fn run(
        &self,
        function: Arc<dyn Function>,
        arguments: Arguments,
        context: CallContext,
    ) -> Result<Bytes, CallFailure> {
        let (deadline, trace) = (context.deadline(), context.trace().clone());
        let running = trace.scope(async move { function.call(context, arguments).await });
        let ended = ended(self.life.subscribe());
        let task = async move {
            tokio::select! {
                result = time::timeout_at(deadline, running) => result.ok(),
                () = ended => None,
            }
        };
        match tokio::spawn(task.in_current_span()).await {
            Ok(Some(Ok(result))) => Ok(result),
            Ok(Some(Err(error))) => Err(stopped(&error)),
            Ok(None) => Err(CallFailure::TooLate),
            Err(error) => Err(panicked(error)),
        }
    }

    /// Refuses a call that expects something else of the databases of this node.
    async fn check(&self, scope: &str, expected: Expectations, deadline: Instant) -> Result<(), Status> {
        let Some(positions) = self.config.positions.as_ref().filter(|_| !expected.is_empty()) else { return Ok(()) };
        time::timeout_at(deadline, positions.check(scope, expected)).await.unwrap_or_else(|_| {
            Err(Reason::DatabaseUnavailable.status("the database did not report its history in time"))
        })
    }

    async fn positions(&self) -> Vec<Position> {
        match &self.config.positions {
            Some(positions) => positions.current().await,
            None => Vec::new(),
        }
    }

    /// Replaces an answer that is too large by a failure. The caller could not receive it, and would not learn that the
    /// function was executed.
    fn limit_size(&self, name: &str, response: CallResponse) -> CallResponse {
        let (bytes, limit) = (response.encoded_len(), self.config.max_message_bytes);
        if bytes <= limit {
            return response;
        }
        let message = format!(
            "the answer of function {name:?} has {bytes} bytes, over the limit of {limit}; the function was executed"
        );
        warn!(function = name, bytes, limit, "the answer of a function is too large");
        let returned = matches!(response.outcome, Some(Outcome::Result(_)));
        let failure = FunctionFailure { message, returned, ..FunctionFailure::default() };
        CallResponse { outcome: Some(Outcome::Failure(failure)), ..response }
    }

    fn unknown(&self, name: &str) -> String {
        let (mut name, functions) = (name.to_owned(), &self.config.functions);
        truncate(&mut name, MAX_NAME_BYTES);
        let region = self.config.topology.region();
        if functions.names().len() == 0 {
            return format!("no function {name:?} in region {region}: the node has no registered functions");
        }
        let mut names = functions.names().collect::<Vec<_>>().join(", ");
        truncate(&mut names, MAX_LIST_BYTES);
        format!("no function {name:?} in region {region}; its functions are: {names}")
    }
}

/// The reason why a function has no result.
enum CallFailure {
    BadArguments(String),
    Failed(FunctionFailure),
    Panicked(FunctionFailure),
    Refused(Reason, String),
    TooLate,
}

impl CallFailure {
    /// Logs the failure on the node that ran the function; the caller gets the error. What the function decided is
    /// information, what it did not is a warning. A refused call ran nothing.
    fn log(&self, function: &str, caller: &Caller, elapsed: Duration) {
        let (caller, trace_id) = (&caller.region, caller.trace.trace_id());
        match self {
            Self::Failed(failure) => {
                let error = logged(&failure.message);
                info!(function, %caller, ?elapsed, error, trace_id, "function failed");
            }
            Self::Panicked(failure) => {
                let error = logged(&failure.message);
                warn!(function, %caller, ?elapsed, error, trace_id, "function panicked");
            }
            Self::TooLate => {
                warn!(function, %caller, ?elapsed, trace_id, "function did not end in time and was stopped");
            }
            Self::BadArguments(error) | Self::Refused(_, error) => {
                debug!(function, %caller, ?elapsed, error, trace_id, "function refused its call");
            }
        }
    }
}

/// Returns the beginning of a message, if it is long.
fn logged(message: &str) -> String {
    let mut message = message.to_owned();
    truncate(&mut message, MAX_LOGGED_BYTES);
    message
}

/// Waits until the sender is dropped.
async fn ended(mut life: watch::Receiver<()>) {
    while life.changed().await.is_ok() {}
}

fn stopped(error: &FunctionError) -> CallFailure {
    let message = error.message().to_owned();
    if error.is_bad_arguments() {
        return CallFailure::BadArguments(message);
    }
    if let Some(reason) = error.refused_for() {
        return CallFailure::Refused(reason, message);
    }
    let (details_type, details) = match error.details() {
        Some(details) => (details.type_name.clone(), details.bytes.clone()),
        None => Default::default(),
    };
    if error.is_panicked() {
        let mut message = message;
        truncate(&mut message, MAX_PANIC_BYTES);
        return CallFailure::Panicked(FunctionFailure { message, details_type, details, returned: false });
    }
    CallFailure::Failed(FunctionFailure { message, details_type, details, returned: false })
}

fn panicked(error: JoinError) -> CallFailure {
    let Ok(panic) = error.try_into_panic() else { return CallFailure::TooLate };
    let mut message = format!("the function panicked: {}", panic_message(&*panic));
    truncate(&mut message, MAX_PANIC_BYTES);
    CallFailure::Panicked(FunctionFailure { message, ..FunctionFailure::default() })
}

/// Returns a status without a reason, because the function had begun.
fn too_late(name: &str) -> Status {
    Status::deadline_exceeded(format!("function {name:?} did not end within the time limit and was stopped"))
}

/// Limits for a message about an unknown function; longer texts are truncated.
const MAX_NAME_BYTES: usize = 128;
const MAX_LIST_BYTES: usize = 640;

/// The limit for an error in a line of the log; a longer one is truncated. It may hold a whole chain of causes.
const MAX_LOGGED_BYTES: usize = 4096;

/// The limit for the message of a panic; a longer one is truncated.
const MAX_PANIC_BYTES: usize = 4096;
