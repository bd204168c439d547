//! Voters and holders over a network that loses, repeats and reorders, with clocks that differ, pauses and restarts;
//! against the naive model that knows the true time.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tiebeam_wire::{Incarnation, Instant, NodeId};

use super::Fence;
use super::acceptor::{Acceptor, HolderId, TICK};
use super::holder::{Holder, Output, Times};
use super::message::{Answer, Ask, Request, Tenure, Verdict};
use crate::Voters;

const LEASE: Duration = Duration::from_secs(4);
const MS: u64 = 1_000_000;
/// How far the model goes at once.
const STEP_MS: u64 = 10;

fn voters(version: u64, nodes: &[u64]) -> Voters {
    Voters { version, nodes: nodes.iter().copied().map(NodeId).collect() }
}

fn at(ms: u64) -> Instant {
    Instant { nanos: ms * MS }
}

fn ask(version: u64, resource: &str, fence: u64) -> Ask {
    let tenures = vec![Tenure { resource: resource.into(), fence: Fence(fence) }];
    Ask { voters: version, lease_ms: 4000, tenures }
}

const ONE: HolderId = (NodeId(1), Incarnation(1));
const TWO: HolderId = (NodeId(2), Incarnation(1));

/// Lets a voter see time pass, as its shell does.
fn pass(acceptor: &mut Acceptor, from_ms: u64, to_ms: u64) {
    let mut now = from_ms;
    while now < to_ms {
        now = (now + 50).min(to_ms);
        acceptor.expire(at(now));
    }
    acceptor.check();
}

fn judged(answer: &Answer) -> Verdict {
    match answer {
        Answer::Judged(verdicts) => verdicts[0],
        other => panic!("{other:?}"),
    }
}

/// A voter of a cluster of one, past its first silence.
fn alone() -> Acceptor {
    let mut acceptor = Acceptor::new(at(0), NodeId(1), LEASE, voters(0, &[1]));
    assert_eq!(judged(&acceptor.ask(at(0), ONE, &ask(0, "r", 1))), Verdict::Quiet { left_ms: 4000 });
    pass(&mut acceptor, 0, 4000);
    acceptor
}

#[test]
fn voter_grants_to_one_at_a_time_and_only_to_higher_fences() {
    let mut acceptor = alone();
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &ask(0, "r", 5))), Verdict::Granted);
    assert_eq!(judged(&acceptor.ask(at(4000), TWO, &ask(0, "r", 6))), Verdict::Held { by: NodeId(1), left_ms: 4000 });
    assert_eq!(judged(&acceptor.ask(at(4000), TWO, &ask(0, "other", 6))), Verdict::Granted);
    pass(&mut acceptor, 4000, 7000);
    assert_eq!(judged(&acceptor.ask(at(7000), ONE, &ask(0, "r", 5))), Verdict::Granted);
    pass(&mut acceptor, 7000, 11_000);
    assert_eq!(judged(&acceptor.ask(at(11_000), TWO, &ask(0, "r", 5))), Verdict::Low { fence: Fence(5) });
    assert_eq!(judged(&acceptor.ask(at(11_000), TWO, &ask(0, "r", 6))), Verdict::Granted);
}

/// A request that comes late, after its holder gave up, would block the resource for a whole lease.
#[test]
fn what_was_freed_is_not_granted_by_a_late_repetition() {
    let mut acceptor = alone();
    let tenures = ask(0, "r", 5).tenures;
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &ask(0, "r", 5))), Verdict::Granted);
    assert_eq!(judged(&acceptor.ask(at(4000), TWO, &ask(0, "r", 4))), Verdict::Held { by: NodeId(1), left_ms: 4000 });
    assert_eq!(acceptor.free(at(4000), ONE, true, &tenures), [(NodeId(2), "r".to_owned())], "who was refused is told");
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &ask(0, "r", 5))), Verdict::Low { fence: Fence(5) });
    let unheard = ask(0, "s", 7);
    assert!(acceptor.free(at(4000), ONE, false, &unheard.tenures).is_empty());
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &unheard)), Verdict::Low { fence: Fence(7) });
    acceptor.check();
}

