use std::sync::Arc;
use std::time::Duration;

use tiebeam_wire::GroupId;

/// When a group writes down its state and lets go of old entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshots {
    /// Never: the log itself is the data, and the state is rebuilt from it at each start.
    Never,
    /// Each time this many entries were applied since the last one; [`GroupConfig::entries_kept`] stay behind it.
    Every(u64),
}

/// How a group keeps time and room.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// How often a leader shows itself to its followers. Default 250 ms; an idle group costs a few wake-ups a beat.
    pub heartbeat_interval: Duration,
    /// A follower that heard nothing for the end of this range, which is the leader's lease, and then a random time in
    /// the range, becomes a candidate. Default 700 ms to 1.1 s: a dead leader has a successor 1.8 s to 2.2 s later.
    pub election_timeout: (Duration, Duration),
    /// Default: every 200,000 entries.
    pub snapshots: Snapshots,
    /// Entries that stay in the log behind a snapshot. Default 100,000, and not to be lowered outside of tests: a purge
    /// that came near the applied index would meet openraft's unwrap of an entry that is gone (upstream 2116).
    pub entries_kept: u64,
    /// Most bytes of entries in one append to a follower; at least one entry goes out in any case. Default 4 MiB.
    pub append_bytes_max: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(250),
            election_timeout: (Duration::from_millis(700), Duration::from_millis(1_100)),
            snapshots: Snapshots::Every(200_000),
            entries_kept: 100_000,
            append_bytes_max: 4 * 1024 * 1024,
        }
    }
}

impl GroupConfig {
    /// The pace of the metadata group: it fails over in 1.1 s to 1.4 s, and there is only one of it.
    #[must_use]
    pub fn fast() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: (Duration::from_millis(400), Duration::from_millis(700)),
            ..Self::default()
        }
    }

    pub(crate) fn raft(&self, group: GroupId) -> Result<Arc<openraft::Config>, openraft::ConfigError> {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: group.to_string(),
            heartbeat_interval: ms(self.heartbeat_interval),
            election_timeout_min: ms(self.election_timeout.0),
            election_timeout_max: ms(self.election_timeout.1),
            install_snapshot_timeout: 30_000,
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.entries_kept,
            enable_pre_vote: Some(true),
            // A restored leader doesn't know what it had committed before it went away, and its old term's blank entry is
            // no barrier any more: reads would miss the last of what was acknowledged (Raft thesis 6.4; upstream 1511).
            enable_leader_restore: Some(false),
            ..openraft::Config::default()
        };
        config.validate().map(Arc::new)
    }
}
