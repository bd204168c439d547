//! Scenarios that chance meets too seldom.

use crate::scenario::{Kind, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    let processes: [&[&str]; 6] = [
        // The word of the end waits when the monitor is ended.
        &[
            "spawn p0 plain -",
            "spawn p1 plain -",
            "do p0 monitor:p1:m1",
            "do p0 wait demonitor:m1",
            "outside p1 x1",
            "release p0",
        ],
        &[
            "spawn p0 trap -",
            "spawn p1 plain -",
            "do p0 link:p1",
            "do p0 wait unlink:p1",
            "outside p1 x1",
            "release p0",
        ],
        // An exit acts behind what waits, on one who waits.
        &["spawn p0 plain -", "do p0 wait send:p0:1", "do p0 send:p0:2", "outside p0 x1"],
        // A kill ends who cleans up, and what it would have ended with is forgotten.
        &["spawn p0 trap -", "spawn p1 trap p0", "do p1 linger:shutdown", "outside p1 x1", "outside p1 kill"],
        // An answer that comes too late is not the next call's.
        &["spawn p0 plain -", "spawn p1 plain -", "do p0 call:p1:never", "do p0 call:p1:defer", "do p1 answer"],
        // The name is free for the next when the end is heard.
        &[
            "spawn p0 plain -",
            "spawn p1 plain -",
            "register n0 p1",
            "do p0 monitor:p1:m1 exit:p1:kill",
            "register n0 p0",
        ],
    ];
    processes.into_iter().map(|steps| Scenario::by_hand(Kind::Processes, steps)).collect()
}