/// Else a voter that was paused, or whose clock jumped, would grant what its holder still counts on.
#[test]
fn voter_counts_only_time_that_it_has_seen() {
    let mut acceptor = alone();
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &ask(0, "r", 5))), Verdict::Granted);
    let verdict = judged(&acceptor.ask(at(60_000), TWO, &ask(0, "r", 6)));
    assert_eq!(verdict, Verdict::Held { by: NodeId(1), left_ms: 3950 });
}

#[test]
fn voter_that_hears_of_later_voters_grants_nothing_until_it_knows_them() {
    let mut acceptor = alone();
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &ask(0, "r", 5))), Verdict::Granted);
    let refused = |version| Answer::Refused(super::message::Refusal::Voters { version });
    assert_eq!(acceptor.ask(at(4000), TWO, &ask(3, "s", 6)), refused(3));
    assert_eq!(acceptor.ask(at(4000), ONE, &ask(0, "r", 5)), refused(3));
    acceptor.set_voters(at(4000), &voters(3, &[1, 2, 4]));
    // What it remembers can be kept; nothing is begun before others may have learned.
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &ask(3, "r", 5))), Verdict::Granted);
    assert_eq!(judged(&acceptor.ask(at(4000), TWO, &ask(3, "s", 6))), Verdict::Quiet { left_ms: 4000 });
    acceptor.set_voters(at(4000), &voters(4, &[2, 4]));
    assert_eq!(acceptor.ask(at(9000), ONE, &ask(4, "r", 5)), refused(4), "no voter any more");
}

/// A voter that forgot could grant a tenure with a lower fence than the one before.
#[test]
fn voter_that_started_anew_asks_a_majority_that_remembers() {
    let mut acceptor = Acceptor::new(at(0), NodeId(1), LEASE, voters(0, &[1, 2, 3]));
    assert_eq!(acceptor.to_recall(), [NodeId(2), NodeId(3)]);
    acceptor.recalled(at(0), NodeId(2), 0, true, Fence(70));
    pass(&mut acceptor, 0, 5000);
    let verdict = judged(&acceptor.ask(at(5000), ONE, &ask(0, "r", 90)));
    assert!(matches!(verdict, Verdict::Quiet { .. }), "{verdict:?}");
    acceptor.recalled(at(5000), NodeId(3), 0, true, Fence(80));
    assert_eq!(judged(&acceptor.ask(at(5000), ONE, &ask(0, "r", 79))), Verdict::Low { fence: Fence(80) });
    assert_eq!(judged(&acceptor.ask(at(5000), ONE, &ask(0, "r", 90))), Verdict::Granted);
    assert_eq!(acceptor.recall(), Answer::Recalled { voters: 0, remembers: true, fence: Fence(90) });
}

/// When all start, nobody remembers, and nobody may wait for that.
#[test]
fn voters_that_all_started_anew_go_on_after_a_lease() {
    let mut acceptor = Acceptor::new(at(0), NodeId(1), LEASE, voters(0, &[1, 2, 3]));
    acceptor.recalled(at(0), NodeId(2), 0, false, Fence(7));
    pass(&mut acceptor, 0, 4000);
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &ask(0, "r", 7))), Verdict::Low { fence: Fence(7) });
    assert_eq!(judged(&acceptor.ask(at(4000), ONE, &ask(0, "r", 8))), Verdict::Granted);
}

/// What goes wrong in a run of the model.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The voter forgets everything.
    RestartVoter(usize),
    RestartHolder(usize),
    /// Neither half of the node does anything for so long, in milliseconds.
    Pause(usize, u64),
    /// Nothing goes from or to the node, for so long.
    Cut(usize, u64),
    /// The node's clock jumps by so much.
    Jump(usize, u64),
    /// Its holder gives the resource back, if it has it.
    Leave(usize),
    /// The wall clock shows this many seconds more.
    Wall(usize, i64),
    /// A node becomes a voter, or is none any more; if a majority knows of the change before.
    Change(usize),
}

struct Host {
    acceptor: Acceptor,
    holder: Holder,
    incarnation: u64,
    /// Parts in ten thousand by which the clock is fast.
    rate: i64,
    ahead_ms: u64,
    paused_until: u64,
    cut_until: u64,
    wall_s: i64,
    restarted_at: u64,
    /// The voters that the node knows.
    voters: Arc<Voters>,
}

impl Host {
    fn now(&self, true_ms: u64) -> Instant {
        let shown = true_ms as i64 + true_ms as i64 * self.rate / 10_000;
        at(1_000 + shown as u64 + self.ahead_ms)
    }
}

