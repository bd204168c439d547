use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, ProducerStamp, Record, SEQUENCES};

fn batch(records: u32, producer: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::default();
    for _ in 0..records {
        builder.push(&Record::default()).unwrap();
    }
    append(&builder.build(producer).unwrap())
}

fn offset(offset: u64) -> Offset {
    Offset::ZERO.advance(offset)
}

fn apply<T: serde::de::DeserializeOwned>(partition: &mut Partition, index: u64, command: &Bytes) -> T {
    let reply = partition.apply(index, command);
    partition.check();
    decode_reply(&reply).unwrap()
}

fn commit(consumer: &str, expected: u64, next: u64, state: &[u8]) -> Bytes {
    let state = Bytes::copy_from_slice(state);
    let (expected, next) = (offset(expected), offset(next));
    Command::CommitConsumer { consumer: consumer.to_owned(), expected, next, state }.encode()
}

fn hold(records: u32) -> Partition {
    let mut partition = Partition::default();
    let _: AppendReply = apply(&mut partition, 1, &batch(records, None));
    partition
}

/// Lie in logs: a change here needs a new version.
#[test]
fn command_bytes_are_golden() {
    let open = Command::OpenProducer { producer: "tie".to_owned(), nonce: 300 };
    assert_eq!(open.encode()[..], [1, 0, 3, b't', b'i', b'e', 251, 44, 1]);
    assert_eq!(commit("c", 7, 9, b"st")[..], [1, 1, 1, b'c', 7, 9, 2, b's', b't']);
    assert_eq!(batch(1, None)[..10], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Travel between nodes of one version and the next.
#[test]
fn reply_bytes_are_golden() {
    let bytes = |reply: &dyn Fn() -> Bytes| reply().to_vec();
    assert_eq!(bytes(&|| command::encode(&AppendReply::Appended { base_offset: offset(7) })), [1, 0, 7]);
    assert_eq!(bytes(&|| command::encode(&AppendReply::Duplicate { base_offset: None })), [1, 1, 0]);
    assert_eq!(bytes(&|| command::encode(&AppendReply::OutOfOrder { expected: 2 })), [1, 2, 4]);
    assert_eq!(bytes(&|| command::encode(&AppendReply::Fenced { epoch: 3 })), [1, 3, 6]);
    let opened = OpenReply::Opened(Opened { producer_id: 1, epoch: 2, appended: 3 });
    assert_eq!(bytes(&|| command::encode(&opened)), [1, 0, 2, 4, 3]);
    assert_eq!(bytes(&|| command::encode(&CommitReply::Conflict { offset: offset(5) })), [1, 1, 5]);
}

#[test]
fn batch_that_is_damaged_is_refused() {
    let mut damaged = batch(3, None).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut partition = Partition::default();
    let reply: AppendReply = apply(&mut partition, 1, &damaged.into());
    assert!(matches!(reply, AppendReply::Invalid { reason } if reason.contains("checksum")));
    assert_eq!(partition.counters(), Counters { refused: 1, ..Counters::default() });
    assert_eq!(partition.end(), Offset::ZERO);
}

#[test]
fn unreadable_command_gets_an_empty_reply_and_changes_nothing() {
    let mut partition = hold(1);
    let before = partition.clone();
    for command in [&b""[..], b"\x01", b"\x01\x09", b"\x07whatever"] {
        assert_eq!(partition.apply(2, &Bytes::copy_from_slice(command)), Bytes::new());
    }
    assert_eq!(partition, before);
}

#[test]
fn batches_without_producer_are_kept_each_time() {
    let mut partition = hold(2);
    let reply: AppendReply = apply(&mut partition, 4, &batch(2, None));
    assert_eq!(reply, AppendReply::Appended { base_offset: offset(2) });
    let places = [
        Place { index: 1, base_offset: offset(0), records: 2 },
        Place { index: 4, base_offset: offset(2), records: 2 },
    ];
    assert_eq!(partition.places(Offset::ZERO, 9), places);
    assert_eq!(partition.places(offset(3), 9), places[1..]);
}

#[test]
fn id_or_epoch_that_nobody_was_given_is_invalid() {
    let mut partition = Partition::default();
    let open = Command::OpenProducer { producer: "p".to_owned(), nonce: 1 }.encode();
    let _: OpenReply = apply(&mut partition, 1, &open);
    for (id, epoch) in [(1, 0), (0, 1)] {
        let stamp = ProducerStamp { id, epoch, base_sequence: 0 };
        let reply: AppendReply = apply(&mut partition, 2, &batch(1, Some(stamp)));
        assert!(matches!(reply, AppendReply::Invalid { .. }), "{reply:?}");
    }
}

#[test]
fn consumer_moves_only_from_where_it_stands() {
    let mut partition = hold(10);
    assert_eq!(apply::<CommitReply>(&mut partition, 2, &commit("c", 0, 4, b"a")), CommitReply::Committed);
    // A rival that read the same records, but came to another state, must not be counted as well.
    let rival = commit("c", 0, 4, b"b");
    assert_eq!(apply::<CommitReply>(&mut partition, 3, &rival), CommitReply::Conflict { offset: offset(4) });
    assert_eq!(apply::<CommitReply>(&mut partition, 4, &commit("c", 0, 4, b"a")), CommitReply::Committed);
    assert_eq!(apply::<CommitReply>(&mut partition, 5, &commit("c", 4, 10, b"c")), CommitReply::Committed);
    let late = commit("c", 0, 4, b"a");
    assert_eq!(apply::<CommitReply>(&mut partition, 6, &late), CommitReply::Conflict { offset: offset(10) });
    assert_eq!(partition.consumer("c").unwrap().state, "c");
}

#[test]
fn commit_beyond_a_limit_is_invalid() {
    let mut partition = hold(10);
    let large = vec![0; STATE_BYTES_MAX + 1];
    for command in [commit("c", 0, 11, b""), commit("c", 0, 0, b""), commit("c", 3, 2, b""), commit("", 0, 1, b"")] {
        assert!(matches!(apply(&mut partition, 2, &command), CommitReply::Invalid { .. }));
    }
    assert!(matches!(apply(&mut partition, 2, &commit("c", 0, 1, &large)), CommitReply::Invalid { .. }));
    for n in 0..CONSUMERS_MAX {
        let one = commit(&n.to_string(), 0, 1, &large[..9]);
        assert_eq!(apply::<CommitReply>(&mut partition, 2, &one), CommitReply::Committed);
    }
    assert!(matches!(apply(&mut partition, 2, &commit("c", 0, 1, b"")), CommitReply::Invalid { .. }));
}

/// One codec value holds 16 MiB at most; the state of all consumers may be four times that.
#[test]
fn state_larger_than_a_codec_value_survives_a_snapshot() {
    let mut partition = hold(1);
    let large = vec![7; STATE_BYTES_MAX];
    for n in 0..20 {
        let one = commit(&n.to_string(), 0, 1, &large);
        assert_eq!(apply::<CommitReply>(&mut partition, 2, &one), CommitReply::Committed);
    }
    let mut restored = Partition::default();
    restored.restore(&partition.snapshot()).unwrap();
    assert!(restored == partition);
}

#[test]
fn queries_are_answered() {
    let mut partition = hold(3);
    let _: CommitReply = apply(&mut partition, 2, &commit("c", 0, 2, b"s"));
    let ask = |query: Query| QueryReply::decode(&partition.query(&query.encode())).unwrap();
    let QueryReply::Status(status) = ask(Query::Status) else { panic!("not a status") };
    assert_eq!((status.end, status.consumers), (offset(3), vec![("c".to_owned(), offset(2))]));
    let state = partition.consumer("c").cloned();
    assert_eq!(ask(Query::Consumer { consumer: "c".to_owned() }), QueryReply::Consumer(state));
    assert_eq!(ask(Query::Producer { producer: "p".to_owned() }), QueryReply::Producer { appended: 0 });
    assert_eq!(partition.query(b"?"), Bytes::new());
}

/// What a caller may do, in any order and any number of times.
#[derive(Clone, Debug)]
enum Step {
    Open {
        producer: u8,
        nonce: u64,
    },
    /// With any grant ever given, from `back` records before what is expected (or after it, if negative).
    Append {
        grant: usize,
        back: i64,
        records: u32,
    },
    Commit {
        consumer: u8,
        from: u64,
        to: u64,
        state: u8,
    },
    /// Proposes again whatever was proposed as number `number`.
    Again {
        number: usize,
    },
    Restore,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..2_u8, 0..9_u64).prop_map(|(producer, nonce)| Step::Open { producer, nonce }),
        6 => (0..9_usize, prop_oneof![4 => Just(0), 3 => -2..9_i64], 1..4_u32)
            .prop_map(|(grant, back, records)| Step::Append { grant, back, records }),
        3 => (0..2_u8, 0..30_u64, 0..9_u64, 0..2_u8)
            .prop_map(|(consumer, from, more, state)| Step::Commit { consumer, from, to: from + more, state }),
        3 => (0..99_usize).prop_map(|number| Step::Again { number }),
        1 => Just(Step::Restore),
    ]
}

