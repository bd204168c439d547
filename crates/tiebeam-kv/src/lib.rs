//! Keep keys, linearizable over the log.
