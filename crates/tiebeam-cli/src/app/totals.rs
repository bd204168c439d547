//! The consumer: counts rows per carrier and starts a workflow for each cancelled flight.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_node::topics::batch::Record;
use tiebeam_node::topics::consumer::{ProcessError, Processor, TopicPartition};
use tiebeam_node::wire::codec;
use tiebeam_node::workflow::Workflows;

use super::rebooking;
use crate::flights::{self, Flight};

/// What was counted of one carrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CarrierTotals {
    pub(crate) rows: u64,
    pub(crate) cancelled: u64,
    /// Sum of `dep_delay` in minutes.
    pub(crate) delay_sum: i64,
}

/// What was counted, by carrier code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) carriers: BTreeMap<String, CarrierTotals>,
}

impl Totals {
    pub(crate) fn add(&mut self, flight: &Flight<'_>) {
        let carrier = self.carriers.entry(flight.carrier.to_owned()).or_default();
        carrier.rows += 1;
        carrier.cancelled += u64::from(flight.cancelled);
        carrier.delay_sum += flight.dep_delay.unwrap_or(0);
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (name, theirs) in &other.carriers {
            let ours = self.carriers.entry(name.clone()).or_default();
            ours.rows += theirs.rows;
            ours.cancelled += theirs.cancelled;
            ours.delay_sum += theirs.delay_sum;
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.carriers.values().map(|c| c.rows).sum()
    }

    pub(crate) fn cancelled(&self) -> u64 {
        self.carriers.values().map(|c| c.cancelled).sum()
    }

    pub(crate) fn delay_sum(&self) -> i64 {
        self.carriers.values().map(|c| c.delay_sum).sum()
    }
}

/// The consumer's name: offsets and states are kept under it.
pub(super) const CONSUMER: &str = "totals";
/// Version of the consumer's state.
const VERSION: u8 = 1;

/// Counts one partition.
pub(super) struct Counter {
    totals: Totals,
    workflows: Workflows,
}

impl Counter {
    pub(super) fn new(workflows: Workflows) -> Self {
        Self { totals: Totals::default(), workflows }
    }
}

impl Totals {
    /// Reads a consumer's committed state.
    pub(super) fn from_state(state: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(VERSION, state)
    }
}

impl Processor for Counter {
    async fn process(&mut self, _: &TopicPartition, records: &[Record]) -> Result<(), ProcessError> {
        let mut cancelled = Vec::new();
        for record in records {
            let row = record.value.as_deref().unwrap_or_default();
            // The publisher parsed it before it sent it.
            let flight = flights::parse(row)?;
            self.totals.add(&flight);
            if flight.cancelled {
                cancelled
                    .push(rebooking::instance(super::line_of(record).ok_or("record has no line number")?, &flight));
            }
        }
        // Before the commit, and by name: whoever counts these records again starts none of them twice.
        for started in self.workflows.start_many(cancelled).await {
            started?;
        }
        Ok(())
    }

    fn state(&self) -> Bytes {
        codec::encode(VERSION, &self.totals).into()
    }

    fn restore(&mut self, state: &Bytes) -> Result<(), ProcessError> {
        self.totals = Totals::from_state(state)?;
        Ok(())
    }
}
