//! Random scenarios, one per kind and seed, and their language.

mod crowds;
mod events;
mod machines;
mod processes;
mod trees;

use std::fmt;

use fastrand::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Processes,
    Trees,
    Crowds,
    Machines,
    Events,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    /// None if it was written by hand.
    pub(crate) seed: Option<u64>,
    /// One step per line, words with a space between.
    pub(crate) steps: Vec<String>,
}

impl Scenario {
    pub(crate) fn random(kind: Kind, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let steps = match kind {
            Kind::Processes => processes::steps(&mut rng),
            Kind::Trees => trees::steps(&mut rng),
            Kind::Crowds => crowds::steps(&mut rng),
            Kind::Machines => machines::steps(&mut rng),
            Kind::Events => events::steps(&mut rng),
        };
        Self { kind, seed: Some(seed), steps }
    }

    pub(crate) fn by_hand(kind: Kind, steps: &[&str]) -> Self {
        Self { kind, seed: None, steps: steps.iter().map(|&step| step.to_owned()).collect() }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processes => "processes",
            Self::Trees => "trees",
            Self::Crowds => "crowds",
            Self::Machines => "state_machines",
            Self::Events => "event_managers",
        })
    }
}

fn pick<'a>(rng: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[rng.usize(..choices.len())]
}
