use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Event(u32),
    Timeout(Timeout<u8>),
}

impl From<Timeout<u8>> for Thing {
    fn from(timeout: Timeout<u8>) -> Self {
        Self::Timeout(timeout)
    }
}

/// What one handler does: next state, whether it postpones, how many events it inserts, timeouts in milliseconds.
type Move = (Option<u8>, bool, u8, Vec<(Timeout<u8>, Option<u64>)>);

/// All events that are not done with, in one list. Those that are postponed are marked and stay where they are.
#[derive(Default)]
struct Model {
    state: u8,
    events: Vec<(Thing, bool)>,
    running: BTreeSet<Timeout<u8>>,
    zero: Vec<Timeout<u8>>,
}

impl Model {
    fn first_due(&self) -> usize {
        self.events.iter().position(|(_, is_postponed)| !is_postponed).unwrap_or(self.events.len())
    }

    fn handle(&mut self, event: &Thing, (next, postpones, _, timeouts): &Move, inserted: &[Thing]) {
        // A timeout of no time becomes an event when it is handled.
        let mut handled = self.first_due();
        if handled == self.events.len() {
            self.zero.remove(0);
            self.events.push((event.clone(), false));
            handled = self.events.len() - 1;
        }
        if *postpones {
            self.events[handled].1 = true;
        } else {
            self.events.remove(handled);
        }
        self.end(&Timeout::Event);
        if next.is_some_and(|next| next != self.state) {
            self.state = next.unwrap();
            self.end(&Timeout::State);
            self.events.iter_mut().for_each(|(_, is_postponed)| *is_postponed = false);
        }
        let at = self.first_due();
        self.events.splice(at..at, inserted.iter().map(|event| (event.clone(), false)));
        for (index, (timeout, after)) in timeouts.iter().enumerate() {
            if timeouts.iter().rposition(|(other, _)| other == timeout) == Some(index) {
                self.end(timeout);
                match after {
                    Some(0) => self.zero.push(timeout.clone()),
                    Some(_) => drop(self.running.insert(timeout.clone())),
                    None => {}
                }
            }
        }
    }

    fn end(&mut self, timeout: &Timeout<u8>) {
        self.running.remove(timeout);
        self.zero.retain(|other| other != timeout);
    }

    fn due(&self) -> Vec<Thing> {
        let events = self.events.iter().filter(|(_, is_postponed)| !is_postponed).map(|(event, _)| event.clone());
        events.chain(self.zero.iter().cloned().map(Thing::Timeout)).collect()
    }

    fn postponed(&self) -> usize {
        self.events.iter().filter(|(_, is_postponed)| *is_postponed).count()
    }
}

fn step(chosen: &Move, event: Thing, inserted: &[Thing]) -> Step<u8, Thing, u8> {
    let (next, postpones, _, timeouts) = chosen;
    let duration = |after: &Option<u64>| after.map(Duration::from_millis);
    Step {
        next: *next,
        postponed: postpones.then_some(event),
        inserted: inserted.to_vec(),
        timeouts: timeouts.iter().map(|(timeout, after)| (timeout.clone(), duration(after))).collect(),
    }
}

/// Drives both with the same moves: each handles the event that is due, or one that arrives.
fn check(moves: &[Move]) {
    let (mut engine, mut model) = (Engine::<u8, Thing, u8>::new(0, 10_000), Model::default());
    let (mut names, mut timers) = (0, BTreeSet::new());
    let mut fresh = || {
        names += 1;
        Thing::Event(names)
    };
    for chosen in moves {
        let event = engine.next().unwrap_or_else(|| {
            let arrived = fresh();
            model.events.push((arrived.clone(), false));
            arrived
        });
        let inserted: Vec<_> = (0..chosen.2).map(|_| fresh()).collect();
        assert_eq!(model.due().first(), Some(&event));
        model.handle(&event, chosen, &inserted);
        for change in engine.step(step(chosen, event, &inserted)) {
            match change {
                Change::Start(timeout, _) => drop(timers.insert(timeout)),
                Change::Cancel(timeout) => assert!(timers.remove(&timeout), "{timeout:?} does not run"),
            }
        }
        let zero = engine.zero.iter().cloned().map(Thing::Timeout);
        assert_eq!(engine.queue.iter().cloned().chain(zero).collect::<Vec<_>>(), model.due());
        assert_eq!((engine.state, engine.postponed()), (model.state, model.postponed()));
        assert_eq!((engine.running(), &timers), (&model.running, &model.running));
    }
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let timeout = prop::sample::select(vec![Timeout::State, Timeout::Event, Timeout::Named(0), Timeout::Named(1)]);
    let after = prop::sample::select(vec![None, Some(0), Some(0), Some(1), Some(2)]);
    let timeouts = prop::collection::vec((timeout, after), 0..4);
    prop::collection::vec((prop::option::of(0..3_u8), any::<bool>(), 0..3_u8, timeouts), 0..40)
}

proptest! {
    /// Fails if an event is lost, done twice or out of order, or if a timer outlives what it belongs to.
    #[test]
    fn engine_does_what_the_naive_model_does(moves in moves()) {
        check(&moves);
    }
}

fn engine(events_max: usize) -> Engine<u8, Thing, u8> {
    Engine::new(0, events_max)
}

/// Postpones 1, 2 and 3, inserts 8 and 9 while it changes the state.
#[test]
fn postponed_events_come_back_behind_the_inserted_ones_and_before_the_rest() {
    let mut engine = engine(10);
    let insert = |inserted: &[u32]| inserted.iter().copied().map(Thing::Event).collect::<Vec<_>>();
    engine.step(step(&(None, true, 0, vec![]), Thing::Event(1), &insert(&[2, 3, 4, 5])));
    for number in [2, 3] {
        assert_eq!(engine.next(), Some(Thing::Event(number)));
        engine.step(step(&(None, true, 0, vec![]), Thing::Event(number), &[]));
    }
    assert_eq!(engine.next(), Some(Thing::Event(4)));
    engine.step(step(&(Some(1), false, 0, vec![]), Thing::Event(4), &insert(&[8, 9])));
    let order: Vec<_> = std::iter::from_fn(|| engine.next()).collect();
    assert_eq!(order, insert(&[8, 9, 1, 2, 3, 5]));
}

/// Fails if one that puts off everything grows until the node dies.
#[test]
fn too_many_events_crash_the_machine() {
    let mut engine = engine(2);
    let postpone = |engine: &mut Engine<_, _, _>| {
        let postponing = || drop(engine.step(step(&(None, true, 0, vec![]), Thing::Event(1), &[])));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(postponing)).is_ok()
    };
    assert_eq!([(); 3].map(|()| postpone(&mut engine)), [true, true, false]);
}
