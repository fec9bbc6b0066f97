//! Sessions that go on from request to request.

pub(crate) mod carrier;
pub(crate) mod cookie;
#[cfg(feature = "axum")]
pub(crate) mod extract;
pub(crate) mod fly_replay;
pub(crate) mod layer;
pub(crate) mod recent;
pub(crate) mod refusals;
pub(crate) mod request;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod token;
