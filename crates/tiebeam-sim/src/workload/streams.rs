//! On each node a source for every other node casts numbered notes to the sink there.
//!
//! A source watches its sink by a monitor, and counts its epochs by the monitors that ended with `NoConnection`: all notes
//! of one epoch go over one connection. A sink watches each source in turn.
//!
//! Must hold, for each pair: within an epoch numbers follow each other from its first one on, without holes, doubles or
//! disorder. Between two epochs the sink is told that the source is gone. After it was told, no note of that epoch arrives;
//! after a note of a node's later start, none of an earlier one. In the end notes arrive at everybody's.
//!
//! Breaks if, for example, a frame is delivered after the end of its session was told, a session's end is told to nobody,
//! two signals of a lane change places, or a frame is sent again on the next connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tiebeam_actor::{Actor, Ctx, ExitReason, Handler, Info, Pid, Ref, Table};
use tiebeam_wire::{Incarnation, NodeId};

use super::{End, Workload, lock};
use crate::outside::Outside;
use crate::site::{Site, draw};

/// How long after the last note a pair counts as stalled in the end, in nanoseconds.
const STALLED_NANOS: u64 = 5_000_000_000;
const NAME: &str = "sink";

/// The workload.
#[derive(Debug, Default)]
pub struct Streams {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// The last number that each source cast.
    cast: BTreeMap<Pid, u64>,
    /// When the last note of a source arrived at a node's start.
    arrived: BTreeMap<(NodeId, NodeId, Incarnation), u64>,
    heard: u64,
}

