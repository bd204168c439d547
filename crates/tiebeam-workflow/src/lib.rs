//! Run code that survives its node, by journal and replay.
