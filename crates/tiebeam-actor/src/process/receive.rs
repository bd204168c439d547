//! What a signal does when it arrives.

use super::{Inner, Runner};
use crate::cell::{Item, Process, Signal};
use crate::{Actor, CallError, ExitKind, ExitReason, Info, Pid, Ref};

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

impl<A: Actor> Runner<A> {
    /// Lets a signal act, or queues what is to be handled.
    ///
    /// # Errors
    /// The reason to end with.
    pub(super) fn receive(&mut self, item: Item<A>) -> Result<(), ExitReason> {
        let signal = match item {
            Item::Message(message) => {
                self.inner.push_back(Inner::Message(message));
                return Ok(());
            }
            Item::Signal(signal) => signal,
        };
        match signal {
            Signal::Link { from } => self.cell.ties().links.linked(from),
            Signal::Unlink { from, id } => {
                self.cell.ties().links.unlinked(from);
                self.cell.system.send(from, Signal::UnlinkAck { from: self.cell.pid, id });
            }
            Signal::UnlinkAck { from, id } => self.cell.ties().links.acknowledged(from, id),
            Signal::Exit { from, reason, kind } => return self.exit_signal(from, reason, kind),
            Signal::Monitor { from, monitor } => drop(self.cell.ties().watchers.insert(monitor, from)),
            Signal::Demonitor { from, monitor } => self.demonitored(from, monitor),
            Signal::Down { from, monitor, reason } => self.down(from, monitor, reason),
            Signal::Wait(waiter) => {
                let mut ties = self.cell.ties();
                ties.waiters.retain(|waiter| !waiter.is_closed());
                ties.waiters.push(waiter);
            }
            Signal::Timer { id, tag } => self.inner.push_back(Inner::Timer { id, tag }),
            Signal::NodeDown { node, incarnation } => return self.node_down(node, incarnation),
            Signal::Abandoned(refuse) => refuse(CallError::Unanswered),
            Signal::Stop { reason } => self.inner.push_back(Inner::Stop(reason)),
        }
        Ok(())
    }

    fn exit_signal(&mut self, from: Pid, reason: ExitReason, kind: ExitKind) -> Result<(), ExitReason> {
        let traps = {
            let mut ties = self.cell.ties();
            if kind != ExitKind::Sent && !ties.links.broken(from, kind) {
                return Ok(());
            }
            ties.traps_exit
        };
        match judge(traps, from == self.cell.pid, &reason, kind) {
            Verdict::Ignore => {}
            Verdict::Tell => self.inner.push_back(Inner::Exit { from, reason }),
            Verdict::Die(reason) => return Err(reason),
        }
        Ok(())
    }

    fn demonitored(&self, from: Pid, monitor: Ref) {
        let mut ties = self.cell.ties();
        // Only its own watcher may end a monitor.
        if ties.watchers.get(&monitor) == Some(&from) {
            ties.watchers.remove(&monitor);
        }
    }

    fn down(&mut self, from: Pid, monitor: Ref, reason: ExitReason) {
        let mut ties = self.cell.ties();
        // Not ours, or fired before (a lost connection and a late word): each monitor tells once.
        if ties.monitors.get(&monitor) != Some(&from) {
            return;
        }
        ties.monitors.remove(&monitor);
        ties.downs.insert(monitor);
        drop(ties);
        self.inner.push_back(Inner::Down(Info::Down { monitor, pid: from, reason }));
    }

    fn node_down(
        &mut self,
        node: tiebeam_wire::NodeId,
        incarnation: tiebeam_wire::Incarnation,
    ) -> Result<(), ExitReason> {
        let (monitors, links) = {
            let mut ties = self.cell.ties();
            ties.watchers.retain(|_, pid| (pid.node, pid.incarnation) != (node, incarnation));
            let lost = ties.monitors.iter().filter(|(_, pid)| (pid.node, pid.incarnation) == (node, incarnation));
            (lost.map(|(monitor, pid)| (*monitor, *pid)).collect::<Vec<_>>(), ties.links.lost(node, incarnation))
        };
        for (monitor, pid) in monitors {
            self.down(pid, monitor, ExitReason::NoConnection);
        }
        for from in links {
            // The link is gone from the table already, so this passes as if it were sent.
            self.exit_signal(from, ExitReason::NoConnection, ExitKind::Sent)?;
        }
        Ok(())
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
