//! Uses `cargo xtask demo --serve` as people do: with a browser.
//!
//! Chromium is driven through chromedriver; `cargo xtask test` installs both if they are missing. Pictures of the
//! page are left in `target/screenshots`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod browser;
mod pictures;
mod stage;
mod tests;
mod weight;
