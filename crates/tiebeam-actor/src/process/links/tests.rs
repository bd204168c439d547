use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Wire {
    Link,
    Unlink(u64),
    Ack(u64),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Link(usize),
    Unlink(usize),
    Arrive(usize),
}

/// Two ends and the two ordered ways between them.
struct Pair {
    ends: [Links; 2],
    inboxes: [VecDeque<Wire>; 2],
}

fn pid(serial: usize) -> Pid {
    Pid { node: NodeId(1), incarnation: Incarnation(1), serial: serial as u64 + 1 }
}

impl Pair {
    fn step(&mut self, step: Step) {
        match step {
            Step::Link(me) => {
                if self.ends[me].link(pid(1 - me)) {
                    self.inboxes[1 - me].push_back(Wire::Link);
                }
            }
            Step::Unlink(me) => {
                if let Some(id) = self.ends[me].unlink(pid(1 - me)) {
                    self.inboxes[1 - me].push_back(Wire::Unlink(id));
                }
            }
            Step::Arrive(me) => match self.inboxes[me].pop_front() {
                Some(Wire::Link) => self.ends[me].linked(pid(1 - me)),
                Some(Wire::Unlink(id)) => {
                    self.ends[me].unlinked(pid(1 - me));
                    self.inboxes[1 - me].push_back(Wire::Ack(id));
                }
                Some(Wire::Ack(id)) => self.ends[me].acknowledged(pid(1 - me), id),
                None => {}
            },
        }
    }

    fn settle(&mut self) {
        while self.inboxes.iter().any(|inbox| !inbox.is_empty()) {
            self.step(Step::Arrive(0));
            self.step(Step::Arrive(1));
        }
    }

    fn linked(&self, me: usize) -> bool {
        self.ends[me].active().next().is_some()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3_u8, 0..2_usize).prop_map(|(kind, me)| match kind {
        0 => Step::Link(me),
        1 => Step::Unlink(me),
        _ => Step::Arrive(me),
    });
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// Fails if links are counted before unlinks are acknowledged: an unlink and a link that cross leave half a link.
    #[test]
    fn both_ends_agree_when_nothing_is_under_way(steps in steps()) {
        let mut pair = Pair { ends: Default::default(), inboxes: Default::default() };
        for step in steps {
            pair.step(step);
        }
        pair.settle();
        prop_assert_eq!(pair.linked(0), pair.linked(1));
        let ends = pair.ends.map(|links| links.ends.len());
        prop_assert_eq!(ends, if ends[0] == 1 { [1, 1] } else { [0, 0] }, "an end without a link was left behind");
    }
}

#[test]
fn exit_of_the_old_link_does_not_count_for_the_new_one() {
    let mut links = Links::default();
    assert!(links.link(pid(1)));
    let id = links.unlink(pid(1)).unwrap();
    assert!(links.link(pid(1)));
    assert!(!links.broken(pid(1), ExitKind::Link), "it died before it saw the unlink");
    links.acknowledged(pid(1), id);
    assert!(links.broken(pid(1), ExitKind::Broken), "the new link was refused");
    assert_eq!(links.ends.len(), 0);
}

#[test]
fn there_is_one_link_per_pair() {
    let mut links = Links::default();
    assert!(links.link(pid(1)));
    assert!(!links.link(pid(1)), "a second signal would make a second link");
    assert!(links.unlink(pid(1)).is_some());
    assert_eq!(links.unlink(pid(1)), None);
}
