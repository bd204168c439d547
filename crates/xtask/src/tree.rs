use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;

/// Folders that hold no sources: what git and the nodes of a local cluster keep.
const FOLDERS_SKIPPED: [&str; 2] = [".git", ".tiebeam"];
/// Cargo marks its output with this file, wherever it was told to put it.
const OUTPUT_MARK: &str = "CACHEDIR.TAG";
/// Larger files are data; they count as present, but nothing reads them.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The files of the repository: paths relative to its root, with `/`, and the text of those that are text.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, Option<String>>,
    folders: BTreeSet<String>,
}

impl Tree {
    /// Reads everything below `root` but build output. Files that aren't UTF-8 are present without a text.
    ///
    /// # Errors
    /// If a folder or a file can't be read.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_file() {
                    let name = path.strip_prefix(root).expect("walked down from the root").to_string_lossy();
                    tree.insert(&name, read_text(&path)?);
                } else if kind.is_dir() && !is_skipped(&path) {
                    folders.push(path);
                }
            }
        }
        Ok(tree)
    }

    /// Builds a tree from paths and texts.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.insert(path, Some((*text).to_owned()));
        }
        tree
    }

    fn insert(&mut self, path: &str, text: Option<String>) {
        let parents = path.match_indices('/').map(|(end, _)| path[..end].to_owned());
        self.folders.extend(parents);
        self.files.insert(path.to_owned(), text);
    }

    /// Returns paths and texts of all text files, by path.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Returns paths and texts of the Rust sources, by path.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// Returns the text of one file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Returns all paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Says whether there is a file or a folder at `path`; the empty path is the root.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        path.is_empty() || self.files.contains_key(path) || self.folders.contains(path)
    }
}

fn is_skipped(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default();
    FOLDERS_SKIPPED.iter().any(|skipped| name == *skipped) || folder.join(OUTPUT_MARK).exists()
}

fn read_text(path: &Path) -> anyhow::Result<Option<String>> {
    let read = || -> io::Result<Option<String>> {
        if fs::metadata(path)?.len() > TEXT_BYTES_MAX {
            return Ok(None);
        }
        Ok(String::from_utf8(fs::read(path)?).ok())
    };
    match read() {
        // An editor's scratch file may go between listing and reading.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_reads_sources_and_skips_output() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("crates/a/src/lib.rs", b"//! A.");
        write("data/raw.bin", b"\xff\xfe");
        write(".ci/run", b"make");
        write("out/CACHEDIR.TAG", b"");
        write("out/debug/b.rs", b"");
        write(".git/c.rs", b"");
        let tree = Tree::read(root.path()).unwrap();
        assert_eq!(tree.paths().collect::<Vec<_>>(), [".ci/run", "crates/a/src/lib.rs", "data/raw.bin"]);
        assert_eq!(tree.texts().map(|(path, _)| path).collect::<Vec<_>>(), [".ci/run", "crates/a/src/lib.rs"]);
        assert_eq!(tree.text("crates/a/src/lib.rs"), Some("//! A."));
        assert!(tree.holds("crates/a") && tree.holds("") && !tree.holds("crates/b"));
    }
}
