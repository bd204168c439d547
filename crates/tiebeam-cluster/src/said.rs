//! What a node says of itself: its program's version, its zone, whether it is ready, how loaded it is. It is hearsay: for
//! choosing and for showing, not for proving.
//!
//! A kind of shared things of its own carries it, so edges that keep to cores are heard as well; and who isn't reached says
//! nothing. Little, and seldom: below 300 bytes a node, and a load is rounded so that it doesn't change all the time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tiebeam_actor::Pid;
use tiebeam_crdt::ReplicaId;
use tokio::sync::watch;

use crate::node::Node;
use crate::sharing::plane::{Kind, Plane, ShareError};
use crate::standing::{Standing, Strategy};

/// The longest version of a program, in bytes; longer ones are cut.
pub const VERSION_BYTES_MAX: usize = 32;
/// The longest zone, in bytes; longer ones are cut.
pub const ZONE_BYTES_MAX: usize = 64;
/// The longest reason why a node isn't ready, in bytes; longer ones are cut.
pub const WHY_BYTES_MAX: usize = 100;
/// The highest load that is told, in percent.
pub const LOAD_PERCENT_MAX: u32 = 1_000;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The version of its program; empty if it says none, or nothing was heard yet.
    pub version: String,
    /// Its zone; empty if it says none.
    pub zone: String,
    /// Whether it is ready for work.
    pub readiness: Readiness,
    /// Its load in percent of what it can do, rounded to tens; above 100 if work waits.
    pub load_percent: u32,
}

/// Whether a node is ready for work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing was heard yet.
    #[default]
    Unsaid,
    /// It is.
    Ready,
    /// It isn't, for this reason.
    NotReady(String),
}

/// What this node is told to say.
#[derive(Debug)]
pub(crate) struct SaidCell(watch::Sender<Said>);

impl SaidCell {
    pub(crate) fn new(version: &str, zone: &str) -> Self {
        let (version, zone) = (cut(version, VERSION_BYTES_MAX), cut(zone, ZONE_BYTES_MAX));
        // Whoever says nothing of it is ready as soon as it is there.
        Self(watch::Sender::new(Said { version, zone, readiness: Readiness::Ready, load_percent: 0 }))
    }

    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        let readiness = match readiness {
            Readiness::NotReady(why) => Readiness::NotReady(cut(&why, WHY_BYTES_MAX)),
            other => other,
        };
        self.0.send_if_modified(|said| std::mem::replace(&mut said.readiness, readiness.clone()) != readiness);
    }

    pub(crate) fn load_percent(&self) -> u32 {
        self.0.borrow().load_percent
    }

    pub(crate) fn set_load(&self, percent: u32) {
        self.0.send_if_modified(|said| {
            let rounded = rounded(said.load_percent, percent);
            std::mem::replace(&mut said.load_percent, rounded) != rounded
        });
    }
}

/// Rounds a load to tens, and leaves it as it was told while it is not nearer to another: a load that wavers around 15 would
/// else be told as 10 and 20 in turn.
fn rounded(told: u32, percent: u32) -> u32 {
    let percent = percent.min(LOAD_PERCENT_MAX);
    if told.abs_diff(percent) <= STAY_WITHIN { told } else { (percent + 5) / 10 * 10 }
}

/// By how much a load may differ from what was told, in percent.
const STAY_WITHIN: u32 = 7;

/// What a node says now: who is cut off is not ready, whatever else it is.
pub(crate) fn now(node: &Node) -> Said {
    let mut said = node.said.0.borrow().clone();
    let decides = node.config.standing.strategy == Strategy::Majority && !node.voters.now().nodes.is_empty();
    if decides {
        match node.standing.now() {
            Standing::Majority => {}
            Standing::Unknown => said.readiness = Readiness::NotReady("no majority of voters reached yet".to_owned()),
            Standing::CutOff { .. } => said.readiness = Readiness::NotReady("cut off from the majority".to_owned()),
        }
    }
    said
}

/// What a node says, as it is shared; the order of fields is the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Words {
    version: String,
    zone: String,
    ready: String,
    load_percent: u32,
}

/// What starts of nodes say of themselves.
pub(crate) struct SaidKind;

impl Kind for SaidKind {
    type Key = ReplicaId;
    type Value = Words;
    type Topic = ReplicaId;
    type Entry = ();

    const LANE: u8 = 4;
    const NAME: &'static str = "said";

    fn place(key: &ReplicaId) -> (ReplicaId, ()) {
        (*key, ())
    }

