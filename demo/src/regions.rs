//! `cargo xtask regions`: measures how long reads take from one region to each replica and to the primary.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use homing::replicas::{Measure, ReadTable};
use homing::{Config, Node};
use homing_testbed::{Binaries, PostgresOptions, Relay, World};

use crate::interrupt::{Interrupt, interrupted};

/// Measure reads from one region to each replica and to the primary, over links as long as real ones
#[derive(Debug, clap::Args)]
pub(crate) struct Regions {
    /// The region to read from: iad, ams or syd
    #[arg(long, default_value = "syd")]
    from: String,
    /// How long to read from each place, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    time: f64,
    /// The statement to run
    #[arg(long, default_value = "select 1")]
    statement: String,
}

impl Regions {
    pub(crate) fn run(self) -> Result<ExitCode> {
        anyhow::ensure!(
            REGIONS.contains(&self.from.as_str()),
            "--from is {}, but must be one of {}",
            self.from,
            REGIONS.join(", ")
        );
        let time = Duration::try_from_secs_f64(self.time).context("--time must be a number of seconds, 0 or more")?;
        let binaries = Binaries::find()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut interrupt = Interrupt::new()?;
            eprintln!("Starting three regions: a primary in iad, replicas in ams and syd");
            let Some(world) = interrupt.or(start(binaries)).await.transpose()? else { return Ok(interrupted()) };
            let measure = Measure::default().with_time(time).with_statement(&self.statement);
            let table = interrupt.or(Box::pin(measure_from(&world, &self.from, &measure))).await;
            world.shutdown().await;
            let Some(table) = table.transpose()? else { return Ok(interrupted()) };
            println!("\nReads from {}: {}\n\n{table}", self.from, self.statement);
            Ok(ExitCode::SUCCESS)
        })
    }
}

async fn start(binaries: Binaries) -> Result<World> {
    let mut world = World::builder().app("regions").primary(PRIMARY);
    for (region, round_trip) in DISTANCES {
        world = world.region(region, round_trip);
    }
    let options = PostgresOptions::default().with_binaries(binaries);
    Ok(world.between("ams", "syd", AMS_TO_SYD).postgres(options).start().await?)
}

/// Starts a node in the primary region, and measures with another one that reads.
async fn measure_from(world: &World, from: &str, measure: &Measure) -> Result<ReadTable> {
    let away = REGIONS.into_iter().filter(|region| *region != PRIMARY);
    let links = away.map(|region| Ok((region, Relay::start(world.replica(region).address())?)));
    let links: Vec<_> = links.collect::<Result<_>>()?;
    for (region, link) in &links {
        if *region != from {
            link.set_round_trip(world.link_between(from, region).round_trip());
        }
    }
    let urls = links.iter().map(|(region, link)| format!("{region}=postgres://postgres@{}/postgres", link.address()));
    let replicas = ("HOMING_REPLICA_URL".to_owned(), urls.collect::<Vec<_>>().join(","));
    let primary = match from {
        PRIMARY => None,
        _ => Some(node(world.environment(PRIMARY)).await?),
    };
    let mut environment = world.environment(from);
    environment.extend([replicas]);
    eprintln!("Reading from {from} for {:?} each", measure.time);
    let reader = node(environment).await?;
    let table = reader.repo().measure_reads(measure).await?;
    reader.shutdown().await;
    if let Some(primary) = primary {
        primary.shutdown().await;
    }
    Ok(table)
}

async fn node(environment: BTreeMap<String, String>) -> Result<Node> {
    let config = Config::from_lookup(&|name| environment.get(name).cloned())?;
    Ok(Node::with_config(config).start().await?)
}

const PRIMARY: &str = "iad";

const REGIONS: [&str; 3] = [PRIMARY, "ams", "syd"];

/// Round trips over the internet, from Virginia.
const DISTANCES: [(&str, Duration); 2] = [("ams", Duration::from_millis(90)), ("syd", Duration::from_millis(200))];

const AMS_TO_SYD: Duration = Duration::from_millis(260);
