//! The project's commands, one module each: `cargo xtask --help` lists them.

mod bench;
mod browser;
mod cargo;
mod check;
mod demo;
mod features;
mod postgres;
mod regions;
mod rules;
mod test;
mod totals;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::Bench),
    Check(check::Check),
    Demo(demo::Demo),
    Regions(regions::Regions),
    Test(test::Test),
}

impl Command {
    /// Runs the command. An error is a reason why it could not do its work; a command that did, and found something
    /// wrong, has printed it and returns a failing exit code.
    fn run(self) -> Result<ExitCode> {
        match self {
            Self::Bench(bench) => bench.run(),
            Self::Check(check) => check.run(),
            Self::Demo(demo) => demo.run(),
            Self::Regions(regions) => regions.run(),
            Self::Test(test) => test.run(),
        }
    }
}

fn main() -> ExitCode {
    Xtask::parse().command.run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
