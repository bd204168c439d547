use tiebeam_actor::{Actor, Addr, Ctx, ExitReason, System};

use super::start;
use crate::watch::{bytes_each, resident_bytes};

struct Idle(#[expect(dead_code, reason = "it is there to take its room")] u64);

pub(super) async fn bytes(system: &System, count: u64) -> anyhow::Result<f64> {
    let before = resident_bytes()?;
    let mut addrs = Vec::with_capacity(count as usize);
    for state in 0..count {
        addrs.push(start::<Idle>(system, state).await?);
    }
    bytes_each(before, count, size_of::<Addr<Idle>>())
}

impl Actor for Idle {
    type Args = u64;

    async fn init(state: u64, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self(state))
    }
}
