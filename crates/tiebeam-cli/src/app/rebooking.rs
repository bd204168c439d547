//! The workflow: for a cancelled flight find another one, reserve a seat on it, tell the passenger.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tiebeam_node::Handle;
use tiebeam_node::wire::codec;
use tiebeam_node::workflow::{Backoff, NewInstance, Registry, Retry, StepCall, StepError, Wf, WorkflowError};

use super::inventory::{self, Release, Reserve};
use crate::flights::Flight;

const NAME: &str = "rebooking";
/// Version of the workflow's input.
const VERSION: u8 = 1;

/// Steps are tried again quickly, since their failures here are staged. An attempt outlasts any failover: it waits for
/// the inventory inside, so that only staged failures count as attempts.
const RETRY: Retry = Retry {
    backoff: Backoff { first: Duration::from_millis(20), max: Duration::from_millis(500) },
    attempts: 8,
    attempt_timeout: Duration::from_secs(300),
};

/// What a rebooking begins with.
#[derive(Debug, Serialize, Deserialize)]
struct Cancelled {
    line: u64,
    carrier: String,
    flight: u16,
    dest: String,
    month: u8,
    day: u8,
}

/// Says whether the reservation for this line fails twice before it goes well.
pub(crate) const fn fails_twice(line: u64) -> bool {
    line.is_multiple_of(7)
}

/// Says whether the passenger of this line can never be told.
pub(crate) const fn fails_for_good(line: u64) -> bool {
    line.is_multiple_of(50)
}

/// The instance for a cancelled flight; its id is the row's line number, so that it starts once.
pub(super) fn instance(line: u64, flight: &Flight<'_>) -> NewInstance {
    let input = Cancelled {
        line,
        carrier: flight.carrier.to_owned(),
        flight: flight.flight,
        dest: flight.dest.to_owned(),
        month: flight.month,
        day: flight.day,
    };
    let input = codec::encode(VERSION, &input).into();
    NewInstance { id: format!("rebook-{line}"), definition: NAME.to_owned(), input }
}

pub(super) fn register(handle: &Handle, registry: &mut Registry) {
    let handle = handle.clone();
    registry.register(NAME, move |wf, input| rebook(wf, input, handle.clone()));
}

async fn rebook(wf: Wf, input: Bytes, handle: Handle) -> Result<Bytes, WorkflowError> {
    let cancelled: Cancelled =
        codec::decode(VERSION, &input).map_err(|e| WorkflowError::abort(format!("input can't be decoded: {e}")))?;
    let line = cancelled.line;

    let alternative: String = wf.run("find", RETRY, |_| async { Ok(next_day(&cancelled)) }).await?;

    let undo = handle.clone();
    let reserve = wf.step("reserve").retry(RETRY).compensate(move |key| {
        let handle = undo.clone();
        async move { inventory::call(&handle, Release { key }).await }
    });
    let seat: String = reserve
        .run(|call: StepCall| {
            let (handle, flight) = (&handle, alternative.clone());
            async move {
                if fails_twice(line) && call.attempt <= 2 {
                    return Err(StepError::Transient("no seat map yet".to_owned()));
                }
                inventory::call(handle, Reserve { key: call.key, flight }).await
            }
        })
        .await?;

    let told = |_| async {
        match fails_for_good(line) {
            true => Err(StepError::Permanent("passenger can't be reached".to_owned())),
            false => Ok(()),
        }
    };
    wf.run("notify", RETRY, told).await?;
    Ok(Bytes::from(seat))
}

/// The same flight on the day after.
fn next_day(cancelled: &Cancelled) -> String {
    let Cancelled { carrier, flight, dest, month, day, .. } = cancelled;
    format!("{carrier}{flight} to {dest}, the day after {month:02}-{day:02}")
}
