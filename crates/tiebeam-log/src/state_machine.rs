use bytes::Bytes;

/// What a replicated log is applied to.
///
/// Apply is a function of the log alone: no clock, no randomness, no hash-map order. Two replicas that applied the same
/// commands hold the same state and gave the same replies, byte for byte.
///
/// A command can reach the log twice: whoever proposes it hears nothing when the leader dies between commit and reply,
/// and proposes again. A state machine therefore recognises a command it has already applied (by sequence, by name, by
/// the revision it expects) and answers as it did the first time.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies the committed `command` at `index` of the log and returns the reply for whoever proposed it.
    ///
    /// Called once per index, in order of index. A command that can't be decoded or isn't allowed is answered with an
    /// error reply; it is never skipped silently and never a panic, since it would panic on every replica.
    fn apply(&mut self, index: u64, command: &Bytes) -> Bytes;

    /// Answers a read `request` from the applied state; changes nothing.
    fn query(&self, request: &[u8]) -> Bytes;

    /// Writes down the whole state, so that [`StateMachine::restore`] brings it back.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by the one in `snapshot`.
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are not a snapshot of this state machine; the state is unchanged then.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// A snapshot that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("snapshot can't be read")]
pub struct RestoreError(#[from] pub tiebeam_wire::codec::DecodeError);
