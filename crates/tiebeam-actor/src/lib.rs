//! Run, link, monitor and supervise actors in one process.