/// Every opening of a producer with its nonce.
type Openings = Vec<(u64, Opened)>;

/// Every batch of a producer that was kept: sequence, records, offset.
type Batches = Vec<(u64, u32, u64)>;

/// The same rules, told as lists that are searched from the beginning.
#[derive(Default)]
struct Model {
    producers: BTreeMap<u8, (Openings, Batches)>,
    ids: i64,
    end: u64,
    consumers: BTreeMap<u8, (u64, u64, u8)>,
}

impl Model {
    fn open(&mut self, producer: u8, nonce: u64) -> Opened {
        let (openings, batches) = self.producers.entry(producer).or_default();
        let appended = batches.iter().map(|b| u64::from(b.1)).sum();
        let remembered = openings.iter().rev().take(4);
        if let Some((_, again)) = remembered.clone().find(|(n, _)| *n == nonce) {
            return Opened { appended, ..*again };
        }
        let opened = match openings.last() {
            Some((_, last)) => Opened { epoch: last.epoch + 1, appended, ..*last },
            None => {
                self.ids += 1;
                Opened { producer_id: self.ids - 1, epoch: 0, appended }
            }
        };
        openings.push((nonce, opened));
        opened
    }

    fn append(&mut self, producer: u8, grant: Opened, sequence: u64, records: u32) -> AppendReply {
        let (openings, batches) = self.producers.get_mut(&producer).unwrap();
        let now = openings.last().unwrap().1.epoch;
        let next = batches.iter().map(|b| u64::from(b.1)).sum();
        if grant.epoch < now {
            return AppendReply::Fenced { epoch: now };
        }
        if sequence == next {
            batches.push((sequence, records, self.end));
            self.end += u64::from(records);
            return AppendReply::Appended { base_offset: offset(self.end - u64::from(records)) };
        }
        if sequence + u64::from(records) <= next {
            let recent = batches.iter().rev().take(5).find(|b| (b.0, b.1) == (sequence, records));
            return AppendReply::Duplicate { base_offset: recent.map(|b| offset(b.2)) };
        }
        AppendReply::OutOfOrder { expected: next as i32 }
    }

