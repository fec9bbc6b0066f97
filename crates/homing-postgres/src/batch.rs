//! Several named steps in one transaction and one round trip.

mod arguments;
pub(crate) mod encode;
pub(crate) mod plan;
pub(crate) mod results;
pub(crate) mod step;