    fn holder(key: &ReplicaId, _: &Words) -> Pid {
        Pid { node: key.node, incarnation: key.incarnation, serial: 0 }
    }

    fn plane(node: &Node) -> &Plane<Self> {
        &node.sharing.said
    }
}

/// What a start of a node says, as far as it was heard.
pub(crate) fn of(node: &Node, start: ReplicaId) -> Said {
    node.sharing.said.read(|core| core.board.seen(&start, &()).map(read).unwrap_or_default())
}

fn words(said: &Said) -> Words {
    let ready = match &said.readiness {
        Readiness::Unsaid => String::new(),
        Readiness::Ready => READY.to_owned(),
        Readiness::NotReady(why) => format!("{NOT_READY}{why}"),
    };
    Words { version: said.version.clone(), zone: said.zone.clone(), ready, load_percent: said.load_percent }
}

/// Reads what was shared; what is too long is cut, what can't be read was not said.
fn read(words: &Words) -> Said {
    let readiness = match words.ready.strip_prefix(NOT_READY) {
        Some(why) => Readiness::NotReady(cut(why, WHY_BYTES_MAX)),
        None if words.ready == READY => Readiness::Ready,
        None => Readiness::Unsaid,
    };
    Said {
        version: cut(&words.version, VERSION_BYTES_MAX),
        zone: cut(&words.zone, ZONE_BYTES_MAX),
        readiness,
        load_percent: words.load_percent.min(LOAD_PERCENT_MAX),
    }
}

const READY: &str = "yes";
const NOT_READY: &str = "no ";

/// Shares what this node says whenever that changes, for ever.
pub(crate) async fn run(node: Arc<Node>) {
    let (mut said, mut standing, mut voters) = (node.said.0.subscribe(), node.standing.watch(), node.voters.watch());
    let me = ReplicaId::new(node.me.node, node.me.incarnation);
    let mut last = None;
    loop {
        // Noted as seen before it is looked at: what changes in between is looked at again.
        said.borrow_and_update();
        standing.borrow_and_update();
        voters.borrow_and_update();
        let now = words(&now(&node));
        if last.as_ref() != Some(&now) {
            let holder = SaidKind::holder(&me, &now);
            let shared = node.sharing.said.change(&node, holder, &me, |_| Ok::<_, ShareError>(Some(now.clone())));
            if let Err(error) = shared {
                tracing::warn!(%error, "others can't be told how this node is");
            }
            last = Some(now);
        }
        tokio::select! {
            // The senders live as long as the node.
            _ = said.changed() => {}
            _ = standing.changed() => {}
            _ = voters.changed() => {}
        }
    }
}

/// The beginning of a text, up to a whole character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_as_it_was() {
        let not = Readiness::NotReady("disk is full".to_owned());
        for readiness in [Readiness::Unsaid, Readiness::Ready, not] {
            let (version, zone) = ("1.2.3".to_owned(), "eu-1".to_owned());
            let said = Said { version, zone, readiness, load_percent: 70 };
            assert_eq!(read(&words(&said)), said);
        }
    }

    #[test]
    fn words_are_golden() {
        let why = Readiness::NotReady("x".to_owned());
        let said = Said { version: "1".to_owned(), zone: "z".to_owned(), readiness: why, load_percent: 70 };
        let bytes = tiebeam_wire::codec::encode(1, &words(&said));
        assert_eq!(bytes, [1, 1, b'1', 1, b'z', 4, b'n', b'o', b' ', b'x', 70]);
    }

    /// A member can't make others keep more of it than they would say themselves.
    #[test]
    fn what_is_too_long_is_not_taken() {
        let (version, ready) = ("ä".repeat(1_000), format!("no {}", "ä".repeat(1_000)));
        let said = read(&Words { zone: version.clone(), version, ready, load_percent: 99_999 });
        let Readiness::NotReady(why) = &said.readiness else { panic!("{said:?}") };
        assert_eq!((said.version.len(), said.zone.len(), why.len(), said.load_percent), (32, 64, 100, 1_000));
    }

    #[test]
    fn load_is_told_in_tens_and_only_when_it_has_moved() {
        let mut told = 0;
        let heard: Vec<u32> = [3, 7, 8, 15, 16, 14, 17, 18, 12, 60, 5_000]
            .into_iter()
            .map(|percent| {
                told = rounded(told, percent);
                told
            })
            .collect();
        assert_eq!(heard, [0, 0, 10, 10, 10, 10, 10, 20, 10, 60, 1_000]);
    }
}
