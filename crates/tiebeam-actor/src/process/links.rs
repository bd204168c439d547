//! One process's ends of its links. Pure: it is told what happened and says what to send or whether to act.
//!
//! A link has two ends that learn of each other by signals, so both may change at once. Each unlink therefore carries an
//! id and is acknowledged, and until then nothing that the other end says about the link counts: it was said about the
//! old one. Without that, an unlink that crosses a link leaves one end linked and the other not (OTP had this defect
//! until release 23).

use std::collections::BTreeMap;

use tiebeam_wire::{Incarnation, NodeId};

use crate::{ExitKind, Pid};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Link {
    active: bool,
    /// The last unlink that was not acknowledged.
    unlinking: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    ends: BTreeMap<Pid, Link>,
    unlinks: u64,
}

impl Links {
    /// Links to `pid`; says whether a signal must be sent: there is one link per pair.
    pub(crate) fn link(&mut self, pid: Pid) -> bool {
        let link = self.ends.entry(pid).or_default();
        !std::mem::replace(&mut link.active, true)
    }

    /// Unlinks from `pid`; returns the id to send, none if there is no link.
    pub(crate) fn unlink(&mut self, pid: Pid) -> Option<u64> {
        let link = self.ends.get_mut(&pid).filter(|link| link.active)?;
        self.unlinks += 1;
        *link = Link { active: false, unlinking: Some(self.unlinks) };
        Some(self.unlinks)
    }

    /// Drops this end without a word to the other; for a start that failed.
    pub(crate) fn forget(&mut self, pid: Pid) {
        self.ends.remove(&pid);
    }

    /// The other end linked itself to this process.
    pub(crate) fn linked(&mut self, pid: Pid) {
        let link = self.ends.entry(pid).or_default();
        // Sent before the other end saw our unlink, which will undo it there: both ends must agree.
        if link.unlinking.is_none() {
            link.active = true;
        }
    }

    /// The other end unlinked itself; the caller acknowledges.
    pub(crate) fn unlinked(&mut self, pid: Pid) {
        let Some(link) = self.ends.get_mut(&pid) else { return };
        link.active = false;
        if link.unlinking.is_none() {
            self.ends.remove(&pid);
        }
    }

    /// The other end acknowledged our unlink `id`.
    pub(crate) fn acknowledged(&mut self, pid: Pid, id: u64) {
        let Some(link) = self.ends.get_mut(&pid).filter(|link| link.unlinking == Some(id)) else { return };
        link.unlinking = None;
        if !link.active {
            self.ends.remove(&pid);
        }
    }

    /// The link broke; says whether the exit counts.
    pub(crate) fn broken(&mut self, pid: Pid, kind: ExitKind) -> bool {
        let Some(link) = self.ends.get_mut(&pid) else { return false };
        // The end that died had not seen our unlink: it died in the old link. The new one will be refused as broken.
        if kind == ExitKind::Link && link.unlinking.is_some() {
            return false;
        }
        let acts = std::mem::replace(&mut link.active, false);
        if link.unlinking.is_none() {
            self.ends.remove(&pid);
        }
        acts
    }

    /// Drops every link to this start of `node`; returns the ends that were linked.
    pub(crate) fn lost(&mut self, node: NodeId, incarnation: Incarnation) -> Vec<Pid> {
        let gone = self.ends.extract_if(.., |pid, _| (pid.node, pid.incarnation) == (node, incarnation));
        gone.filter(|(_, link)| link.active).map(|(pid, _)| pid).collect()
    }

    /// Lists the processes that this one is linked to.
    pub(crate) fn active(&self) -> impl Iterator<Item = Pid> + '_ {
        self.ends.iter().filter(|(_, link)| link.active).map(|(pid, _)| *pid)
    }
}

#[cfg(test)]
mod tests;
