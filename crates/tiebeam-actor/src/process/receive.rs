//! What a signal does when it arrives.

use std::sync::atomic::Ordering;

use tiebeam_wire::{Incarnation, NodeId};

use super::Stage;
use crate::cell::Signal;
use crate::raw::item::{Item, Kind, Opened};
use crate::raw::own::Turn;
use crate::trace::TraceKind;
use crate::{Actor, CallError, ExitKind, ExitReason, Pid, Ref};

/// What an exit signal comes to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Ignore,
    Tell,
    Die(ExitReason),
}

/// Decides over an exit signal: the receiving actor `traps`, or it is from itself, of a kind and for a reason.
fn judge(traps: bool, is_own: bool, reason: &ExitReason, kind: ExitKind) -> Verdict {
    match reason {
        // Only an order sent on purpose kills; the same word through a link is a reason like any other.
        ExitReason::Kill if kind == ExitKind::Sent => Verdict::Die(ExitReason::Killed),
        _ if traps => Verdict::Tell,
        ExitReason::Normal if !is_own => Verdict::Ignore,
        _ => Verdict::Die(reason.clone()),
    }
}

impl<A: Actor> Turn<'_, A> {
    /// Takes all that has arrived: signals act, what is to be handled is queued.
    ///
    /// # Errors
    /// The reason to end with, if a signal said so.
    pub(super) fn receive_all(&mut self) -> Result<(), ExitReason> {
        loop {
            loop {
                let course = self.course();
                course.inner.take_front(&mut course.arrived, |item| item.kind() == Kind::Message);
                let Some(item) = course.arrived.next() else { break };
                match item.kind() {
                    Kind::Message | Kind::Encoded => self.course().inner.push(item),
                    Kind::Urgent => self.course().rare.get_or_insert_default().urgent.push(item),
                    Kind::System => self.course().rare.get_or_insert_default().system.push(item),
                    Kind::Signal => {
                        let Opened::Signal(signal) = item.open() else { unreachable!("its kind says so") };
                        self.trace(|| TraceKind::Signal(format!("{signal:?}")));
                        self.receive(signal)?;
                    }
                }
            }
            let arrived = self.cell.mailbox.take();
            if arrived.is_empty() {
                self.drop_oldest();
                return Ok(());
            }
            self.course().arrived = arrived;
        }
    }

    /// Drops messages that waited for longest while there are more than may be, if that is the mailbox's policy.
    #[inline]
    fn drop_oldest(&mut self) {
        while self.cell.credits.is_overdrawn(self.cell.gathered.load(Ordering::Relaxed)) {
            let Some(oldest) = self.course().inner.take_first(Item::has_credit) else { return };
            self.spend();
            self.cell.credits.count_dropped();
            self.refuse(oldest, CallError::Overloaded, &ExitReason::Normal);
        }
    }

    /// # Errors
    /// The reason to end with.
    fn receive(&mut self, signal: Signal) -> Result<(), ExitReason> {
        let cell = self.cell;
        match signal {
            Signal::Link { from } => cell.tie(|ties| ties.links.linked(from)),
            Signal::Unlink { from, id } => {
                cell.if_tied(|ties| ties.links.unlinked(from));
                cell.system.send(from, Signal::UnlinkAck { from: cell.pid(), id });
            }
            Signal::UnlinkAck { from, id } => drop(cell.if_tied(|ties| ties.links.acknowledged(from, id))),
            Signal::Exit { from, reason, kind } => return self.exit_signal(from, reason, kind),
            Signal::Monitor { from, monitor } => drop(cell.tie(|ties| ties.watchers.insert(monitor, from))),
            Signal::Demonitor { from, monitor } => self.demonitored(from, monitor),
            Signal::Down { from, monitor, reason } => self.down(from, monitor, reason),
            Signal::Wait(waiter) => cell.tie(|ties| {
                ties.waiters.retain(|waiter| !waiter.is_closed());
                ties.waiters.push(waiter);
            }),
            Signal::NodeDown { node, incarnation } => return self.node_down(node, incarnation),
            // It stops already, and then the reason is the answer.
            Signal::Abandoned(refuse) if matches!(self.course().stage, Stage::Terminating(_)) => {
                self.queue(Signal::Abandoned(refuse));
            }
            Signal::Abandoned(refuse) => refuse(CallError::Unanswered),
            Signal::Inspect(inspection) => {
                let asked = Item::signal(Signal::Inspect(inspection));
                self.course().rare.get_or_insert_default().system.push(asked);
            }
            Signal::Timer { .. } | Signal::Stop { .. } => self.queue(signal),
        }
        Ok(())
    }

    fn exit_signal(&mut self, from: Pid, reason: ExitReason, kind: ExitKind) -> Result<(), ExitReason> {
        let judged = self.cell.if_tied(|ties| {
            let counts = kind == ExitKind::Sent || ties.links.broken(from, kind);
            counts.then_some(ties.traps_exit)
        });
        // Whoever has no ties has no links and traps nothing.
        let Some(traps) = judged.unwrap_or_else(|| (kind == ExitKind::Sent).then_some(false)) else { return Ok(()) };
        match judge(traps, from == self.cell.pid(), &reason, kind) {
            Verdict::Ignore => {}
            Verdict::Tell => self.queue(Signal::Exit { from, reason, kind }),
            Verdict::Die(reason) => return Err(reason),
        }
        Ok(())
    }

    fn demonitored(&self, from: Pid, monitor: Ref) {
        self.cell.if_tied(|ties| {
            // Only its own watcher may end a monitor.
            if ties.watchers.get(&monitor) == Some(&from) {
                ties.watchers.remove(&monitor);
            }
        });
    }

    fn down(&mut self, from: Pid, monitor: Ref, reason: ExitReason) {
        let fires = self.cell.if_tied(|ties| {
            // Not ours, or fired before (a lost connection and a late word): each monitor tells once.
            let is_ours = ties.monitors.get(&monitor) == Some(&from);
            if is_ours {
                ties.monitors.remove(&monitor);
                ties.downs.insert(monitor);
            }
            is_ours
        });
        if fires == Some(true) {
            self.queue(Signal::Down { from, monitor, reason });
        }
    }

    fn node_down(&mut self, node: NodeId, incarnation: Incarnation) -> Result<(), ExitReason> {
        let lost = self.cell.if_tied(|ties| {
            ties.watchers.retain(|_, pid| (pid.node, pid.incarnation) != (node, incarnation));
            let lost = ties.monitors.iter().filter(|(_, pid)| (pid.node, pid.incarnation) == (node, incarnation));
            (lost.map(|(monitor, pid)| (*monitor, *pid)).collect::<Vec<_>>(), ties.links.lost(node, incarnation))
        });
        let (monitors, links) = lost.unwrap_or_default();
        for (monitor, pid) in monitors {
            self.down(pid, monitor, ExitReason::NoConnection);
        }
        for from in links {
            // The link is gone from the table already, so this passes as if it were sent.
            self.exit_signal(from, ExitReason::NoConnection, ExitKind::Sent)?;
        }
        Ok(())
    }

    /// Puts a signal behind what waits to be handled.
    fn queue(&mut self, signal: Signal) {
        self.course().inner.push(Item::signal(signal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the Erlang reference manual, "Receiving exit signals". Fails if kill is trappable, if a link
    /// converts it, or if a normal end of another takes somebody along.
    #[test]
    fn exit_signals_are_judged_as_in_otp() {
        use ExitKind::{Link, Sent};
        use ExitReason::{Kill, Killed, Normal, Shutdown};
        let cases = [
            (false, false, Normal, Link, Verdict::Ignore),
            (false, false, Normal, Sent, Verdict::Ignore),
            (false, true, Normal, Sent, Verdict::Die(Normal)),
            (true, false, Normal, Link, Verdict::Tell),
            (true, true, Normal, Sent, Verdict::Tell),
            (false, false, Shutdown, Link, Verdict::Die(Shutdown)),
            (true, false, Shutdown, Sent, Verdict::Tell),
            (false, false, Kill, Sent, Verdict::Die(Killed)),
            (true, false, Kill, Sent, Verdict::Die(Killed)),
            (false, false, Kill, Link, Verdict::Die(Kill)),
            (true, false, Kill, Link, Verdict::Tell),
        ];
        for (traps, is_own, reason, kind, verdict) in cases {
            assert_eq!(judge(traps, is_own, &reason, kind), verdict, "{traps} {is_own} {reason} {kind:?}");
        }
    }
}
