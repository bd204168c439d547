//! Append, sync, read, truncate and recover checksummed segments and snapshots.
