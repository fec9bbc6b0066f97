//! [`fuzz`], which gives a target of `fuzz/` its seeds and many inputs that are made of them.

use std::env;
use std::fs;
use std::path::Path;
use std::thread::panicking;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Calls `target` with each file of the folder `seeds`, and with some thousand inputs that are random or mutated seeds, or as many as
/// `HOMING_FUZZ_INPUTS` says. They are the same each time.
///
/// # Panics
///
/// If the target does. The input is printed before as a byte string.
pub fn fuzz(seeds: impl AsRef<Path>, target: fn(&[u8])) {
    let mut paths: Vec<_> =
        fs::read_dir(seeds).into_iter().flatten().map(|entry| entry.expect("a seed").path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).expect("a seed")).collect();
    seeds.iter().for_each(|seed| check(seed, target));
    let mut rng = SmallRng::seed_from_u64(SEED);
    let inputs = env::var("HOMING_FUZZ_INPUTS").map_or(INPUTS, |inputs| inputs.parse().expect("a number"));
    for _ in 0..inputs {
        let mut input = match seeds.len() {
            0 => Vec::new(),
            count => seeds[rng.random_range(0..count)].clone(),
        };
        for _ in 0..rng.random_range(1..=MAX_CHANGES) {
            mutate(&mut input, &seeds, &mut rng);
        }
        check(&input, target);
    }
}

fn check(input: &[u8], target: fn(&[u8])) {
    let _shown = ShownOnPanic(input);
    target(input);
}

/// Changes one part of the input.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut SmallRng) {
    let at = rng.random_range(0..=input.len());
    let end = at + rng.random_range(0..=(input.len() - at).min(MAX_PART));
    match rng.random_range(0..7) {
        0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        1 if at < input.len() => input[at] = rng.random(),
        2 => input.truncate(at),
        3 => drop(input.drain(at..end)),
        4 => {
            let part = input[at..end].to_vec();
            input.splice(at..at, part);
        }
        5 if !seeds.is_empty() => {
            let other = &seeds[rng.random_range(0..seeds.len())];
            let from = rng.random_range(0..=other.len());
            let to = from + rng.random_range(0..=(other.len() - from).min(MAX_PART));
            input.splice(at..end, other[from..to].iter().copied());
        }
        _ => {
            let part: Vec<u8> = (0..rng.random_range(1..=16)).map(|_| rng.random()).collect();
            input.splice(at..end, part);
        }
    }
}

struct ShownOnPanic<'a>(&'a [u8]);

impl Drop for ShownOnPanic<'_> {
    fn drop(&mut self) {
        if panicking() {
            eprintln!("the input is b\"{}\"", self.0.escape_ascii());
        }
    }
}

/// Any number: it gives each run the same inputs.
const SEED: u64 = 7;

/// Enough to notice that a target no longer works, in some seconds. `cargo fuzz` runs millions.
const INPUTS: u64 = 4000;

const MAX_CHANGES: usize = 6;

const MAX_PART: usize = 64;
