//! A simulation of the protocol: writes that are applied once, and sessions that read from several servers.
//!
//! A history is a sequence of steps: a message arrives, a transaction goes on, a replica replays a record, or something fails.
//! [`Choices`] decide what is next, from a seed, so that a history can be repeated and made shorter. There is no clock, no task and
//! no IO. What breaks a promise is in `checks.rs`.
//!
//! | part | where it is from |
//! |---|---|
//! | the attempts of a call, doubt, and what an attempt does with its key | the product: `Attempts`, `Failures`, `Retry`, `Known`, `Ended` |
//! | sessions, positions, histories of timelines, the plan of a read | the product: `Session`, `ServerState`, `TimelineHistory`, `ReadPlan` |
//! | the table of outcomes | `table.rs`, a model of `outcome/table.sql` |
//! | callers, peers, connections, transactions, logs, replicas, promotions | models in the other files |
//!
//! A settlement that a failover loses stops nothing: the checks allow that, as they allow that it loses a write.
//!
//! Not simulated: positions by transaction, spread addresses, interactive transactions, named functions, a primary that lives on
//! after a promotion, and a replica that shows a commit before the primary does.

mod bug;
mod call;
mod checks;
mod choices;
mod cluster;
mod executor;
mod faults;
mod identities;
mod read;
mod shrink;
mod table;
mod world;

use std::{env, panic, thread};

use self::bug::Bug;
use self::choices::{Choices, Script};
use self::identities::Identities;
use self::shrink::shrunk;
use self::world::World;

/// A history that breaks a promise.
#[derive(Debug)]
struct Found {
    seed: u64,
    /// How many steps were taken to find it.
    steps: u64,
    script: Script,
    violation: String,
}

/// Runs the histories of consecutive seeds until they have had this many steps in all, or one breaks a promise.
fn search(first: u64, steps: u64, bug: Option<Bug>, identities: &Identities) -> Option<Found> {
    let (mut taken, mut seed) = (0, first);
    while taken < steps {
        let mut world = World::new(Choices::random(seed), identities, bug);
        taken += u64::from(world.run());
        if let Some(violation) = world.violation {
            return Some(Found { seed, steps: taken, script: world.choices.script(), violation });
        }
        seed = seed.wrapping_add(1);
    }
    None
}

/// Tells the shortest history that is like the one that was found, and how to repeat it.
fn report(found: &Found, bug: Option<Bug>, identities: &Identities) -> String {
    let Found { seed, violation, .. } = found;
    let run = |script: &Script, story| {
        let mut world = World::new(Choices::repeat(script), identities, bug);
        world.story = story;
        world.run();
        (world.violation, world.story)
    };
    let script = shrunk(found.script.clone(), |script| run(script, None).0.is_some());
    let (shortest, story) = run(&script, Some(Vec::new()));
    format!(
        "{violation}\nto repeat it, set HOMING_SIMULATION_SEED={seed}\na short history like it:\n  {}\n{}\n",
        story.unwrap_or_default().join("\n  "),
        shortest.unwrap_or_default()
    )
}

/// Reads a number from the environment.
fn variable(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} has to be a number")))
}

#[test]
fn promises_hold_in_all_histories() {
    let steps = variable("HOMING_SIMULATION_STEPS").unwrap_or(STEPS);
    let first = variable("HOMING_SIMULATION_SEED").unwrap_or_else(rand::random);
    println!("the first seed is {first}");
    let search = |first, steps| {
        let identities = Identities::new();
        if let Some(found) = search(first, steps, None, &identities) {
            panic!("{}", report(&found, None, &identities));
        }
    };
    thread::scope(|scope| {
        let others = scope.spawn(|| search(first.wrapping_add(1 << 32), steps / 2));
        search(first, steps / 2 - FIXED_STEPS.min(steps / 2));
        search(0, FIXED_STEPS.min(steps / 2));
        others.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
    });
}

#[test]
fn each_bug_is_found() {
    let identities = Identities::new();
    for bug in Bug::ALL {
        let found = search(rand::random(), STEPS_PER_BUG, Some(bug), &identities);
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        println!("{bug:?}, after {} steps: {}", found.steps, report(&found, Some(bug), &identities));
    }
}

/// How many steps are taken, with seeds that nobody has tried before, and with the same seeds each time.
const STEPS: u64 = 10_000_000;
const FIXED_STEPS: u64 = 1_000_000;

/// Each bug is found within 500,000 steps on average.
const STEPS_PER_BUG: u64 = 10_000_000;