    fn commit(&mut self, consumer: u8, from: u64, to: u64, state: u8) -> Option<CommitReply> {
        if to <= from || to > self.end {
            return None;
        }
        let now = self.consumers.get(&consumer).copied();
        if now == Some((from, to, state)) {
            return Some(CommitReply::Committed);
        }
        let at = now.map_or(0, |now| now.1);
        if at != from {
            return Some(CommitReply::Conflict { offset: offset(at) });
        }
        self.consumers.insert(consumer, (from, to, state));
        Some(CommitReply::Committed)
    }
}

/// A proposal as the model knows it, so that it can be made again.
#[derive(Clone)]
enum Proposal {
    Open(u8, u64),
    Append(u8, Opened, u64, u32),
    Commit(u8, u64, u64, u8),
}

impl Proposal {
    fn encode(&self) -> Bytes {
        match *self {
            Self::Open(producer, nonce) => Command::OpenProducer { producer: producer.to_string(), nonce }.encode(),
            Self::Append(_, grant, sequence, records) => {
                let base_sequence = (sequence % SEQUENCES) as i32;
                batch(records, Some(ProducerStamp { id: grant.producer_id, epoch: grant.epoch, base_sequence }))
            }
            Self::Commit(consumer, from, to, state) => commit(&consumer.to_string(), from, to, &[state]),
        }
    }
}

