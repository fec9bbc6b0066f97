//! What the nodes do wrong on purpose, to see that the checker notices it.

use std::str::FromStr;

use anyhow::{Error, bail};

/// A mistake of the workload, one for each kind of violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// Acknowledge some writes that were not made.
    Lose,
    /// Make some writes twice.
    Double,
    /// Read with `Eventual` consistency.
    Stale,
    /// Read with a new session each time, from another server each time.
    Back,
    /// Take the amount of some transfers, and give it to nobody.
    Sum,
    /// Say that some writes were rejected.
    Fate,
}

impl Sabotage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lose => "lose",
            Self::Double => "double",
            Self::Stale => "stale",
            Self::Back => "back",
            Self::Sum => "sum",
            Self::Fate => "fate",
        }
    }
}

impl FromStr for Sabotage {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let all = [Self::Lose, Self::Double, Self::Stale, Self::Back, Self::Sum, Self::Fate];
        match all.into_iter().find(|sabotage| sabotage.name() == name) {
            Some(sabotage) => Ok(sabotage),
            None => bail!("{name} names nothing to break"),
        }
    }
}
