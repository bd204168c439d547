//! The node's directory: whose it is, and how often that node has started on it.

use std::fs::{self, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tiebeam_wire::{Incarnation, NodeId};

/// `node.toml` in the directory: written at the first start, renewed at each.
#[derive(Debug, Deserialize, Serialize)]
struct Owner {
    id: u64,
    cluster: String,
    incarnation: u64,
}

/// Why a directory was refused; nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// The directory can't be made or written.
    #[error("data directory {dir} can't be written")]
    Unwritable {
        /// The directory.
        dir: PathBuf,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// Another process runs on it.
    #[error("data directory {dir} is in use by another process")]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// It holds another node's data.
    #[error(
        "data directory {dir} belongs to node {found_id} of cluster {found_cluster:?}, not to node {id} of cluster {cluster:?}"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found_id: u64,
        /// The owner's cluster.
        found_cluster: String,
        /// Who wanted it.
        id: u64,
        /// The cluster of who wanted it.
        cluster: String,
    },
    /// It is not empty but says not whose it is.
    #[error("data directory {dir} is not empty and has no node.toml: it is no node's directory")]
    Unclaimed {
        /// The directory.
        dir: PathBuf,
    },
    /// Its `node.toml` can't be read.
    #[error("{path} is not valid: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A directory that is this node's, and nobody else's until the claim is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    /// How often the node has started on it, this start included.
    pub(crate) incarnation: Incarnation,
    _lock: fs::File,
}

/// Claims `dir` for the node and counts one more start.
///
/// # Errors
/// [`DataDirError`]; a directory of somebody else's is left as it was.
pub(crate) fn claim(dir: &Path, id: NodeId, cluster: &str) -> Result<Claim, DataDirError> {
    let unwritable = |source| DataDirError::Unwritable { dir: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(unwritable)?;
    let mut owner = owner(dir, id, cluster)?;
    let lock = fs::File::create(dir.join(LOCK)).map_err(unwritable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(unwritable(source)),
    }
    owner.incarnation += 1;
    let text = toml::to_string(&owner).expect("three plain fields are valid TOML");
    replace(dir, text.as_bytes()).map_err(unwritable)?;
    Ok(Claim { incarnation: Incarnation(owner.incarnation), _lock: lock })
}

/// Reads whose directory it is, which may be nobody's yet; changes nothing.
fn owner(dir: &Path, id: NodeId, cluster: &str) -> Result<Owner, DataDirError> {
    let unwritable = |source| DataDirError::Unwritable { dir: dir.to_owned(), source };
    let path = dir.join(OWNER);
    let owner = match fs::read_to_string(&path) {
        Ok(text) => toml::from_str::<Owner>(&text)
            .map_err(|e| DataDirError::Invalid { path: path.clone(), reason: e.message().to_owned() })?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // These two may be left of a first start that was cut off.
            let ours = |name: &std::ffi::OsStr| name == OWNER_NEW || name == LOCK;
            let mut entries = fs::read_dir(dir).map_err(unwritable)?;
            if entries.any(|e| e.is_ok_and(|e| !ours(&e.file_name()))) {
                return Err(DataDirError::Unclaimed { dir: dir.to_owned() });
            }
            Owner { id: id.0, cluster: cluster.to_owned(), incarnation: 0 }
        }
        Err(source) => return Err(unwritable(source)),
    };
    if owner.id != id.0 || owner.cluster != cluster {
        return Err(DataDirError::Foreign {
            dir: dir.to_owned(),
            found_id: owner.id,
            found_cluster: owner.cluster,
            id: id.0,
            cluster: cluster.to_owned(),
        });
    }
    Ok(owner)
}

/// Writes a new file beside the old one and renames it, so that a crash leaves one of the two, whole. The count must be
/// on disk before anybody hears of it: a node that came back with a count it used before would be taken for its former
/// self.
fn replace(dir: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = dir.join(OWNER_NEW);
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(OWNER))?;
    fs::File::open(dir)?.sync_all()
}

const OWNER: &str = "node.toml";
const OWNER_NEW: &str = "node.toml.new";
const LOCK: &str = "node.lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_counts() {
        let dir = tempfile::tempdir().unwrap();
        let starts: Vec<u64> = (0..3).map(|_| claim(dir.path(), NodeId(1), "c").unwrap().incarnation.0).collect();
        assert_eq!(starts, [1, 2, 3]);
    }

    #[test]
    fn directory_of_another_node_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(claim(dir.path(), NodeId(1), "c").unwrap());
        let before = fs::read(dir.path().join("node.toml")).unwrap();
        for (id, cluster) in [(2, "c"), (1, "d")] {
            let error = claim(dir.path(), NodeId(id), cluster).unwrap_err();
            assert!(matches!(error, DataDirError::Foreign { found_id: 1, .. }), "{error}");
        }
        assert_eq!(fs::read(dir.path().join("node.toml")).unwrap(), before);
    }

    #[test]
    fn directory_with_somebodys_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "").unwrap();
        assert!(matches!(claim(dir.path(), NodeId(1), "c"), Err(DataDirError::Unclaimed { .. })));
    }

    /// Would fail if a second start counted: the node that runs would be taken for an earlier self.
    #[test]
    fn directory_in_use_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let running = claim(dir.path(), NodeId(1), "c").unwrap();
        let error = claim(dir.path(), NodeId(1), "c").unwrap_err();
        assert!(matches!(error, DataDirError::InUse { .. }), "{error}");
        drop(running);
        assert_eq!(claim(dir.path(), NodeId(1), "c").unwrap().incarnation, Incarnation(2));
    }
}