enum Message {
    Request(Request, Option<u64>),
    Answer(Answer, u64),
}

struct Packet {
    arrives: u64,
    from: usize,
    to: usize,
    incarnation: u64,
    message: Message,
}

struct Model {
    now: u64,
    hosts: Vec<Host>,
    packets: Vec<Packet>,
    /// The latest, and when which node will hear of which.
    voters: Arc<Voters>,
    news: Vec<(u64, usize, Arc<Voters>)>,
    loss_percent: u64,
    chance: fastrand_like::Rng,
    /// The tenure that was seen last.
    last: Option<(usize, Fence)>,
    tenures: u64,
    /// Whether fences must grow: not if too many voters forgot at once.
    is_remembered: bool,
}

/// Draws of the model.
mod fastrand_like {
    pub(super) struct Rng(pub(super) u64);

    impl Rng {
        pub(super) fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit.max(1)
        }
    }
}

impl Model {
    fn new(count: usize, seed: u64, rates: &[i64], loss_percent: u64) -> Self {
        let nodes: Vec<u64> = (1..=count as u64).collect();
        let voters = Arc::new(voters(0, &nodes));
        let hosts = (0..count).map(|index| {
            let now = at(1_000);
            Host {
                acceptor: Acceptor::new(now, NodeId(index as u64 + 1), LEASE, (*voters).clone()),
                holder: Holder::new(LEASE, Arc::clone(&voters), seed + index as u64),
                incarnation: 1,
                rate: rates[index % rates.len()],
                ahead_ms: 0,
                paused_until: 0,
                cut_until: 0,
                wall_s: 0,
                restarted_at: 0,
                voters: Arc::clone(&voters),
            }
        });
        Self {
            now: 0,
            hosts: hosts.collect(),
            packets: Vec::new(),
            voters: Arc::clone(&voters),
            news: Vec::new(),
            loss_percent,
            chance: fastrand_like::Rng(seed),
            last: None,
            tenures: 0,
            is_remembered: true,
        }
    }

    fn send(&mut self, from: usize, to: usize, message: impl Fn() -> Message) {
        let copies = if self.loss_percent > 0 && self.chance.below(100) < 5 { 2 } else { 1 };
        for _ in 0..copies {
            let is_cut = self.hosts[from].cut_until > self.now || self.hosts[to].cut_until > self.now;
            let is_lost = from != to && (is_cut || self.chance.below(100) < self.loss_percent);
            // Some take longer than a lease.
            let delay = if self.loss_percent > 0 && self.chance.below(50) == 0 { 6_000 } else { 100 };
            let arrives = self.now + if from == to { 0 } else { self.chance.below(delay) };
            let incarnation = self.hosts[from].incarnation;
            if !is_lost {
                self.packets.push(Packet { arrives, from, to, incarnation, message: message() });
            }
        }
    }

    fn deliver(&mut self) {
        let (due, later) = std::mem::take(&mut self.packets).into_iter().partition::<Vec<_>, _>(|packet| {
            packet.arrives <= self.now && self.hosts[packet.to].paused_until <= self.now
        });
        self.packets = later;
        for Packet { from, to, incarnation, message, .. } in due {
            let host = &mut self.hosts[to];
            let now = host.now(self.now);
            let asker = (NodeId(from as u64 + 1), Incarnation(incarnation));
            match message {
                Message::Request(Request::Ask(ask), round) => {
                    let answer = host.acceptor.ask(now, asker, &ask);
                    let round = round.expect("an ask belongs to a round");
                    self.send(to, from, || Message::Answer(answer.clone(), round));
                }
                Message::Request(Request::Free { were_held, tenures }, _) => {
                    for (node, resource) in host.acceptor.free(now, asker, were_held, &tenures) {
                        let freed = || Message::Request(Request::Freed { resource: resource.clone() }, None);
                        self.send(to, node.0 as usize - 1, freed);
                    }
                }
                Message::Request(Request::Freed { resource }, _) => host.holder.freed(now, &resource),
                Message::Request(Request::Recall, _) => {
                    let answer = host.acceptor.recall();
                    self.send(to, from, || Message::Answer(answer.clone(), 0));
                }
                Message::Answer(Answer::Recalled { voters, remembers, fence }, _) => {
                    host.acceptor.recalled(now, NodeId(from as u64 + 1), voters, remembers, fence);
                }
                Message::Answer(answer, round) => {
                    host.holder.answered(now, round, NodeId(from as u64 + 1), Some(&answer));
                }
            }
        }
    }

