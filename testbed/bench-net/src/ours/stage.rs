use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Pid, Table};

use super::call::Server;
use super::cast::Receiver;

/// The name of each node's [`Stage`].
pub(super) const STAGE: &str = "stage";

/// Starts, on another node, those who play a part there.
pub(super) struct Stage;

/// Whom to start; answered with their pids.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Act {
    Servers {
        count: u64,
    },
    /// Acknowledges each `batch` messages to a sender.
    Receiver {
        sender: Pid,
        batch: u64,
        mailbox_messages_max: u32,
    },
}

impl Actor for Stage {
    type Args = ();

    async fn init((): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self)
    }

    fn table() -> Table<Self> {
        Table::new().call::<Act>(1)
    }
}

impl Handler<Act> for Stage {
    type Reply = Vec<Pid>;

    async fn handle(&mut self, act: Act, ctx: &mut Ctx<Self>) -> Vec<Pid> {
        let mut pids = Vec::new();
        match act {
            Act::Servers { count } => {
                for state in 0..count {
                    let server = ctx.system().spawn::<Server>(state).await;
                    pids.push(server.expect("its init does not fail").pid());
                }
            }
            Act::Receiver { sender, batch, mailbox_messages_max } => {
                let starter = ctx.system().starter().mailbox_messages_max(mailbox_messages_max);
                let receiver = starter.spawn::<Receiver>((sender, batch)).await;
                pids.push(receiver.expect("its init does not fail").pid());
            }
        }
        pids
    }
}