impl Workload for Streams {
    fn begin(&self, site: Site) -> BoxFuture<'static, ()> {
        let book = Arc::clone(&self.book);
        async move {
            let outside = Arc::clone(&site.outside);
            let sink = site.system.starter().named(NAME).spawn::<Sink>((Arc::clone(&outside), Arc::clone(&book)));
            if let Err(error) = sink.await {
                outside.fail(format!("sink does not start: {error}"));
            }
            for target in site.nodes.iter().filter(|target| **target != site.node()) {
                let source = site.system.spawn::<Source>((site.clone(), Arc::clone(&book), *target));
                if let Err(error) = source.await {
                    outside.fail(format!("source does not start: {error}"));
                }
            }
        }
        .boxed()
    }

    fn check(&self, end: &End) {
        let book = lock(&self.book);
        let (now, cast) = (end.outside.now(), book.cast.values().sum::<u64>());
        end.outside.tell(NodeId(0), format!("streams: {cast} notes cast, {} heard", book.heard));
        for from in end.latest.keys() {
            for (to, incarnation) in end.latest.iter().filter(|(to, _)| *to != from) {
                let arrived = book.arrived.get(&(*from, *to, *incarnation));
                if arrived.is_none_or(|at| at + STALLED_NANOS < now) {
                    end.outside
                        .fail(format!("notes of {from} no longer arrive at {to}: the last one did at {arrived:?}"));
                }
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    from: Pid,
    epoch: u64,
    /// The first number of the epoch.
    first: u64,
    number: u64,
    /// As long as the number says; some take many packets.
    body: Vec<u8>,
}

/// How long the body of a note is: mostly nothing, sometimes many packets.
fn body_bytes(number: u64) -> usize {
    if number.is_multiple_of(23) { usize::try_from(number % 29 * 1500).unwrap_or(0) } else { 0 }
}

#[derive(Debug, Serialize, Deserialize)]
struct Who;

struct Found(Result<Pid, ()>);

/// Casts notes to one node.
struct Source {
    site: Site,
    book: Arc<Mutex<Book>>,
    target: NodeId,
    sink: Option<(Pid, Ref)>,
    epoch: u64,
    first: u64,
    number: u64,
}

impl Actor for Source {
    type Args = (Site, Arc<Mutex<Book>>, NodeId);

    async fn init((site, book, target): Self::Args, ctx: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        ctx.send_after(Duration::from_millis(draw(1..500)), 0);
        Ok(Self { site, book, target, sink: None, epoch: 0, first: 1, number: 0 })
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        match info {
            Info::Timer(_) => {
                if let Some((sink, _)) = self.sink {
                    (0..draw(1..4)).for_each(|_| self.cast(sink, ctx));
                    ctx.send_after(Duration::from_millis(draw(100..900)), 0);
                } else {
                    self.look(ctx);
                }
            }
            Info::Down { monitor, reason, .. } => {
                if self.sink.is_none_or(|(_, current)| current != monitor) {
                    return self.site.outside.fail(format!("source {} is told down twice", ctx.pid()));
                }
                self.sink = None;
                if reason == ExitReason::NoConnection {
                    self.epoch += 1;
                    self.first = self.number + 1;
                }
            }
            _ => {}
        }
    }
}

impl Source {
    fn cast(&mut self, sink: Pid, ctx: &Ctx<Self>) {
        let (epoch, first, number) = (self.epoch, self.first, self.number + 1);
        let body = vec![number.to_be_bytes()[7]; body_bytes(number)];
        let note = Note { from: ctx.pid(), epoch, first, number, body };
        if self.site.system.addr::<Sink>(sink).try_cast(note).is_ok() {
            self.number += 1;
            lock(&self.book).cast.insert(ctx.pid(), self.number);
        }
    }

    fn look(&self, ctx: &mut Ctx<Self>) {
        let (named, me) = (self.site.system.named::<Sink>(self.target, NAME), ctx.addr());
        ctx.spawn_task(async move {
            let found = named.call(Who).timeout(Duration::from_secs(1)).await;
            let _ = me.try_cast(Found(found.map_err(drop)));
        });
    }
}

impl Handler<Found> for Source {
    type Reply = ();

    async fn handle(&mut self, Found(found): Found, ctx: &mut Ctx<Self>) {
        if let Ok(sink) = found {
            self.sink = Some((sink, ctx.monitor(sink)));
            // Another sink's numbers begin anew.
            self.first = self.number + 1;
        }
        ctx.send_after(Duration::from_millis(draw(50..500)), 0);
    }
}

/// Takes the notes of all sources.
struct Sink {
    outside: Arc<Outside>,
    book: Arc<Mutex<Book>>,
    sources: BTreeMap<Pid, Heard>,
    latest: BTreeMap<NodeId, Incarnation>,
}

struct Heard {
    epoch: u64,
    number: u64,
    /// None after it ended.
    monitor: Option<Ref>,
}

impl Actor for Sink {
    type Args = (Arc<Outside>, Arc<Mutex<Book>>);

    async fn init((outside, book): Self::Args, _: &mut Ctx<Self>) -> Result<Self, ExitReason> {
        Ok(Self { outside, book, sources: BTreeMap::new(), latest: BTreeMap::new() })
    }

    async fn info(&mut self, info: Info, ctx: &mut Ctx<Self>) {
        let Info::Down { monitor, pid, .. } = info else { return };
        match self.sources.get_mut(&pid) {
            Some(heard) if heard.monitor == Some(monitor) => heard.monitor = None,
            _ => self.outside.fail(format!("sink {} is told down of {pid} twice", ctx.pid())),
        }
    }

    fn table() -> Table<Self> {
        Table::new().cast::<Note>(1).call::<Who>(2)
    }
}

impl Handler<Who> for Sink {
    type Reply = Pid;

    async fn handle(&mut self, _: Who, ctx: &mut Ctx<Self>) -> Pid {
        ctx.pid()
    }
}

impl Handler<Note> for Sink {
    type Reply = ();

    async fn handle(&mut self, note: Note, ctx: &mut Ctx<Self>) {
        if let Err(broken) = self.hear(&note) {
            let Note { from, epoch, first, number, .. } = note;
            let note = format!("note {number} of {from}, epoch {epoch} from {first} on");
            self.outside.fail(format!("sink {} hears {note}: {broken}", ctx.pid()));
        }
        let heard = self.sources.entry(note.from).or_insert(Heard { epoch: 0, number: 0, monitor: None });
        (heard.epoch, heard.number) = (note.epoch, note.number);
        heard.monitor.get_or_insert_with(|| ctx.monitor(note.from));
        let now = self.outside.now();
        let mut book = lock(&self.book);
        book.heard += 1;
        book.arrived.insert((note.from.node, ctx.pid().node, ctx.pid().incarnation), now);
    }
}

impl Sink {
    fn hear(&mut self, note: &Note) -> Result<(), String> {
        let latest = self.latest.entry(note.from.node).or_insert(note.from.incarnation);
        if note.from.incarnation < *latest {
            return Err(format!("{latest} of the node was heard before"));
        }
        *latest = note.from.incarnation;
        if note.body.len() != body_bytes(note.number)
            || note.body.iter().any(|byte| *byte != note.number.to_be_bytes()[7])
        {
            return Err("its body is another's".to_owned());
        }
        if lock(&self.book).cast.get(&note.from).is_none_or(|cast| *cast < note.number) {
            return Err("it was never cast".to_owned());
        }
        let Some(heard) = self.sources.get(&note.from).filter(|heard| heard.epoch == note.epoch) else {
            let former = self.sources.get(&note.from);
            return match former {
                _ if note.number != note.first => Err("it is not the first of its epoch".to_owned()),
                Some(heard) if heard.epoch > note.epoch => Err(format!("epoch {} was heard before", heard.epoch)),
                Some(heard) if heard.monitor.is_some() => Err(format!("the end of epoch {} was not told", heard.epoch)),
                _ => Ok(()),
            };
        };
        if heard.monitor.is_none() {
            return Err("the end of its epoch was told before".to_owned());
        }
        if note.number != heard.number + 1 {
            return Err(format!("the one before was {}", heard.number));
        }
        Ok(())
    }
}
