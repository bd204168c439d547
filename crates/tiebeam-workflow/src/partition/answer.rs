//! Answers questions from the applied state.

use std::ops::Bound;

use bytes::Bytes;

use super::Partition;
use super::instance::{Finished, Instance};
use crate::event::Event;
use crate::limits::{PAGE_BYTES_MAX, PAGE_MAX};
use crate::query::{Answer, InstanceView, Query};

impl Partition {
    /// Answers one question.
    #[must_use]
    pub fn answer(&self, query: Query) -> Answer {
        match query {
            Query::Counts => Answer::Counts(self.counts),
            Query::Instance { id } => Answer::Instance(self.view(&id)),
            Query::Unfinished { after, limit } => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let range = self.unfinished.range((from, Bound::Unbounded));
                let limit = limit.min(PAGE_MAX) as usize;
                Answer::Unfinished(range.take(limit).map(|(id, instance)| unfinished(id, instance)).collect())
            }
            Query::Journal { id, from, limit } => Answer::Journal(self.journal(&id, from, limit)),
        }
    }

    /// Shows one instance; none if there is no such instance or it was forgotten.
    #[must_use]
    pub fn view(&self, id: &str) -> Option<InstanceView> {
        let unfinished = self.unfinished.get(id).map(|instance| unfinished(id, instance));
        unfinished.or_else(|| self.finished.get(id).map(|f| finished(id, f)))
    }

    fn journal(&self, id: &str, from: u32, limit: u32) -> Vec<Event> {
        let Some(instance) = self.unfinished.get(id) else { return Vec::new() };
        let mut bytes = 0;
        let page = instance.journal.iter().skip(from as usize).take(limit.min(PAGE_MAX) as usize);
        let page = page.take_while(|event| {
            // The first event is let through whatever its size, else a reader would never get past it.
            let fits = bytes == 0 || bytes + event.cost() <= PAGE_BYTES_MAX;
            bytes += event.cost();
            fits
        });
        page.cloned().collect()
    }
}

fn unfinished(id: &str, instance: &Instance) -> InstanceView {
    let error = match instance.journal.last() {
        Some(Event::Stuck { reason }) => reason.clone(),
        _ => String::new(),
    };
    InstanceView {
        id: id.to_owned(),
        definition: instance.definition.clone(),
        status: instance.status,
        position: instance.position(),
        attempts: instance.attempts,
        result: Bytes::new(),
        error,
    }
}

fn finished(id: &str, finished: &Finished) -> InstanceView {
    InstanceView {
        id: id.to_owned(),
        definition: String::new(),
        status: finished.status,
        position: finished.position,
        attempts: finished.attempts,
        result: finished.result.clone(),
        error: finished.error.clone(),
    }
}
