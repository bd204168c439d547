use std::time::Duration;

/// What a replicator may use, and how often it compares. All nodes must have the same number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Into how many parts the state is cut; a gap is repaired by part. Equal on all nodes.
    pub shards: u16,
    /// How long a change waits for others to be sent with.
    pub batch_interval: Duration,
    /// How many changes wait; one more sends them at once.
    pub batch_deltas_max: usize,
    /// The shortest time between two rounds of digests.
    pub digest_interval_min: Duration,
    /// The longest time between two rounds of digests.
    pub digest_interval_max: Duration,
    /// How many peers get digests in a round; the others have their turn in later ones.
    pub digest_peers_max: usize,
    /// How many shards are asked for at once; others wait for their turn.
    pub asks_max: usize,
    /// How long an answer is waited for; after that the next digest asks again.
    pub answer_timeout: Duration,
    /// Of how many held values one piece of an answer speaks.
    pub piece_dots_max: usize,
    /// The size of a message in bytes; more is sent in several.
    pub message_bytes_max: usize,
    /// The size of a delta in bytes; a larger change is refused. No more than half a message, so that an answer always has
    /// room for it.
    pub delta_bytes_max: usize,
    /// How many values a shard holds; at this number no more may be added here, while what peers added is taken in.
    pub shard_entries_max: usize,
    /// How many peers may be up; one more is refused.
    pub peers_max: usize,
    /// How many outputs wait to be taken; beyond that messages are dropped, and events and changes refused.
    pub outputs_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 64,
            batch_interval: Duration::from_millis(50),
            batch_deltas_max: 256,
            digest_interval_min: Duration::from_secs(1),
            digest_interval_max: Duration::from_secs(2),
            digest_peers_max: 3,
            asks_max: 8,
            answer_timeout: Duration::from_secs(2),
            piece_dots_max: 1_024,
            message_bytes_max: 256 * 1024,
            delta_bytes_max: 64 * 1024,
            shard_entries_max: 10_000,
            peers_max: 500,
            outputs_max: 8_192,
        }
    }
}

impl Config {
    /// Checks that the values fit each other.
    ///
    /// # Panics
    /// If one doesn't.
    pub fn check(&self) {
        assert!(self.shards >= 1, "at least one shard");
        let (delta, message) = (self.delta_bytes_max, self.message_bytes_max);
        assert!(delta <= message / 2, "delta_bytes_max {delta} > half of message_bytes_max {message}");
        let (min, max) = (self.digest_interval_min, self.digest_interval_max);
        assert!(min <= max, "digest_interval_min {min:?} > digest_interval_max {max:?}");
        assert!(min > Duration::ZERO, "digests have an interval");
        let counts = [self.batch_deltas_max, self.digest_peers_max, self.asks_max, self.piece_dots_max];
        assert!(counts.iter().all(|count| *count >= 1), "limits are at least 1: {counts:?}");
        // A digest, an ask and an answer may follow one event; with less room nothing would ever be exchanged.
        assert!(self.outputs_max >= 8, "outputs_max {} < 8", self.outputs_max);
    }
}

/// What a replicator counted since it was made, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Changes made here.
    pub updates: u64,
    /// Messages sent.
    pub sent: u64,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Messages dropped because outputs weren't taken.
    pub dropped: u64,
    /// Messages refused, whatever the reason.
    pub refused: u64,
    /// Digests that were equal in all shards.
    pub digests_equal: u64,
    /// Digests that differed in some shard.
    pub digests_different: u64,
    /// Times that a shard was asked for, each piece counted.
    pub asks: u64,
    /// Asks whose answer didn't come in time.
    pub asks_late: u64,
    /// Pieces sent in answer.
    pub fills: u64,
    /// Values of forgotten replicas that peers still brought.
    pub forgotten_refused: u64,
    /// Values held now.
    pub held: usize,
    /// Ranges of dots in the contexts now: replicas times shards, and more if much is missing.
    pub ranges: usize,
    /// Nodes of which incarnations are forgotten now.
    pub forgotten: usize,
    /// Peers that are up now.
    pub peers: usize,
}
