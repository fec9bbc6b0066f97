//! The settings of a node, apart from Homing's.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::sabotage::Sabotage;

#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    /// The name of the node, such as `syd-1`.
    pub(crate) name: String,
    /// The folder of the journals.
    pub(crate) journals: PathBuf,
    /// What the callers draw their operations from, with the name of the node.
    pub(crate) seed: u64,
    /// What is broken on purpose.
    pub(crate) sabotage: Option<Sabotage>,
}

impl NodeSettings {
    pub(super) fn from_env() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let sabotage = std::env::var(SABOTAGE).ok().map(|name| name.parse()).transpose()?;
        Ok(Self {
            name: variable(NAME)?,
            journals: variable(JOURNALS)?.into(),
            seed: variable(SEED)?.parse().with_context(|| format!("{SEED} is not a number"))?,
            sabotage,
        })
    }

    /// Returns the environment variables that [`from_env`](Self::from_env) reads.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let journals = self.journals.display().to_string();
        let sabotage = self.sabotage.map(|sabotage| (SABOTAGE, sabotage.name().to_owned()));
        [(NAME, self.name.clone()), (JOURNALS, journals), (SEED, self.seed.to_string())]
            .into_iter()
            .chain(sabotage)
            .collect()
    }
}

const NAME: &str = "FAULTS_NODE";
const JOURNALS: &str = "FAULTS_JOURNALS";
const SEED: &str = "FAULTS_SEED";
const SABOTAGE: &str = "FAULTS_SABOTAGE";
