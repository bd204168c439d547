//! Answers admin requests over HTTP and serves the dashboard.
//!
//! | path | what |
//! |---|---|
//! | `/` | the dashboard: one page, works without a script, lives with one |
//! | `/events` | server-sent events: the page's body, rendered anew, at most twice a second and only when it changed |
//! | `/api/health` | [`tiebeam_api::Health`] as JSON; 200 if ready, else 503 |
//! | `/api/cluster` | [`tiebeam_api::ClusterView`] as JSON |
//! | `/api/apps/NAME` | what an application of this node reports, as JSON of its own; 404 if it doesn't run here |
//! | `/metrics` | Prometheus text format |
//!
//! It knows the cluster only through [`Source`]; the node fills that in.

mod metrics;
mod page;
mod server;

pub use server::{Bound, ServeError, Server, Source};
