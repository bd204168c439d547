//! Writes what the nodes trace into the log.

use std::fmt::{self, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::outside::Outside;

/// Takes events of the house down to a level; spans have no end here and are nobody's business.
pub(crate) struct ToLog {
    pub(crate) outside: Arc<Outside>,
    pub(crate) level: Level,
}

impl Subscriber for ToLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level && metadata.target().starts_with("tiebeam")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        // Whatever fell over did so outside of an actor, or it would have been told otherwise.
        let is_fault =
            *event.metadata().level() == Level::ERROR && event.metadata().target().starts_with("tiebeam_world");
        if is_fault {
            self.outside.fail(line.0);
        } else {
            self.outside.tell_here(line.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}
