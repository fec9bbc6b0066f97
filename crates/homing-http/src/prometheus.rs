//! [`Prometheus`], the metrics as text.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homing::{Error, Result};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;
use tower_service::Service;

use crate::health::Health;
use crate::metering;

/// The metrics of this process as [Prometheus reads them](https://prometheus.io/docs/instrumenting/exposition_formats/).
///
/// A service for any path: with axum `.route_service("/metrics", prometheus)`. The numbers are not secret, but they are
/// nobody else's business either: serve them where only your own machines come.
///
/// Metrics that the application itself records through the `metrics` facade are among them.
#[derive(Clone, Debug)]
pub struct Prometheus {
    recorded: PrometheusHandle,
    health: Option<Health>,
    // Ends with the runtime: the recorder cannot be taken back, and somebody has to empty it.
    _upkeep: Arc<JoinHandle<()>>,
}

impl Prometheus {
    /// Makes this the recorder of the process, once, before the first request.
    ///
    /// Histograms of Homing, and all others whose name ends with `_seconds`, have buckets from 0.1 ms to 10 s.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) where there is a recorder already.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn install() -> Result<Self> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
            .expect("there are buckets");
        let recorder = builder.build_recorder();
        let recorded = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| {
            Error::configuration("this process has a recorder of metrics already: install one of them only")
        })?;
        metering::describe();
        let upkeep = tokio::spawn(upkeep(recorded.clone()));
        Ok(Self { recorded, health: None, _upkeep: Arc::new(upkeep) })
    }

    /// Looks at the health before each answer, so that lag and role are among the metrics: at most once a second,
    /// however many ask.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self { health: Some(health), ..self }
    }

    /// The metrics as text.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn render(&self) -> String {
        if let Some(health) = &self.health {
            health.check().await;
        }
        self.recorded.render()
    }
}

impl<Q> Service<Request<Q>> for Prometheus {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        let prometheus = self.clone();
        Box::pin(async move {
            let mut response = Response::new(prometheus.render().await);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        })
    }
}

/// Sorts samples into their buckets, also where nobody reads them: until then each takes memory.
async fn upkeep(recorded: PrometheusHandle) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        interval.tick().await;
        recorded.run_upkeep();
    }
}

const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// From a read next door to the longest that a call waits, in seconds.
const BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
