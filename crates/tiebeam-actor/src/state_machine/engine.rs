//! What follows from a transition: the state, which event is next, which timers run. Pure.
//!
//! Further reading: `loop_state_transition` and what follows it in `gen_statem.erl`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::Timeout;

pub(super) struct Engine<S, E, T> {
    state: S,
    /// Handled before anything that arrives, in this order.
    queue: VecDeque<E>,
    /// Oldest first.
    postponed: Vec<E>,
    running: BTreeSet<Timeout<T>>,
    /// Timeouts of no time, which come when the queue is empty.
    zero: VecDeque<Timeout<T>>,
    events_max: usize,
}

/// What the handling of one event came to.
pub(super) struct Step<S, E, T> {
    /// None to stay.
    pub(super) next: Option<S>,
    pub(super) postponed: Option<E>,
    pub(super) inserted: Vec<E>,
    /// Those without a duration are cancelled.
    pub(super) timeouts: Vec<(Timeout<T>, Option<Duration>)>,
}

/// What is to be done about timers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change<T> {
    /// One of the same name that runs is replaced.
    Start(Timeout<T>, Duration),
    Cancel(Timeout<T>),
}

impl<S: PartialEq, E: From<Timeout<T>>, T: Ord + Clone> Engine<S, E, T> {
    pub(super) fn new(state: S, events_max: usize) -> Self {
        let (running, zero) = (BTreeSet::new(), VecDeque::new());
        Self { state, queue: VecDeque::new(), postponed: Vec::new(), running, zero, events_max }
    }

    /// Does what follows from an event that was handled.
    ///
    /// # Panics
    /// If more events wait than may.
    pub(super) fn step(&mut self, step: Step<S, E, T>) -> Vec<Change<T>> {
        let Step { next, postponed, inserted, timeouts } = step;
        let mut changes = Vec::new();
        self.postponed.extend(postponed);
        self.cancel(Timeout::Event, &mut changes);
        if let Some(next) = next.filter(|next| *next != self.state) {
            self.state = next;
            self.cancel(Timeout::State, &mut changes);
            self.postponed.drain(..).rev().for_each(|event| self.queue.push_front(event));
        }
        inserted.into_iter().rev().for_each(|event| self.queue.push_front(event));
        for (index, (timeout, after)) in timeouts.iter().enumerate() {
            let is_last = timeouts[index + 1..].iter().all(|(other, _)| other != timeout);
            if !is_last {
                continue;
            }
            match after {
                Some(after) if !after.is_zero() => {
                    self.zero.retain(|other| other != timeout);
                    self.running.insert(timeout.clone());
                    changes.push(Change::Start(timeout.clone(), *after));
                }
                after => {
                    self.cancel(timeout.clone(), &mut changes);
                    self.zero.extend(after.map(|_| timeout.clone()));
                }
            }
        }
        let (waiting, limit) = (self.queue.len() + self.postponed.len() + self.zero.len(), self.events_max);
        assert!(waiting <= limit, "{waiting} events are postponed or inserted, and {limit} is the limit");
        changes
    }

    /// Notes that a timer went off, which is an event now.
    pub(super) fn fired(&mut self, timeout: &Timeout<T>) {
        self.running.remove(timeout);
    }

    /// Takes the event to handle before any that arrives.
    pub(super) fn next(&mut self) -> Option<E> {
        self.queue.pop_front().or_else(|| self.zero.pop_front().map(E::from))
    }

    pub(super) const fn state(&self) -> &S {
        &self.state
    }

    pub(super) const fn postponed(&self) -> usize {
        self.postponed.len()
    }

    pub(super) const fn running(&self) -> &BTreeSet<Timeout<T>> {
        &self.running
    }

    fn cancel(&mut self, timeout: Timeout<T>, changes: &mut Vec<Change<T>>) {
        self.zero.retain(|other| *other != timeout);
        if self.running.remove(&timeout) {
            changes.push(Change::Cancel(timeout));
        }
    }
}

#[cfg(test)]
mod tests;
