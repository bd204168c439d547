//! What the log and the snapshots promise, tried on disks that break.

mod damage;
mod failure;
mod model;
mod moments;
mod power;
mod real;
mod segments;
mod snapshots;
mod support;
