use super::{Change, DotStore, Value};
use crate::{CausalContext, Dot, DotSet, Live};

/// Why a piece was refused: it was made for a replica that has seen more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("piece counts on dots that were never seen here")]
pub struct KeptError;

/// A part of a state, for a replica that said what it has seen.
///
/// A piece speaks of the dots in its delta's context and of no others. Those that are held and that the receiver has seen
/// are only named, in `kept`: it takes ranges of numbers to name them, and no keys or values. What a piece doesn't speak
/// of, it doesn't remove (delta_crdt removes it: issue 65 there).
#[derive(Clone, Debug)]
pub struct Piece<K, V> {
    /// What the receiver hasn't seen, and what was seen here of this part.
    pub delta: DotStore<K, V>,
    /// What is held of this part and the receiver has seen.
    pub kept: DotSet,
    /// Where the next piece begins; none if this is the last.
    pub next: Option<Dot>,
}

impl<K: Ord + Clone, V: Value> DotStore<K, V> {
    /// Returns what a replica that has seen `seen` lacks, beginning after the dot `after` and speaking of at most
    /// `dots_max` held dots, at least one.
    #[must_use]
    pub fn piece(&self, seen: &CausalContext, after: Option<Dot>, dots_max: usize) -> Piece<K, V> {
        let begin = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut rest = self.dots.range((begin, std::ops::Bound::Unbounded));
        let mut delta = Self::default();
        let (mut kept, mut last) = (DotSet::default(), None);
        for (dot, (key, value)) in rest.by_ref().take(dots_max.max(1)) {
            last = Some(*dot);
            if seen.contains(dot) {
                kept.insert(*dot);
            } else {
                delta.hold(*dot, key.clone(), value.clone());
            }
        }
        let next = last.filter(|_| rest.next().is_some());
        delta.context = self.context.between(after, next);
        Piece { delta, kept, next }
    }

    /// Takes in a piece and returns what that changed for those who see `live`.
    ///
    /// # Errors
    /// [`KeptError`] if it was made for somebody who has seen more, as after a loss of memory; nothing was changed, and
    /// only an answer to what was seen here can help.
    pub fn merge_piece(&mut self, piece: &Piece<K, V>, live: &Live) -> Result<Vec<Change<K, V>>, KeptError> {
        // To count an unseen dot as seen without its value would lose the value for ever.
        if !self.context.covers_dots(&piece.kept) {
            return Err(KeptError);
        }
        Ok(self.absorb(&piece.delta, &piece.kept, live))
    }
}
