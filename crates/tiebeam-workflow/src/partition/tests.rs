use std::collections::BTreeMap;

use proptest::prelude::*;
use tiebeam_wire::codec;

use super::*;
use crate::event::StepId;

fn step(name: &str) -> StepId {
    StepId { name: name.to_owned(), occurrence: 1 }
}

fn started(name: &str, term: u64) -> Event {
    Event::StepStarted { step: step(name), term, compensable: true, args: Bytes::new() }
}

fn failed(name: &str, attempt: u32, last: bool) -> Event {
    Event::StepFailed { step: step(name), attempt, error: "busy".to_owned(), transient: true, last }
}

fn completed(name: &str) -> Event {
    Event::StepCompleted { step: step(name), attempt: 1, result: Bytes::from_static(b"r") }
}

fn start(id: &str) -> Command {
    Command::Start { id: id.to_owned(), definition: "rebook".to_owned(), input: Bytes::from_static(b"in") }
}

fn record(id: &str, position: u32, events: Vec<Event>) -> Command {
    Command::Record { id: id.to_owned(), position, term: 1, events }
}

fn run(commands: impl IntoIterator<Item = Command>) -> (Partition, Vec<Reply>) {
    let mut partition = Partition::new();
    let replies = commands.into_iter().map(|c| partition.execute(c)).collect();
    partition.check();
    (partition, replies)
}

/// Golden bytes: the log of a running cluster holds these. A reordered variant or field fails here first.
#[test]
fn bytes_of_commands_are_golden() {
    let all = Command::Batch(vec![
        start("i"),
        record("i", 300, vec![started("s", 2), failed("s", 1, false), completed("s")]),
        record(
            "i",
            0,
            vec![
                Event::CompensationStarted { step: step("s"), term: 2 },
                Event::CompensationCompleted { step: step("s") },
                Event::Completed { result: Bytes::from_static(b"o") },
            ],
        ),
        record("i", 0, vec![Event::Compensated { error: "e".to_owned() }]),
        record("i", 0, vec![Event::Failed { error: "e".to_owned() }]),
        record("i", 0, vec![Event::Stuck { reason: "e".to_owned() }, Event::Resumed]),
        Command::Resume { id: "i".to_owned() },
    ]);
    let expected = "\
        01 03 07 00 01 69 06 72 65 62 6f 6f 6b 02 69 6e 01 01 69 fb 2c 01 01 03 00 01 73 01 02 01 00 01 01 73 01 01 \
        04 62 75 73 79 01 00 02 01 73 01 01 01 72 01 01 69 00 01 03 03 01 73 01 02 04 01 73 01 05 01 6f 01 01 69 00 \
        01 01 06 01 65 01 01 69 00 01 01 07 01 65 01 01 69 00 01 02 08 01 65 09 02 01 69";
    let bytes: Vec<String> = all.encode().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(bytes.join(" "), expected);
    assert_eq!(Command::decode(&all.encode()).unwrap(), all);
}

#[test]
fn bytes_of_replies_are_golden() {
    let all = Reply::Batch(vec![
        Reply::Started,
        Reply::AlreadyStarted { status: Status::Stuck },
        Reply::Recorded { position: 1 },
        Reply::Conflict { position: 2 },
        Reply::Fenced { term: 3 },
        Reply::Ended { status: Status::Failed },
        Reply::Resumed,
        Reply::NotStuck { status: Status::Running },
        Reply::Unknown,
        Reply::Refused(Refusal::Shape),
    ]);
    let expected = [1, 10, 10, 0, 1, 2, 2, 1, 3, 2, 4, 3, 5, 5, 6, 7, 0, 8, 9, 4];
    assert_eq!(all.encode().as_ref(), expected);
}

#[test]
fn second_start_changes_nothing_and_is_counted() {
    let other = Command::Start { id: "a".to_owned(), definition: "x".to_owned(), input: Bytes::new() };
    let (partition, replies) = run([start("a"), other]);
    assert_eq!(replies, [Reply::Started, Reply::AlreadyStarted { status: Status::Running }]);
    assert_eq!(partition.view("a").unwrap().definition, "rebook");
    assert_eq!(partition.counts().duplicate_starts, 1);
}

