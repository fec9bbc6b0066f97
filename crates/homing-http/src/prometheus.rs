//! [`Prometheus`], the metrics as text.
//!
//! [`Prometheus::install`] spawns one task, the upkeep. Every five seconds (`UPKEEP_INTERVAL`) it sorts the samples of the
//! recorder into their buckets, which bounds their memory between two scrapes. The recorder of a process cannot be
//! removed, so the task runs until its runtime shuts down. If it panics, samples are kept until the next scrape.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homing::rpc::Refusals;
use homing::{Error, Result};
use http::{Request, Response, StatusCode};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;
use tower_service::Service;

use crate::endpoint::{self, ResponseFuture};
use crate::health::Health;
use crate::metering;

/// The metrics of this process in
/// [Prometheus' text format](https://prometheus.io/docs/instrumenting/exposition_formats/).
///
/// It is a tower service for any path: with axum `.route_service("/metrics", prometheus)`. The metrics are not secret, but
/// they are not for the public either: serve them on a port that only your own machines reach.
///
/// They include the metrics that the application itself records through the `metrics` facade.
#[derive(Clone, Debug)]
pub struct Prometheus {
    recorded: PrometheusHandle,
    health: Option<Health>,
    refusals: Option<Refusals>,
    // Runs until the runtime shuts down, see the head of this module.
    _upkeep: Arc<JoinHandle<()>>,
}

impl Prometheus {
    /// Installs the recorder of this process. Call it once, before the first request.
    ///
    /// Histograms of Homing, and all others whose name ends with `_seconds`, have buckets from 0.1 ms to 10 s.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if the process has a recorder already.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn install() -> Result<Self> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
            .expect("there are buckets");
        let recorder = builder.build_recorder();
        let recorded = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|_| Error::configuration("this process has a recorder of metrics already: install only one"))?;
        metering::describe();
        let upkeep = tokio::spawn(upkeep(recorded.clone()));
        Ok(Self { recorded, health: None, refusals: None, _upkeep: Arc::new(upkeep) })
    }

    /// Checks the health before each response, so that the metrics have current values for lag and role. All checks
    /// within a second share one probe.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self { health: Some(health), ..self }
    }

    /// Adds the connections that a node has refused ([`Node::refusals`](homing::Node::refusals)).
    #[must_use]
    pub fn with_refusals(self, refusals: Refusals) -> Self {
        Self { refusals: Some(refusals), ..self }
    }

    /// Returns the metrics as text.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn render(&self) -> String {
        if let Some(health) = &self.health {
            health.check().await;
        }
        if let Some(refusals) = &self.refusals {
            metering::refused(refusals);
        }
        self.recorded.render()
    }
}

impl<Q> Service<Request<Q>> for Prometheus {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        let prometheus = self.clone();
        Box::pin(async move { Ok(endpoint::uncached(StatusCode::OK, CONTENT_TYPE, prometheus.render().await)) })
    }
}

/// Sorts samples into their buckets, even if the metrics are never scraped: until then each sample takes memory.
async fn upkeep(recorded: PrometheusHandle) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        interval.tick().await;
        recorded.run_upkeep();
    }
}

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rare enough to cost nothing, and short enough to bound the memory of the samples.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// In seconds: from a local read to the longest wait of a call.
const BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
