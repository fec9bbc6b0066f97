//! A simulation of the protocol: writes that are applied once, and sessions that read on several servers.

mod bug;
mod call;
mod checks;
mod choices;
mod cluster;
mod executor;
mod identities;
mod read;
mod shrink;
mod table;
mod world;

use std::thread;

use self::bug::Bug;
use self::choices::{Choices, Script};
use self::identities::Identities;
use self::shrink::shrunk;
use self::world::World;

/// What was found.
#[derive(Debug)]
struct Found {
    seed: u64,
    script: Script,
    violation: String,
}

/// Runs histories until they have had this many steps in all, or one breaks a promise. The seeds are consecutive.
fn search(seed: u64, steps: u64, bug: Option<Bug>, identities: &Identities) -> Result<u64, Found> {
    let (mut taken, mut seed) = (0, seed);
    while taken < steps {
        let mut world = World::new(Choices::random(seed), identities, bug);
        taken += u64::from(world.run());
        if let Some(violation) = world.violation.take() {
            return Err(Found { seed, script: world.choices.script(), violation });
        }
        seed = seed.wrapping_add(1);
    }
    Ok(taken)
}

/// Makes the report of what was found: the shortest history like it.
fn report(found: Found, bug: Option<Bug>, identities: &Identities) -> String {
    let Found { seed, script, violation } = found;
    let script = shrunk(script, |script| violates(script, bug, identities));
    let mut world = World::new(Choices::repeat(&script), identities, bug);
    world.story = Some(Vec::new());
    world.run();
    let story = world.story.unwrap_or_default().join("\n  ");
    let shortest = world.violation.unwrap_or_default();
    format!(
        "{violation}\nrepeat it with HOMING_SIMULATION_SEED={seed}\nthe shortest history like it, {shortest}:\n  {story}\n"
    )
}

fn violates(script: &Script, bug: Option<Bug>, identities: &Identities) -> bool {
    let mut world = World::new(Choices::repeat(script), identities, bug);
    world.run();
    world.violation.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_hold_in_all_histories() {
        let seed = std::env::var("HOMING_SIMULATION_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
        let steps = std::env::var("HOMING_SIMULATION_STEPS").ok().map_or(STEPS, |steps| steps.parse::<u64>().unwrap());
        let base = seed.unwrap_or_else(rand::random);
        println!("the first seed is {base}");
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    let identities = Identities::new();
                    let first = base.wrapping_add(thread << 32);
                    if let Err(found) = search(first, steps / THREADS, None, &identities) {
                        panic!("{}", report(found, None, &identities));
                    }
                });
            }
        });
    }

    #[test]
    fn each_bug_is_found() {
        let identities = Identities::new();
        for bug in Bug::ALL {
            match search(rand::random(), STEPS_PER_BUG, Some(bug), &identities) {
                Ok(_) => panic!("{bug:?} is not found"),
                Err(found) => println!("{bug:?}: {}", report(found, Some(bug), &identities)),
            }
        }
    }

    const STEPS: u64 = 10_000_000;
    const THREADS: u64 = 2;
    const STEPS_PER_BUG: u64 = 2_000_000;
}