#[test]
fn record_is_a_compare_and_set() {
    let (partition, replies) = run([
        start("a"),
        record("a", 0, vec![started("s", 1)]),
        record("a", 0, vec![started("s", 1)]),
        record("a", 0, vec![started("t", 1)]),
        record("a", 2, vec![started("t", 1)]),
        record("b", 0, vec![started("t", 1)]),
    ]);
    let conflict = Reply::Conflict { position: 1 };
    let recorded = Reply::Recorded { position: 1 };
    assert_eq!(replies[1..], [recorded.clone(), recorded, conflict.clone(), conflict, Reply::Unknown]);
    assert_eq!((partition.counts().duplicate_records, partition.counts().conflicts), (1, 2));
}

/// A re-proposal that overlaps the end of the journal is not "already there": half of it would be lost silently.
#[test]
fn record_that_is_there_only_in_part_conflicts() {
    let (_, replies) =
        run([start("a"), record("a", 0, vec![started("s", 1)]), record("a", 0, vec![started("s", 1), completed("s")])]);
    assert_eq!(replies[2], Reply::Conflict { position: 1 });
}

#[test]
fn leader_of_an_earlier_term_is_fenced_off() {
    let late = Command::Record { id: "a".to_owned(), position: 0, term: 4, events: vec![started("s", 4)] };
    let newer = Command::Record { id: "b".to_owned(), position: 0, term: 5, events: vec![started("s", 5)] };
    let (_, replies) = run([start("a"), start("b"), newer, late]);
    assert_eq!(replies[3], Reply::Fenced { term: 5 });
}

#[test]
fn start_seen_again_without_an_outcome_is_a_reexecution() {
    let (partition, _) = run([
        start("a"),
        record("a", 0, vec![started("s", 1), failed("s", 1, false), started("s", 2), completed("s"), started("t", 2)]),
        record("a", 5, vec![completed("t"), Event::Completed { result: Bytes::new() }]),
    ]);
    let counts = partition.counts();
    assert_eq!((counts.attempts, counts.retries, counts.reexecutions, counts.completed), (3, 1, 1, 1));
    assert_eq!(partition.view("a").unwrap().attempts, 3);
}

#[test]
fn finished_instance_keeps_its_outcome_and_takes_nothing() {
    let (partition, replies) = run([
        start("a"),
        record("a", 0, vec![Event::Completed { result: Bytes::from_static(b"out") }]),
        record("a", 0, vec![Event::Completed { result: Bytes::from_static(b"out") }]),
        start("a"),
    ]);
    assert_eq!(replies[2], Reply::Ended { status: Status::Completed });
    assert_eq!(replies[3], Reply::AlreadyStarted { status: Status::Completed });
    let view = partition.view("a").unwrap();
    assert_eq!((view.result.as_ref(), view.position, view.status), (b"out".as_ref(), 1, Status::Completed));
    assert_eq!(partition.counts().duplicate_records, 1);
    assert!(partition.load("a").is_none());
}

#[test]
fn stuck_instance_is_parked_until_resumed_behind_those_that_wait() {
    let stuck = || Event::Stuck { reason: "panic".to_owned() };
    let (mut partition, _) = run([start("a"), start("b"), record("a", 0, vec![stuck()])]);
    assert_eq!(partition.due(0, 9), [(1, "b".to_owned())]);
    assert_eq!(partition.view("a").unwrap().error, "panic");
    assert_eq!(partition.execute(record("a", 1, vec![started("s", 1)])), Reply::Ended { status: Status::Stuck });
    let resume = || Command::Resume { id: "a".to_owned() };
    assert_eq!(partition.execute(resume()), Reply::Resumed);
    assert_eq!(partition.execute(resume()), Reply::NotStuck { status: Status::Running });
    partition.check();
    assert_eq!(partition.due(0, 9), [(1, "b".to_owned()), (2, "a".to_owned())]);
    assert_eq!(partition.load("a").unwrap().journal, [stuck(), Event::Resumed]);
}

