//! [`Choices`], which decide everything in a history that could go one way or another.

/// The source of all choices of one history. They are recorded, so that the history can be repeated, with parts left out.
#[derive(Debug)]
pub(super) struct Choices {
    source: Source,
    made: Vec<u8>,
    /// Where the choices of each step begin.
    steps: Vec<usize>,
}

/// The choices of a history, step by step.
pub(super) type Script = Vec<Vec<u8>>;

#[derive(Debug)]
enum Source {
    Random(u64),

    /// Choices of before. If a step needs more than it had, each is 0, which is the plainest: nothing fails, and the oldest
    /// goes first.
    Script {
        script: Script,
        next: usize,
    },
}

impl Choices {
    /// Makes choices that follow from a seed.
    pub(super) fn random(seed: u64) -> Self {
        Self { source: Source::Random(seed), made: Vec::with_capacity(2048), steps: vec![0] }
    }

    /// Repeats choices. If they do not fit, as after parts were left out, they are taken modulo what is there to choose from.
    pub(super) fn repeat(script: &Script) -> Self {
        Self { source: Source::Script { script: script.clone(), next: 0 }, made: Vec::new(), steps: vec![0] }
    }

    /// Begins the choices of the next step.
    pub(super) fn begin_step(&mut self) {
        self.steps.push(self.made.len());
        if let Source::Script { next, .. } = &mut self.source {
            *next = 0;
        }
    }

    /// Returns a number below `count`, which is at most 256.
    pub(super) fn below(&mut self, count: usize) -> usize {
        if count < 2 {
            return 0;
        }
        let choice = match &mut self.source {
            Source::Random(state) => (split_mix(state) >> 32) as usize % count,
            Source::Script { script, next } => {
                let step = script.get(self.steps.len() - 1);
                let choice = step.and_then(|step| step.get(*next)).copied().unwrap_or(0);
                *next += 1;
                usize::from(choice) % count
            }
        };
        self.made.push(u8::try_from(choice).expect("there are few to choose from"));
        choice
    }

    /// Returns true once in `count` times.
    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    /// Returns all choices that were made.
    pub(super) fn script(&self) -> Script {
        let ends = self.steps.iter().skip(1).copied().chain([self.made.len()]);
        self.steps.iter().zip(ends).map(|(start, end)| self.made[*start..end].to_vec()).collect()
    }
}

/// SplitMix64: <https://doi.org/10.1145/2714064.2660195>
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
