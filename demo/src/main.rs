//! Three regions on one machine, shown, measured and broken: the programs behind `cargo xtask demo`, `regions`, `bench` and
//! `faults`.

mod bench;
mod demo;
mod faults;
mod interrupt;
mod output;
mod program;
mod regions;
mod run;
mod scene;
mod serve;
mod steps;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Three regions on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
enum Command {
    Bench(bench::Bench),
    #[command(hide = true)]
    BenchNode(bench::BenchNode),
    Demo(demo::Demo),
    Faults(faults::Faults),
    #[command(hide = true)]
    FaultsNode(faults::FaultsNode),
    Regions(regions::Regions),
}

impl Command {
    /// Runs the command. An error says why the command could not do its work. A command that did its work and found
    /// something wrong has printed that, and returns a failing exit code.
    fn run(self) -> Result<ExitCode> {
        match self {
            Self::Bench(bench) => bench.run(),
            Self::BenchNode(node) => node.run(),
            Self::Demo(demo) => demo.run(),
            Self::Faults(faults) => faults.run(),
            Self::FaultsNode(node) => node.run(),
            Self::Regions(regions) => regions.run(),
        }
    }
}

fn main() -> ExitCode {
    Command::parse().run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
