//! `cargo xtask faults`: breaks everything that can be broken, while callers write and read, and checks what they were told.

mod checker;
mod clock;
mod course;
mod fault;
mod journal;
mod node;
mod phase;
mod report;
mod scene;
mod schedule;
mod stored;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use homing_testbed::Binaries;

use self::fault::{FAULTS, Fault};
pub(crate) use self::node::FaultsNode;
use self::node::Sabotage;
use self::scene::Setup;
use crate::interrupt::{Interrupt, interrupted};
use crate::output::console::Console;

/// Break processes, links, databases and names under a workload, and check what its callers were told
#[derive(Debug, clap::Args)]
pub(crate) struct Faults {
    /// How long faults are made; the last one ends in its own time
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// How long a fault may last, in seconds; the default is longer than a call may take, which is 5 s
    #[arg(long, value_name = "SECONDS", default_value_t = 6.0, value_parser = seconds)]
    longest: f64,
    /// What reproduces the order, the length and the victims of the faults
    #[arg(long)]
    seed: Option<u64>,
    /// Make only faults whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the faults
    #[arg(long)]
    list: bool,
    /// Write the counts to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Copy the journals and logs of the nodes into this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Let the nodes do something wrong, which the check has to notice
    #[arg(long, value_name = "WHAT")]
    sabotage: Option<Sabotage>,
}

impl Faults {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.list {
            FAULTS.iter().for_each(|fault| println!("{}", fault.name));
            return Ok(ExitCode::SUCCESS);
        }
        let chosen = self.chosen()?;
        let skipped: Vec<_> = chosen.iter().filter_map(|fault| Some((fault.name, fault.skipped()?))).collect();
        let faults: Vec<_> = chosen.into_iter().filter(|fault| fault.skipped().is_none()).collect();
        if faults.is_empty() {
            bail!("none of the faults can be made here: {skipped:?}");
        }
        let seed = self.seed.unwrap_or_else(|| rand::random::<u32>().into());
        let setup = Setup {
            binaries: Binaries::find()?,
            seed,
            longest: Duration::from_secs_f64(self.longest),
            sabotage: self.sabotage,
            keep: self.keep.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let console = Console::new();
            console.heading(&format!("{} kinds of faults for {} s, --seed {seed}", faults.len(), self.seconds));
            let mut interrupt = Interrupt::new()?;
            let running = course::run(&console, &setup, faults, Duration::from_secs(self.seconds));
            let Some(found) = interrupt.or(running).await.transpose()? else { return Ok(interrupted()) };
            let passed = report::print(&console, &found, &skipped);
            if let Some(file) = &self.json {
                report::write(file, seed, &found, &skipped)?;
            }
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }

    fn chosen(&self) -> Result<Vec<Fault>> {
        let is_chosen = |fault: &Fault| self.only.is_empty() || self.only.iter().any(|part| fault.name.contains(part));
        let chosen: Vec<_> = FAULTS.into_iter().filter(is_chosen).collect();
        if chosen.is_empty() {
            bail!("no fault has {:?} in its name; --list names all of them", self.only);
        }
        Ok(chosen)
    }
}

/// Reads a number of seconds up to an hour.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("use 0.1 to 3600 seconds".to_owned()) }
}
