//! Requests with a key: their claims, and what is known of their earlier attempts.

pub(super) mod carried;
pub(super) mod carrying;
pub(super) mod claims;
pub(super) mod once;