/// Drives a partition, a second one beside it, and the model through the same steps.
#[derive(Default)]
struct Run {
    partition: Partition,
    twin: Partition,
    model: Model,
    grants: Vec<(u8, Opened)>,
    proposed: Vec<Proposal>,
    index: u64,
}

impl Run {
    fn step(&mut self, step: Step) {
        let proposal = match step {
            Step::Open { producer, nonce } => Proposal::Open(producer, nonce),
            Step::Append { grant, back, records } => {
                let Some(&(producer, opened)) = self.grants.iter().rev().nth(grant) else { return };
                let next = self.partition.appended_by(&producer.to_string());
                Proposal::Append(producer, opened, next.saturating_add_signed(-back), records)
            }
            Step::Commit { consumer, from, to, state } => Proposal::Commit(consumer, from, to, state),
            Step::Again { number } => match self.proposed.get(number) {
                Some(proposal) => proposal.clone(),
                None => return,
            },
            // Only one of the twins: a state that comes back changed gives another reply later.
            Step::Restore => return self.twin.restore(&self.twin.snapshot()).unwrap(),
        };
        self.propose(&proposal);
        self.proposed.push(proposal);
    }

    fn propose(&mut self, proposal: &Proposal) {
        self.index += 1;
        let command = proposal.encode();
        let reply = self.partition.apply(self.index, &command);
        assert_eq!(self.twin.apply(self.index, &command), reply);
        self.partition.check();
        match *proposal {
            Proposal::Open(producer, nonce) => {
                let opened = self.model.open(producer, nonce);
                assert_eq!(decode_reply::<OpenReply>(&reply).unwrap(), OpenReply::Opened(opened));
                self.grants.push((producer, opened));
            }
            Proposal::Append(producer, grant, sequence, records) => {
                let expected = self.model.append(producer, grant, sequence, records);
                assert_eq!(decode_reply::<AppendReply>(&reply).unwrap(), expected);
            }
            Proposal::Commit(consumer, from, to, state) => {
                let reply: CommitReply = decode_reply(&reply).unwrap();
                match self.model.commit(consumer, from, to, state) {
                    Some(expected) => assert_eq!(reply, expected),
                    None => assert!(matches!(reply, CommitReply::Invalid { .. })),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn partition_does_as_the_model_says(steps in proptest::collection::vec(any_step(), 1..120)) {
        let mut run = Run::default();
        steps.into_iter().for_each(|step| run.step(step));
        prop_assert_eq!(run.partition.end().get(), run.model.end);
        prop_assert_eq!(&run.partition, &run.twin);
    }

    #[test]
    fn any_snapshot_is_restored_or_refused(bytes: Vec<u8>) {
        let mut partition = hold(1);
        let before = partition.clone();
        if partition.restore(&bytes).is_err() {
            prop_assert_eq!(partition, before);
        }
    }
}

/// Two chunks of index, a producer and a consumer, cut at every byte.
#[test]
fn snapshot_that_was_cut_is_refused() {
    let mut partition = hold(9);
    let mut run = Run::default();
    (0..3).for_each(|nonce| run.step(Step::Open { producer: 0, nonce }));
    (0..300).for_each(|_| run.step(Step::Append { grant: 0, back: 0, records: 1 }));
    run.step(Step::Commit { consumer: 0, from: 0, to: 9, state: 0 });
    let snapshot = run.partition.snapshot();
    for cut in 0..snapshot.len() {
        assert!(partition.restore(&snapshot[..cut]).is_err(), "cut to {cut} bytes");
    }
    partition.restore(&snapshot).unwrap();
    assert_eq!(partition, run.partition);
}