#[test]
fn rules_are_kept_without_changing_anything() {
    let end = Event::Failed { error: String::new() };
    let big = |n: usize| Bytes::from(vec![0; n]);
    let cases = [
        record("a", 0, vec![]),
        record("a", 0, vec![end.clone(), end]),
        record("a", 0, vec![Event::Resumed]),
        record("a", 0, vec![Event::Completed { result: big(RESULT_BYTES_MAX + 1) }]),
        record("a", 0, vec![Event::StepCompleted { step: step("s"), attempt: 1, result: big(STEP_BYTES_MAX + 1) }]),
        Command::Start { id: String::new(), definition: "d".to_owned(), input: Bytes::new() },
        Command::Start { id: "x".repeat(ID_BYTES_MAX + 1), definition: "d".to_owned(), input: Bytes::new() },
        Command::Start { id: "b".to_owned(), definition: "d".to_owned(), input: big(INPUT_BYTES_MAX + 1) },
        Command::Batch(vec![Command::Resume { id: "a".to_owned() }; BATCH_COMMANDS_MAX + 1]),
    ];
    let (mut partition, _) = run([start("a")]);
    let before = partition.clone();
    for case in cases {
        let text = format!("{case:?}");
        assert!(matches!(partition.execute(case), Reply::Refused(_)), "{}", &text[..text.len().min(80)]);
    }
    let nested = Command::Batch(vec![Command::Batch(vec![])]);
    assert_eq!(partition.execute(nested), Reply::Batch(vec![Reply::Refused(Refusal::Nested)]));
    let garbage = Reply::decode(&partition.apply(9, &Bytes::from_static(&[1, 99]))).unwrap();
    assert!(matches!(garbage, Reply::Refused(Refusal::Undecodable(_))));
    assert_eq!(partition, before);
}

#[test]
fn full_journal_takes_only_an_end() {
    let (mut partition, _) = run([start("a")]);
    let mut position = 0;
    let event = || Event::StepCompleted { step: step("s"), attempt: 1, result: vec![0; STEP_BYTES_MAX].into() };
    let refusal = loop {
        match partition.execute(record("a", position, vec![event()])) {
            Reply::Recorded { position: next } => position = next,
            other => break other,
        }
    };
    assert_eq!(refusal, Reply::Refused(Refusal::JournalFull { limit: JOURNAL_BYTES_MAX as u64 }));
    let stuck = record("a", position, vec![Event::Stuck { reason: "full".to_owned() }]);
    assert_eq!(partition.execute(stuck), Reply::Recorded { position: position + 1 });
    let mut restored = Partition::new();
    restored.restore(&partition.snapshot()).unwrap();
    assert_eq!(restored, partition);
}

