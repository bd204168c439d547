//! The flights application: what the demo runs on the cluster.
//!
//! ```text
//! edge-1  publisher ──▶ topic flights (8 partitions, keyed by tail number) ──▶ totals, beside each partition's leader
//!             └──────▶ topic flights-dead (broken rows, with the reason)           │ one workflow per cancelled flight
//!         reporter: adds everything up                                             ▼
//! edge-2  inventory ◀────────── reserve, release ──────────── rebooking: find, reserve, notify
//!             └──▶ topic inventory (its journal)
//! ```
//!
//! Every part is written so that doing it again does nothing: rows carry a producer's sequence, totals commit their
//! state with their offset, workflows are named by the row's line number, reservations carry an idempotency key.

mod inventory;
mod publisher;
mod rebooking;
mod reporter;
mod totals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_node::topics::batch::Record;
use tiebeam_node::workflow::Registry;
use tiebeam_node::{AppError, Application, BoxProcessor, ConsumerSpec, Handle};

pub(crate) use self::rebooking::{fails_for_good, fails_twice};
pub(crate) use self::totals::{CarrierTotals, Totals};

/// The rows, as they stand in the file.
pub(crate) const FLIGHTS_TOPIC: &str = "flights";
/// Rows that are no flights, with the reason in header `reason`.
pub(crate) const DEAD_TOPIC: &str = "flights-dead";
/// What the inventory did, in order: its memory when its node is gone.
pub(crate) const INVENTORY_TOPIC: &str = "inventory";
/// The node that publishes and reports.
pub(crate) const REPORTER_NODE: &str = "edge-1";
/// The node that hosts the inventory.
pub(crate) const INVENTORY_NODE: &str = "edge-2";

/// Returns the configuration sections of the application for the node called `name`.
pub(crate) fn sections(name: &str, file: &Path) -> String {
    let mut text = "[apps.flights]\n".to_owned();
    if name == REPORTER_NODE {
        text += &format!("publish = {:?}\n", file.display().to_string());
    }
    if name == INVENTORY_NODE {
        text += "inventory = true\n";
    }
    text
}

/// What came out, added up over the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Whether everything that was to be done is done.
    pub(crate) done: bool,
    /// Rows in the dead-letter topic, by reason.
    pub(crate) dead: BTreeMap<String, u64>,
    /// What the consumers counted, over all partitions.
    pub(crate) totals: Totals,
    /// Workflow instances.
    pub(crate) workflows: tiebeam_api::WorkflowCounts,
    /// Seats that the inventory holds at this moment, counted by itself.
    pub(crate) seats_held: u64,
    /// Seats that the inventory ever gave out.
    pub(crate) seats_reserved: u64,
    /// Reservations and releases that came a second time and did nothing.
    pub(crate) calls_repeated: u64,
    /// Batches that the publisher sent again and that were not stored again.
    pub(crate) batches_repeated: u64,
    /// Requests of the reporter's node to groups that had no outcome and were made again, since it started.
    pub(crate) requests_again: u64,
}

/// Number of partitions and of replicas of each topic.
const TOPICS: [(&str, u32, usize); 3] = [(FLIGHTS_TOPIC, 8, 3), (DEAD_TOPIC, 1, 3), (INVENTORY_TOPIC, 1, 3)];
/// The header that holds a row's line number, from 1.
const LINE_HEADER: &str = "line";

/// The applications that this binary carries.
pub(crate) fn registry() -> Vec<Arc<dyn Application>> {
    vec![Arc::new(Flights::default())]
}

/// What the parts of the application on one node share.
#[derive(Debug, Default)]
struct Shared {
    is_published: AtomicBool,
    report: Mutex<Option<Report>>,
}

impl Shared {
    fn published(&self) {
        self.is_published.store(true, Ordering::Release);
    }

    fn is_published(&self) -> bool {
        self.is_published.load(Ordering::Acquire)
    }

    fn report(&self, report: Report) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }
}

#[derive(Debug, Default)]
struct Flights {
    shared: Arc<Shared>,
}

/// The keys of `[apps.flights]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The file to publish from this node. Default: none.
    publish: Option<PathBuf>,
    /// Whether this node hosts the inventory. Default: no.
    #[serde(default)]
    inventory: bool,
}

impl Application for Flights {
    fn name(&self) -> &'static str {
        "flights"
    }

    fn workflows(&self, handle: &Handle, registry: &mut Registry) {
        rebooking::register(handle, registry);
    }

    fn consumers(&self, handle: &Handle) -> Vec<ConsumerSpec> {
        let workflows = handle.workflows().clone();
        vec![ConsumerSpec {
            name: totals::CONSUMER.to_owned(),
            topic: FLIGHTS_TOPIC.to_owned(),
            processor: Arc::new(move |_| BoxProcessor::new(totals::Counter::new(workflows.clone()))),
        }]
    }

    fn start(&self, handle: Handle, settings: toml::Table) -> BoxFuture<'static, Result<(), AppError>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let settings: Settings = settings.try_into()?;
            if settings.inventory || settings.publish.is_some() {
                for (topic, partitions, replication) in TOPICS {
                    handle.catalog().create(topic, partitions, replication).await?;
                }
            }
            if settings.inventory {
                inventory::start(&handle).await?;
            }
            if let Some(file) = settings.publish {
                reporter::start(reporter::Args { handle: handle.clone(), shared: Arc::clone(&shared) }).await?;
                publisher::start(publisher::Args { handle, file, shared }).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn report(&self, _: &Handle) -> Option<String> {
        let report = self.shared.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.as_ref().and_then(|report| serde_json::to_string(report).ok())
    }
}

/// The row's line number in the file.
fn line_of(record: &Record) -> Option<u64> {
    header(record, LINE_HEADER)?.parse().ok()
}

fn header(record: &Record, key: &str) -> Option<String> {
    let header = record.headers.iter().find(|header| header.key == key)?;
    String::from_utf8(header.value.as_ref()?.to_vec()).ok()
}
