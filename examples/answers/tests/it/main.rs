//! Every example does what it says, in a world of two regions, and runs as a program on a single database.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod examples;
mod fixture;
mod lagging;
mod programs;
