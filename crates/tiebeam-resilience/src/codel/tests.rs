use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Instant {
    Instant { nanos: ms * 1_000_000 }
}

/// Pushes `load` items per 10 ms and serves one in each; returns what was dropped when, in ms.
fn overload(queue: &mut CodelQueue<u64>, from_ms: u64, until_ms: u64, load: u64) -> Vec<u64> {
    let mut drops = Vec::new();
    for ms in (from_ms..until_ms).step_by(10) {
        (0..load).for_each(|_| queue.push(at(ms), ms).expect("there is room"));
        drops.extend(queue.pop(at(ms)).dropped.iter().map(|_| ms));
    }
    drops
}

#[test]
fn burst_that_drains_in_time_loses_nothing() {
    let mut queue = CodelQueue::new(CodelConfig::default());
    (0..10).for_each(|item| queue.push(at(0), item).unwrap());
    let served: Vec<u64> = (0..10).filter_map(|n| queue.pop(at(n * 10)).item).collect();
    assert_eq!(served, (0..10).collect::<Vec<_>>());
    assert_eq!(queue.snapshot().dropped, 0);
}

#[test]
fn overload_drops_ever_faster_by_the_root_of_the_count() {
    let mut queue = CodelQueue::new(CodelConfig::default());
    let drops = overload(&mut queue, 0, 500, 2);
    // The wait is above the target from 10 ms on; then 100/1, 100/sqrt 2, 100/sqrt 3 and so on between drops, seen
    // every 10 ms.
    assert_eq!(drops, [110, 210, 290, 340, 390, 440, 480]);
}

#[test]
fn overload_that_comes_back_soon_is_met_where_it_was_left() {
    let mut queue = CodelQueue::new(CodelConfig::default());
    overload(&mut queue, 0, 1_000, 2);
    while queue.pop(at(1_000)).item.is_some() {}
    let again = overload(&mut queue, 1_100, 1_400, 2);
    assert!(again.len() >= 5, "{again:?}");
    while queue.pop(at(1_400)).item.is_some() {}
    assert_eq!(overload(&mut queue, 9_000, 9_300, 2).len(), 3, "and forgotten after sixteen intervals");
}

#[test]
fn full_queue_gives_the_item_back() {
    let mut queue = CodelQueue::new(CodelConfig { items_max: 1, ..CodelConfig::default() });
    assert_eq!((queue.push(at(0), 1), queue.push(at(0), 2)), (Ok(()), Err(2)));
    assert_eq!(queue.snapshot().refused, 1);
}

#[test]
fn shortest_interval_ends() {
    let config = CodelConfig { target: Duration::ZERO, interval: Duration::from_nanos(1), items_max: 100 };
    let mut queue = CodelQueue::new(config);
    (0..100).for_each(|item| queue.push(at(0), item).unwrap());
    while queue.pop(at(1)).item.is_some() {}
    assert!(queue.is_empty());
}

proptest! {
    /// Would break: an item that is lost or served twice, the order, or dropping while the wait is short.
    #[test]
    fn items_leave_in_order_and_all_of_them(
        steps in prop::collection::vec((0..40_u64, 0..4_u64), 0..200),
    ) {
        let mut queue = CodelQueue::new(CodelConfig { items_max: 50, ..CodelConfig::default() });
        let (mut now, mut item, mut left, mut waiting) = (0, 0, 0, VecDeque::new());
        for (pause, pushes) in steps {
            now += pause;
            for _ in 0..pushes {
                if queue.push(at(now), item).is_ok() {
                    waiting.push_back((item, now));
                    item += 1;
                }
            }
            let Popped { item: served, dropped } = queue.pop(at(now));
            for gone in dropped {
                let (expected, pushed) = waiting.pop_front().unwrap();
                prop_assert_eq!(gone, expected);
                prop_assert!(now - pushed >= 5, "dropped after {} ms", now - pushed);
                left += 1;
            }
            if let Some(served) = served {
                prop_assert_eq!(served, waiting.pop_front().unwrap().0);
                left += 1;
            }
            let snapshot = queue.snapshot();
            prop_assert_eq!(snapshot.served + snapshot.dropped, left);
            prop_assert_eq!(snapshot.waiting, waiting.len());
        }
    }

    /// Would break: any deviation from the law. The model is the pseudocode of RFC 8289, section 5, as it stands there.
    #[test]
    fn queue_is_that_of_the_rfc(steps in prop::collection::vec((0..30_u64, 0..4_u64), 0..400)) {
        let (mut queue, mut rfc) = (CodelQueue::new(CodelConfig::default()), Rfc::default());
        let (mut now, mut item) = (1, 0);
        for (pause, pushes) in steps {
            // Long pauses now and then, so that what was remembered is forgotten.
            now += if pause == 29 { 1_700 } else { pause };
            for _ in 0..pushes {
                if queue.push(at(now), item).is_ok() {
                    rfc.items.push_back((item, at(now).nanos));
                }
                item += 1;
            }
            prop_assert_eq!(queue.pop(at(now)), rfc.dequeue(at(now).nanos));
        }
    }
}

/// RFC 8289, section 5: its names, its order.
#[derive(Default)]
struct Rfc {
    items: VecDeque<(u64, u64)>,
    first_above_time: u64,
    drop_next: u64,
    count: u64,
    lastcount: u64,
    dropping: bool,
}

impl Rfc {
    const TARGET: u64 = 5_000_000;
    const INTERVAL: u64 = 100_000_000;

    fn dodequeue(&mut self, now: u64) -> (Option<u64>, bool) {
        let Some((item, pushed)) = self.items.pop_front() else {
            self.first_above_time = 0;
            return (None, false);
        };
        if now - pushed < Self::TARGET || self.items.is_empty() {
            self.first_above_time = 0;
        } else if self.first_above_time == 0 {
            self.first_above_time = now + Self::INTERVAL;
        } else if now >= self.first_above_time {
            return (Some(item), true);
        }
        (Some(item), false)
    }

    fn dequeue(&mut self, now: u64) -> Popped<u64> {
        let control_law = |t: u64, count: u64| t + (Self::INTERVAL as f64 / (count as f64).sqrt()) as u64;
        let mut dropped = Vec::new();
        let mut r = self.dodequeue(now);
        if self.dropping {
            self.dropping = r.1;
            while now >= self.drop_next && self.dropping {
                dropped.extend(r.0);
                self.count += 1;
                r = self.dodequeue(now);
                if r.1 {
                    self.drop_next = control_law(self.drop_next, self.count);
                } else {
                    self.dropping = false;
                }
            }
        } else if r.1 {
            dropped.extend(r.0);
            r = self.dodequeue(now);
            self.dropping = true;
            let delta = self.count - self.lastcount;
            let recent = now.saturating_sub(self.drop_next) < 16 * Self::INTERVAL;
            self.count = if delta > 1 && recent { delta } else { 1 };
            self.drop_next = control_law(now, self.count);
            self.lastcount = self.count;
        }
        Popped { item: r.0, dropped }
    }
}
