use std::collections::{BTreeMap, BTreeSet};

use crate::{Pid, RegisterError};

/// Who is called what on this node.
#[derive(Debug, Default)]
pub(super) struct Names {
    holders: BTreeMap<String, Pid>,
    names: BTreeMap<Pid, BTreeSet<String>>,
}

impl Names {
    pub(super) fn register(&mut self, name: String, pid: Pid) -> Result<(), RegisterError> {
        match self.holders.get(&name) {
            Some(holder) if *holder != pid => return Err(RegisterError::Taken { name, holder: *holder }),
            _ => {}
        }
        self.names.entry(pid).or_default().insert(name.clone());
        self.holders.insert(name, pid);
        Ok(())
    }

    pub(super) fn unregister(&mut self, name: &str) -> Option<Pid> {
        let pid = self.holders.remove(name)?;
        if let Some(names) = self.names.get_mut(&pid) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(&pid);
            }
        }
        Some(pid)
    }

    pub(super) fn free(&mut self, pid: Pid) {
        for name in self.names.remove(&pid).unwrap_or_default() {
            self.holders.remove(&name);
        }
    }

    pub(super) fn whereis(&self, name: &str) -> Option<Pid> {
        self.holders.get(name).copied()
    }

    pub(super) fn of(&self, pid: Pid) -> Vec<String> {
        self.names.get(&pid).map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }
}
