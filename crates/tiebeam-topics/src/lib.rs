//! Keep partitioned records, deduplicated and replicated, and feed consumers beside them.
