use super::Inner;
use super::file::{Change, Content, write};

/// A drive writes whole sectors, in any order.
const SECTOR_BYTES: usize = 512;

/// Returns what is left of `before` after a power loss.
pub(super) fn crash(before: &Inner, seed: u64) -> Inner {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut names = before.durable_names.clone();
    for change in &before.name_changes {
        if random.bool() {
            change.apply(&mut names);
        }
    }
    let mut files = before.files.clone();
    for content in files.values_mut() {
        let (durable, changes) = content.at_risk();
        let mut left = durable.to_vec();
        for change in changes {
            survive(change, &mut left, &mut random);
        }
        *content = Content::durable(left);
    }
    Inner { files, durable_names: names.clone(), names, ..Inner::default() }
}

fn survive(change: &Change, left: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let fate = random.u8(..4);
    match (fate, change) {
        (0, _) => {}
        (1, Change::Write { offset, bytes }) => write(left, *offset, &bytes[..random.usize(..=bytes.len())]),
        (2, Change::Write { offset, bytes }) => {
            let mut at = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES);
                if random.bool() {
                    write(left, offset + at, &bytes[at..end]);
                }
                at = end;
            }
        }
        _ => change.apply(left),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::disk::Disk;
    use crate::fault::MemDisk;

    #[test]
    fn synced_bytes_and_names_survive_and_others_may_not() {
        let disk = MemDisk::new();
        let file = disk.create(Path::new("d/f")).unwrap();
        file.write_at(b"durable", 0).unwrap();
        file.sync_data().unwrap();
        assert!((0..20).any(|seed| disk.crash(seed).contents("d/f").is_none()), "a name without a sync can be lost");
        disk.sync_dir(Path::new("d")).unwrap();
        file.write_at(b" or not", 7).unwrap();
        let left: Vec<Vec<u8>> = (0..100).map(|seed| disk.crash(seed).contents("d/f").unwrap()).collect();
        assert!(left.iter().all(|bytes| bytes.starts_with(b"durable")));
        assert!(left.iter().any(|bytes| bytes == b"durable"));
        assert!(left.iter().any(|bytes| bytes == b"durable or not"));
        assert!(left.iter().any(|bytes| (8..14).contains(&bytes.len())), "a write can be torn");
    }

    /// After a failed sync the bytes can be read, a second sync succeeds, and a power loss takes them.
    #[test]
    fn failed_sync_loses_what_it_should_have_made_durable() {
        let disk = MemDisk::new();
        let file = disk.create(Path::new("d/f")).unwrap();
        disk.sync_dir(Path::new("d")).unwrap();
        file.write_at(b"gone", 0).unwrap();
        disk.fail_at(disk.operations().len());
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok());
        assert_eq!(disk.contents("d/f").unwrap(), b"gone");
        assert!((0..20).all(|seed| disk.crash(seed).contents("d/f").unwrap().is_empty()));
    }
}