#[test]
fn questions_are_answered_in_pages() {
    let (partition, _) = run(["c", "a", "b"].map(start));
    let ask = |query: Query| Answer::decode(&partition.query(&query.encode())).unwrap();
    let page = |after: Option<&str>| match ask(Query::Unfinished { after: after.map(str::to_owned), limit: 2 }) {
        Answer::Unfinished(page) => page.into_iter().map(|v| v.id).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(page(None), ["a", "b"]);
    assert_eq!(page(Some("b")), ["c"]);
    assert_eq!(page(Some("c")), [] as [&str; 0]);
    assert_eq!(ask(Query::Instance { id: "z".to_owned() }), Answer::Instance(None));
    let Answer::Refused(_) = Answer::decode(&partition.query(&[7])).unwrap() else { panic!("not refused") };
}

#[test]
fn torn_snapshots_are_refused_and_leave_the_state_alone() {
    let (mut partition, _) = run([start("a"), record("a", 0, vec![started("s", 1)])]);
    let (snapshot, before) = (partition.snapshot(), partition.clone());
    for end in 0..snapshot.len() {
        assert!(partition.restore(&snapshot[..end]).is_err(), "cut at {end}");
    }
    let long = [snapshot.as_slice(), &[0]].concat();
    assert!(matches!(partition.restore(&long), Err(RestoreError(codec::DecodeError::Trailing { left: 1 }))));
    assert_eq!(partition, before);
}

// The model: keeps every journal for ever and derives everything from them.

#[derive(Clone, Default)]
struct Model {
    term: u64,
    journals: BTreeMap<String, Vec<Event>>,
    duplicate_starts: u64,
    duplicate_records: u64,
    conflicts: u64,
}

impl Model {
    fn execute(&mut self, command: Command) -> Reply {
        match command {
            Command::Start { id, .. } => match self.status(&id) {
                Some(status) => {
                    self.duplicate_starts += 1;
                    Reply::AlreadyStarted { status }
                }
                None => {
                    self.journals.insert(id, Vec::new());
                    Reply::Started
                }
            },
            Command::Resume { id } => match self.status(&id) {
                None => Reply::Unknown,
                Some(Status::Stuck) => {
                    self.journals.get_mut(&id).unwrap().push(Event::Resumed);
                    Reply::Resumed
                }
                Some(status) => Reply::NotStuck { status },
            },
            Command::Record { id, position, term, events } => self.record(&id, position, term, events),
            Command::Batch(all) => Reply::Batch(all.into_iter().map(|c| self.execute(c)).collect()),
        }
    }

    fn record(&mut self, id: &str, position: u32, term: u64, events: Vec<Event>) -> Reply {
        if term < self.term {
            self.conflicts += 1;
            return Reply::Fenced { term: self.term };
        }
        self.term = term;
        let Some(status) = self.status(id) else { return Reply::Unknown };
        let journal = self.journals.get_mut(id).unwrap();
        let (from, to) = (position as usize, position as usize + events.len());
        if status.is_finished() {
            self.duplicate_records += 1;
            Reply::Ended { status }
        } else if to <= journal.len() && journal[from..to] == events {
            self.duplicate_records += 1;
            Reply::Recorded { position: to as u32 }
        } else if from != journal.len() {
            self.conflicts += 1;
            Reply::Conflict { position: journal.len() as u32 }
        } else if status == Status::Stuck {
            self.duplicate_records += 1;
            Reply::Ended { status }
        } else {
            journal.extend(events);
            Reply::Recorded { position: to as u32 }
        }
    }

    fn status(&self, id: &str) -> Option<Status> {
        let journal = self.journals.get(id)?;
        Some(match journal.last() {
            Some(Event::Completed { .. }) => Status::Completed,
            Some(Event::Compensated { .. }) => Status::Compensated,
            Some(Event::Failed { .. }) => Status::Failed,
            Some(Event::Stuck { .. }) => Status::Stuck,
            _ if journal.iter().any(|e| matches!(e, Event::CompensationStarted { .. })) => Status::Compensating,
            _ => Status::Running,
        })
    }

    fn counts(&self) -> Counts {
        let with = |wanted: &[Status]| {
            self.journals.keys().filter(|id| wanted.contains(&self.status(id).unwrap())).count() as u64
        };
        let events =
            |matching: fn(&Event) -> bool| self.journals.values().flatten().filter(|e| matching(e)).count() as u64;
        Counts {
            started: self.journals.len() as u64,
            running: with(&[Status::Running, Status::Compensating]),
            stuck: with(&[Status::Stuck]),
            completed: with(&[Status::Completed]),
            compensated: with(&[Status::Compensated]),
            failed: with(&[Status::Failed]),
            attempts: events(|e| matches!(e, Event::StepFailed { .. } | Event::StepCompleted { .. })),
            retries: events(|e| matches!(e, Event::StepFailed { last: false, .. })),
            compensations: events(|e| matches!(e, Event::CompensationCompleted { .. })),
            reexecutions: self.journals.values().map(|journal| reexecutions(journal)).sum(),
            duplicate_starts: self.duplicate_starts,
            duplicate_records: self.duplicate_records,
            conflicts: self.conflicts,
        }
    }
}

/// Counts starts whose step, or compensation, was started before and had no outcome in between.
fn reexecutions(journal: &[Event]) -> u64 {
    let again = |at: usize| {
        let earlier = journal[..at].iter().rev();
        match &journal[at] {
            Event::StepStarted { step, .. } => earlier
                .filter_map(|e| match e {
                    Event::StepStarted { step: s, .. } => (s == step).then_some(true),
                    Event::StepCompleted { step: s, .. } | Event::StepFailed { step: s, last: true, .. } => {
                        (s == step).then_some(false)
                    }
                    _ => None,
                })
                .next(),
            Event::CompensationStarted { step, .. } => earlier
                .filter_map(|e| match e {
                    Event::CompensationStarted { step: s, .. } => (s == step).then_some(true),
                    Event::CompensationCompleted { step: s } => (s == step).then_some(false),
                    _ => None,
                })
                .next(),
            _ => None,
        }
    };
    (0..journal.len()).filter(|at| again(*at) == Some(true)).count() as u64
}

fn any_event() -> impl Strategy<Value = Event> {
    let name = || prop_oneof!["s", "t"];
    prop_oneof![
        4 => (name(), 1..3_u64).prop_map(|(n, term)| started(&n, term)),
        3 => (name(), 1..3_u32, any::<bool>()).prop_map(|(n, attempt, last)| failed(&n, attempt, last)),
        3 => name().prop_map(|n| completed(&n)),
        1 => (name(), 1..3_u64).prop_map(|(n, term)| Event::CompensationStarted { step: step(&n), term }),
        1 => name().prop_map(|n| Event::CompensationCompleted { step: step(&n) }),
    ]
}

fn any_end() -> impl Strategy<Value = Option<Event>> {
    prop_oneof![
        12 => Just(None),
        1 => Just(Some(Event::Completed { result: Bytes::from_static(b"r") })),
        1 => Just(Some(Event::Compensated { error: "e".to_owned() })),
        1 => Just(Some(Event::Failed { error: "e".to_owned() })),
        2 => Just(Some(Event::Stuck { reason: "e".to_owned() })),
    ]
}

/// What a proposer does: mostly the right position, sometimes a stale one, sometimes what it did before.
#[derive(Clone, Debug)]
enum Move {
    Start(String),
    Resume(String),
    Record { id: String, back: u32, term: u64, events: Vec<Event> },
    Again(usize),
}

fn any_move() -> impl Strategy<Value = Move> {
    let id = || prop_oneof!["a", "b", "c"];
    let events = (prop::collection::vec(any_event(), 0..3), any_end()).prop_map(|(mut events, end)| {
        events.extend(end);
        events
    });
    let events = events.prop_filter("records have events", |events| !events.is_empty());
    let back = prop_oneof![6 => Just(0_u32), 1 => 1..4_u32];
    let term = prop_oneof![1 => Just(1_u64), 8 => Just(2_u64)];
    prop_oneof![
        2 => id().prop_map(Move::Start),
        1 => id().prop_map(Move::Resume),
        8 => (id(), back, term, events).prop_map(|(id, back, term, events)| Move::Record { id, back, term, events }),
        3 => (0..40_usize).prop_map(Move::Again),
    ]
}

proptest! {
    /// Catches a journal that grows twice by one record, a count that drifts, a snapshot that forgets.
    #[test]
    fn partition_behaves_as_the_model(moves in prop::collection::vec(any_move(), 1..80), cut in 0..80_usize) {
        let (mut partition, mut model, mut said) = (Partition::new(), Model::default(), Vec::new());
        for (at, next) in moves.into_iter().enumerate() {
            let command = match next {
                Move::Start(id) => start(&id),
                Move::Resume(id) => Command::Resume { id },
                Move::Record { id, back, term, events } => {
                    let length = model.journals.get(&id).map_or(0, |j| j.len() as u32);
                    Command::Record { id, position: length.saturating_sub(back), term, events }
                }
                Move::Again(n) if said.is_empty() => start(&n.to_string()),
                Move::Again(n) => Command::Batch(vec![Command::clone(&said[said.len() - 1 - n % said.len()])]),
            };
            if !matches!(command, Command::Batch(_)) {
                said.push(command.clone());
            }
            let reply = Reply::decode(&partition.apply(at as u64, &command.encode())).unwrap();
            prop_assert_eq!(reply, model.execute(command));
            prop_assert_eq!(partition.counts(), model.counts());
            partition.check();
            if at == cut {
                let snapshot = partition.snapshot();
                let mut restored = Partition::new();
                restored.restore(&snapshot).unwrap();
                prop_assert_eq!(&restored, &partition);
                prop_assert_eq!(restored.snapshot(), snapshot);
                partition = restored;
            }
        }
        for (id, journal) in &model.journals {
            let view = partition.view(id).unwrap();
            prop_assert_eq!(view.position as usize, journal.len());
            prop_assert_eq!(view.status, model.status(id).unwrap());
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        let mut partition = Partition::new();
        let command: Bytes = bytes.clone().into();
        prop_assert!(Reply::decode(&partition.apply(1, &command)).is_ok());
        prop_assert!(Answer::decode(&partition.query(&bytes)).is_ok());
        let _ = partition.restore(&bytes);
        partition.check();
    }
}