    fn step(&mut self) {
        self.now += STEP_MS;
        self.deliver();
        let due: Vec<_> = self.news.extract_if(.., |(at, ..)| *at <= self.now).collect();
        for (_, index, voters) in due {
            let host = &mut self.hosts[index];
            let now = host.now(self.now);
            host.acceptor.set_voters(now, &voters);
            host.holder.set_voters(now, &voters);
            if voters.version > host.voters.version {
                host.voters = voters;
            }
        }
        for index in 0..self.hosts.len() {
            if self.hosts[index].paused_until > self.now {
                continue;
            }
            let host = &mut self.hosts[index];
            let now = host.now(self.now);
            if self.now.is_multiple_of(TICK.as_millis() as u64) {
                host.acceptor.expire(now);
                for to in host.acceptor.to_recall() {
                    self.send(index, to.0 as usize - 1, || Message::Request(Request::Recall, None));
                }
            }
            let host = &mut self.hosts[index];
            assert!(host.holder.want(now, "r"));
            let wall_ms = (1_800_000_000 + host.wall_s) as u64 * 1000 + self.now;
            host.holder.expire(now, wall_ms);
            while let Some(output) = self.hosts[index].holder.take() {
                if let Output::Send { to, round, request } = output {
                    self.send(index, to.0 as usize - 1, || Message::Request(request.clone(), round));
                }
            }
            self.hosts[index].acceptor.check();
        }
        self.check();
    }

    /// The naive model: of all nodes, paused or not, at most one counts on the lease, and its fence grows.
    fn check(&mut self) {
        let held = self.hosts.iter().enumerate();
        let held =
            held.flat_map(|(index, host)| host.holder.held(host.now(self.now)).into_iter().map(move |h| (index, h.1)));
        let held: Vec<(usize, Fence)> = held.collect();
        assert!(held.len() <= 1, "at {} all of these hold: {held:?}", self.now);
        if let Some((index, fence)) = held.first().copied()
            && self.last != Some((index, fence))
        {
            if let Some((_, former)) = self.last.filter(|_| self.is_remembered) {
                assert!(fence > former, "at {} {fence:?} follows {former:?}", self.now);
            }
            self.last = Some((index, fence));
            self.tenures += 1;
        }
    }

    fn change(&mut self, index: usize) {
        let knows = |node: &&NodeId| self.hosts[node.0 as usize - 1].voters.version == self.voters.version;
        if self.voters.nodes.iter().filter(knows).count() < self.voters.majority() {
            return;
        }
        let mut nodes = self.voters.nodes.clone();
        let node = NodeId(index as u64 + 1);
        if !nodes.remove(&node) {
            nodes.insert(node);
        }
        if nodes.is_empty() {
            return;
        }
        self.voters = Arc::new(Voters { version: self.voters.version + 1, nodes });
        for index in 0..self.hosts.len() {
            let at = self.now + self.chance.below(4_000);
            self.news.push((at, index, Arc::clone(&self.voters)));
        }
        // Who remembers among those who vote now is another question.
        self.is_remembered = false;
    }

