//! Code change: a new life takes over the state of the former, as newer code understands it.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use tiebeam::{ExitReason, Incarnation, NodeId, System};

/// What runs today. In reality the two versions are two builds, and what is exported crosses a file between them.
mod old {
    use tiebeam::{CodeChange, Ctx, ExitReason, Exported};

    pub(crate) struct Poll {
        yes: u64,
    }

    #[tiebeam::actor(vis = pub(crate))]
    impl Poll {
        fn init() -> Self {
            Self { yes: 0 }
        }

        #[call]
        fn vote(&mut self) -> u64 {
            self.yes += 1;
            self.yes
        }
    }

    impl CodeChange for Poll {
        const VERSION: u32 = 1;

        fn export(&self) -> Vec<u8> {
            self.yes.to_string().into_bytes()
        }

        /// Knows its own version only; of a later one it can't know anything.
        async fn import(exported: Exported, (): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
            let Exported { version, state } = exported;
            let yes = String::from_utf8(state).ok().filter(|_| version == Self::VERSION);
            let yes = yes.and_then(|yes| yes.parse().ok());
            Ok(Self { yes: yes.ok_or_else(|| ExitReason::Other(format!("version {version} can't be read")))? })
        }
    }
}

/// What is to run tomorrow: one can also vote against.
mod new {
    use tiebeam::{CodeChange, Ctx, ExitReason, Exported};

    pub(crate) struct Poll {
        yes: u64,
        no: u64,
    }

    #[tiebeam::actor(vis = pub(crate))]
    impl Poll {
        fn init() -> Self {
            Self { yes: 0, no: 0 }
        }

        #[call]
        fn vote(&mut self, is_for: bool) -> (u64, u64) {
            *(if is_for { &mut self.yes } else { &mut self.no }) += 1;
            (self.yes, self.no)
        }
    }

    impl CodeChange for Poll {
        const VERSION: u32 = 2;

        fn export(&self) -> Vec<u8> {
            format!("{} {}", self.yes, self.no).into_bytes()
        }

        async fn import(exported: Exported, (): (), _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
            let text = String::from_utf8_lossy(&exported.state);
            let counts: Option<Vec<u64>> = text.split(' ').map(|count| count.parse().ok()).collect();
            match (exported.version, counts.as_deref()) {
                // The old version knew no votes against.
                (1, Some(&[yes])) => Ok(Self { yes, no: 0 }),
                (2, Some(&[yes, no])) => Ok(Self { yes, no }),
                (version, _) => Err(ExitReason::Other(format!("version {version} can't be read"))),
            }
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    use new::PollClient as _;
    use old::PollClient as _;

    let system = System::new(NodeId(1), Incarnation(1));
    let before = system.starter().named("poll").spawn::<old::Poll>(()).await?;
    before.vote().await?;
    println!("votes in the old version: {}", before.vote().await?);

    // Held, so that no vote is counted behind the export. If anything fails from here on, `resume` is the way back.
    system.suspend(before.pid()).await?;
    let exported = before.export().await?;
    println!("exported: version {}, {} bytes", exported.version, exported.state.len());
    let after = system.starter().import::<new::Poll>(exported, ()).await?;

    // Only now the former life ends. Calls that waited there fail, so that their callers know to vote again.
    let ended = system.wait(before.pid());
    system.exit(before.pid(), ExitReason::Shutdown);
    println!("the old version ended: {}", ended.await);
    system.register("poll", after.pid())?;
    let poll = system.named::<new::Poll>(system.node(), "poll");
    let counts = poll.vote(false).await?;
    println!("votes in the new version: {counts:?}");
    assert_eq!(counts, (2, 1));

    // The way back to the old code is closed, and it says so instead of guessing.
    let refused = system.starter().import::<old::Poll>(after.export().await?, ()).await.err();
    println!("the old version with the state of the new: {refused:?}");
    assert_eq!(refused, Some(ExitReason::Other("version 2 can't be read".into())));
    Ok(())
}