    fn suffer(&mut self, fault: Fault) {
        let (now, count) = (self.now, self.hosts.len());
        match fault {
            Fault::RestartVoter(index) => {
                let host = &mut self.hosts[index % count];
                let (local, voters) = (host.now(now), (*host.voters).clone());
                host.acceptor = Acceptor::new(local, NodeId((index % count) as u64 + 1), LEASE, voters);
                host.restarted_at = now;
                let forgetful =
                    self.hosts.iter().filter(|h| h.restarted_at > 0 && h.restarted_at + 20_000 > now).count();
                self.is_remembered &= forgetful <= self.voters.nodes.len().saturating_sub(self.voters.majority());
            }
            Fault::RestartHolder(index) => {
                let seed = self.chance.below(1 << 30);
                let host = &mut self.hosts[index % count];
                host.incarnation += 1;
                host.holder = Holder::new(LEASE, Arc::clone(&host.voters), seed);
            }
            Fault::Pause(index, ms) => self.hosts[index % count].paused_until = now + ms,
            Fault::Cut(index, ms) => self.hosts[index % count].cut_until = now + ms,
            Fault::Jump(index, ms) => self.hosts[index % count].ahead_ms += ms,
            Fault::Leave(index) => self.hosts[index % count].holder.leave("r"),
            Fault::Wall(index, s) => self.hosts[index % count].wall_s = s,
            Fault::Change(index) => self.change(index % count),
        }
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => (0..5_usize).prop_map(Fault::RestartVoter),
        2 => (0..5_usize).prop_map(Fault::RestartHolder),
        3 => (0..5_usize, 10..9_000_u64).prop_map(|(index, ms)| Fault::Pause(index, ms)),
        3 => (0..5_usize, 10..9_000_u64).prop_map(|(index, ms)| Fault::Cut(index, ms)),
        1 => (0..5_usize, 1..9_000_u64).prop_map(|(index, ms)| Fault::Jump(index, ms)),
        3 => (0..5_usize).prop_map(Fault::Leave),
        1 => (0..5_usize, -2_000..2_000_i64).prop_map(|(index, s)| Fault::Wall(index, s)),
        1 => (0..5_usize).prop_map(Fault::Change),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Never two at once, fences that grow while a majority remembers, and a holder soon after everything is well.
    #[test]
    fn at_most_one_holds_whatever_goes_wrong(
        count in prop::sample::select(vec![1_usize, 3, 4, 5]),
        seed in any::<u64>(),
        rates in prop::collection::vec(-100..=100_i64, 5),
        loss in prop::sample::select(vec![0_u64, 5, 30]),
        faults in prop::collection::vec((0..4_000_u64, fault()), 0..25),
    ) {
        let mut model = Model::new(count, seed, &rates, loss);
        for (after, fault) in faults {
            let until = model.now + after;
            while model.now < until {
                model.step();
            }
            model.suffer(fault);
        }
        model.loss_percent = 0;
        for host in &mut model.hosts {
            host.paused_until = 0;
            host.cut_until = 0;
        }
        let (healed, before) = (model.now, model.tenures);
        let holds = |model: &Model| model.hosts.iter().any(|host| !host.holder.held(host.now(model.now)).is_empty());
        while !holds(&model) || model.now < healed + 12_000 {
            model.step();
            // The silence of voters that have just started, then what is left of a lease; by then all is quiet.
            prop_assert!(model.now < healed + 20_000, "nobody holds, {} tenures before", before);
        }
        // All want it: whoever gives it up is followed at once.
        let holder = model.hosts.iter().position(|host| !host.holder.held(host.now(model.now)).is_empty()).unwrap();
        let (left, tenures) = (model.now, model.tenures);
        model.hosts[holder].holder.leave("r");
        while model.tenures == tenures {
            model.step();
            // Sooner than by a lease that nobody gave back, however often they get in each other's way.
            prop_assert!(model.now < left + 3_500, "nobody follows");
        }
    }
}

/// Renewals of many leases are one request to each voter, however they began.
#[test]
fn renewals_travel_together() {
    let group = Arc::new(voters(0, &[1, 2, 3]));
    let mut holder = Holder::new(LEASE, group, 7);
    let mut rounds = Vec::new();
    for (index, resource) in ["a", "b", "c"].iter().enumerate() {
        let now = at(1000 + index as u64 * 100);
        assert!(holder.want(now, resource));
        holder.expire(now, 5);
        while let Some(output) = holder.take() {
            if let Output::Send { to, round: Some(round), .. } = output {
                rounds.push((round, to));
            }
        }
        for (round, to) in rounds.drain(..) {
            holder.answered(now, round, to, Some(&Answer::Judged(vec![Verdict::Granted])));
        }
    }
    while holder.take().is_some() {}
    assert_eq!(holder.held(at(1300)).len(), 3);
    holder.expire(at(2000), 5);
    let mut sizes = Vec::new();
    while let Some(output) = holder.take() {
        if let Output::Send { request: Request::Ask(ask), .. } = output {
            sizes.push(ask.tenures.len());
        }
    }
    assert_eq!(sizes, [3, 3, 3]);
    assert!(Times { lease: LEASE }.counted() == Duration::from_millis(3250));
}
