//! Who is there.

use std::time::Duration;

use tiebeam_actor::ExitReason;
use tiebeam_cluster::{Member, NODE_MONITORS_MAX, Reach, Readiness, Said, Standing, StartError, Voters};
use tiebeam_wire::{Incarnation, NodeId, Role};

use crate::ear::ear;
use crate::host::{Host, all_joined, config, is_quiet, next, soon, until};
use crate::split::Pair;

#[tokio::test(flavor = "multi_thread")]
async fn node_joins_by_a_seed_and_both_sides_know_it() {
    let one = Host::core(1, &[]).await;
    let two = Host::start(config(2, Role::Edge, &[one.address()])).await.unwrap();
    assert_eq!(next(&mut one.cluster.subscribe()).await, "up n2 i1");
    assert_eq!(next(&mut two.cluster.subscribe()).await, "up n1 i1");
    let members = one.cluster.members();
    let expected = Member {
        node: NodeId(2),
        name: "node-2".into(),
        role: Role::Edge,
        address: two.address(),
        incarnation: Incarnation(1),
        live: true,
        said: members[1].said.clone(),
        reach: Reach::Connected,
    };
    assert_eq!(members[1], expected);
    assert_eq!((members.len(), members[0].node, members[0].live), (2, NodeId(1), true));
    assert_eq!(two.cluster.address_of(NodeId(1)), Some(one.address()));
    assert_eq!(two.cluster.address_of(NodeId(9)), None);
}

/// Two and three know only one; that they find each other is gossip's doing.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_find_each_other_from_one_seed() {
    let one = Host::core(1, &[]).await;
    let (two, three) = (Host::core(2, &[one.address()]).await, Host::core(3, &[one.address()]).await);
    all_joined(&[&one, &two, &three]).await;
    let answer = two.cluster.address_of(NodeId(3));
    assert_eq!(answer, Some(three.address()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_dial_each_other_at_once_keep_one_connection() {
    for round in 0..10 {
        // Ports are taken and given back, so that each can be told the other's before either runs.
        let free = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (a, b) = (free(), free());
        let (a, b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        let (mut one, mut two) = (config(1, Role::Core, &[b]), config(2, Role::Core, &[a]));
        (one.net.listen, two.net.listen) = (a, b);
        one.peers = vec![(NodeId(1), a), (NodeId(2), b)];
        two.peers.clone_from(&one.peers);
        let (one, two) = tokio::join!(Host::start(one), Host::start(two));
        let (Ok(one), Ok(two)) = (one, two) else { continue };
        let (mut ones, mut twos) = (one.cluster.subscribe(), two.cluster.subscribe());
        assert_eq!((next(&mut ones).await, next(&mut twos).await), ("up n2 i1".into(), "up n1 i1".into()));
        until("the second connection to go", || {
            one.cluster.connection_count() == 1 && two.cluster.connection_count() == 1
        })
        .await;
        assert!(is_quiet(&mut ones) && is_quiet(&mut twos), "round {round}: a connection in use was given up");
    }
}

/// Fails if nobody listens to the network's word that a port is closed.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_node_is_noticed_long_before_its_silence_tells() {
    let mut patient = config(2, Role::Core, &[]);
    patient.net.idle_timeout = Duration::from_secs(600);
    let two = Host::start(patient).await.unwrap();
    let mut one = config(1, Role::Core, &[two.address()]);
    one.net.idle_timeout = Duration::from_secs(600);
    let one = Host::start(one).await.unwrap();
    let mut events = one.cluster.subscribe();
    assert_eq!(next(&mut events).await, "up n2 i1");
    drop(two);
    assert_eq!(next(&mut events).await, "down n2 i1");
    let members = one.cluster.members();
    assert_eq!((members.len(), members[1].live), (2, false), "known, but not live");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_is_down_then_up() {
    let one = Host::core(1, &[]).await;
    let two = Host::core(2, &[one.address()]).await;
    let mut events = one.cluster.subscribe();
    assert_eq!(next(&mut events).await, "up n2 i1");
    let mut again = config(2, Role::Core, &[one.address()]);
    again.net.incarnation = Incarnation(2);
    let two = two.restart(again).await;
    assert_eq!(next(&mut events).await, "down n2 i1");
    assert_eq!(next(&mut events).await, "up n2 i2");
    all_joined(&[&one, &two]).await;
    assert!(is_quiet(&mut events));
}

/// Nobody tells one that two was killed, and two doesn't dial: the reset with which two's new start answers packets of a
/// connection it never had is what tells. Without a reset key that outlives the process this waits for the idle timeout.
#[tokio::test(flavor = "multi_thread")]
async fn restart_is_noticed_long_before_the_idle_timeout() {
    let mut patient = config(2, Role::Core, &[]);
    patient.net.idle_timeout = Duration::from_secs(600);
    let two = Host::start(patient.clone()).await.unwrap();
    let mut one = config(1, Role::Core, &[two.address()]);
    one.net.idle_timeout = Duration::from_secs(600);
    let one = Host::start(one).await.unwrap();
    let mut events = one.cluster.subscribe();
    assert_eq!(next(&mut events).await, "up n2 i1");
    patient.net.incarnation = Incarnation(2);
    let _two = two.restart(patient).await;
    assert_eq!(next(&mut events).await, "down n2 i1");
    assert_eq!(next(&mut events).await, "up n2 i2");
}

/// The seed comes back and knows nobody: that the others are found again is the others' dialling.
#[tokio::test(flavor = "multi_thread")]
async fn seed_that_restarts_is_found_again() {
    let one = Host::core(1, &[]).await;
    let (two, three) = (Host::core(2, &[one.address()]).await, Host::core(3, &[one.address()]).await);
    all_joined(&[&one, &two, &three]).await;
    let mut again = config(1, Role::Core, &[]);
    again.net.incarnation = Incarnation(2);
    let one = one.restart(again).await;
    until("the new start to be known", || {
        two.cluster.members()[0].incarnation == Incarnation(2) && three.cluster.members()[0].live
    })
    .await;
    all_joined(&[&one, &two, &three]).await;
}

/// A start that is over must not come back: its pids name the dead.
#[tokio::test(flavor = "multi_thread")]
async fn earlier_start_of_a_node_stays_out() {
    let one = Host::core(1, &[]).await;
    let mut later = config(2, Role::Core, &[one.address()]);
    later.net.incarnation = Incarnation(7);
    let two = Host::start(later).await.unwrap();
    let mut events = one.cluster.subscribe();
    assert_eq!(next(&mut events).await, "up n2 i7");
    drop(two);
    assert_eq!(next(&mut events).await, "down n2 i7");
    let stale = Host::core(2, &[one.address()]).await;
    tiebeam_world::sleep(Duration::from_millis(500)).await;
    assert!(is_quiet(&mut events));
    assert_eq!(stale.cluster.members().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_leaves_is_down_at_once() {
    let one = Host::core(1, &[]).await;
    let mut config = config(2, Role::Core, &[one.address()]);
    // Beyond the test's patience: only the farewell can tell.
    config.net.idle_timeout = Duration::from_secs(600);
    let two = Host::start(config).await.unwrap();
    let (mut ones, mut twos) = (one.cluster.subscribe(), two.cluster.subscribe());
    assert_eq!((next(&mut ones).await, next(&mut twos).await), ("up n2 i1".into(), "up n1 i1".into()));
    let leaving = two.cluster.clone();
    two.run(async move { leaving.shutdown().await }).await;
    assert_eq!(next(&mut ones).await, "down n2 i1");
    assert_eq!((next(&mut twos).await, next(&mut twos).await), ("down n1 i1".into(), "end".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn member_beyond_the_limit_stays_out() {
    let mut small = config(1, Role::Core, &[]);
    small.members_max = 2;
    let one = Host::start(small).await.unwrap();
    let two = Host::core(2, &[one.address()]).await;
    all_joined(&[&one, &two]).await;
    let three = Host::core(3, &[one.address()]).await;
    tiebeam_world::sleep(Duration::from_millis(500)).await;
    assert_eq!(one.cluster.members().iter().filter(|member| member.live).count(), 2);
    assert!(!three.cluster.members()[0].live || three.cluster.members().len() == 1);
}

/// Edges come and go under ever new numbers; the ones that are gone must not keep out those that come.
#[tokio::test(flavor = "multi_thread")]
async fn member_that_is_gone_makes_room_for_another() {
    let mut small = config(1, Role::Core, &[]);
    small.members_max = 2;
    let one = Host::start(small).await.unwrap();
    let mut events = one.cluster.subscribe();
    for node in 2..5 {
        let edge = Host::start(config(node, Role::Edge, &[one.address()])).await.unwrap();
        assert_eq!(next(&mut events).await, format!("up n{node} i1"));
        assert_eq!(one.cluster.members().len(), 2, "the former one was forgotten");
        let leaving = edge.cluster.clone();
        edge.run(async move { leaving.shutdown().await }).await;
        assert_eq!(next(&mut events).await, format!("down n{node} i1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn port_in_use_is_a_clear_error() {
    let one = Host::core(1, &[]).await;
    let mut same = config(2, Role::Core, &[]);
    same.net.listen = one.address();
    let error = Host::start(same).await.err().unwrap();
    assert!(matches!(error, StartError::Listen(_)), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, format!("udp address {} can't be bound", one.address()));
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_is_no_member() {
    assert!(matches!(Host::start(config(9, Role::Admin, &[])).await.err(), Some(StartError::Role(Role::Admin))));
}

/// What changes must be heard of by those who are connected already, whose handshake said nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn members_hear_what_a_node_says_of_itself() {
    let one = Host::core(1, &[]).await;
    let mut talker = config(2, Role::Edge, &[one.address()]);
    (talker.program_version, talker.zone) = ("1.4.0".to_owned(), "eu-1".to_owned());
    let two = Host::start(talker).await.unwrap();
    all_joined(&[&one, &two]).await;
    let said = |host: &Host| host.cluster.members()[1].said.clone();
    let expected =
        |readiness, load_percent| Said { version: "1.4.0".into(), zone: "eu-1".into(), readiness, load_percent };
    until("the first to be heard", || said(&one) == expected(Readiness::Ready, 0)).await;
    two.cluster.set_load(43);
    two.cluster.set_ready(Readiness::NotReady("warming up".into()));
    let not_ready = expected(Readiness::NotReady("warming up".into()), 40);
    assert_eq!(said(&two), not_ready, "at once with itself");
    until("the change to be heard", || said(&one) == not_ready).await;
    two.cluster.set_ready(Readiness::Ready);
    until("the node to be ready", || said(&one) == expected(Readiness::Ready, 40)).await;
}

/// A node that is cut off must not get work because it finds itself well.
#[tokio::test(flavor = "multi_thread")]
async fn node_that_reaches_no_majority_is_not_ready() {
    let mut lonely = config(1, Role::Core, &[]);
    lonely.voters = Voters { version: 0, nodes: [1, 2].map(NodeId).into() };
    let (voters, one) = (lonely.voters.clone(), Host::start(lonely).await.unwrap());
    one.cluster.set_ready(Readiness::Ready);
    assert_eq!(one.cluster.standing(), Standing::Unknown);
    assert_eq!(one.cluster.readiness(), Readiness::NotReady("no majority of voters reached yet".into()));
    let mut second = config(2, Role::Core, &[one.address()]);
    second.voters = voters;
    let two = Host::start(second).await.unwrap();
    soon("the majority", one.cluster.until_majority()).await;
    assert_eq!(one.cluster.readiness(), Readiness::Ready);
    drop(two);
    until("the node to be cut off", || matches!(one.cluster.standing(), Standing::CutOff { .. })).await;
    assert_eq!(one.cluster.readiness(), Readiness::NotReady("cut off from the majority".into()));
}

/// Actors hear of nodes as messages, in the order of what happened; without suspicion the first word would be the last.
#[tokio::test(flavor = "multi_thread")]
async fn actor_hears_that_a_node_is_suspect_before_it_is_down() {
    let pair = Pair::start().await;
    let (watcher, heard) = ear(&pair.one).await;
    let _monitoring = pair.one.cluster.monitor_nodes(&watcher).unwrap();
    heard.becomes(&["up n2 i1".to_owned()]).await;
    pair.cut().await;
    // A machine that stalls may have it suspected and back before; the end is always the same.
    let ends =
        |with: &[&str]| heard.all().iter().rev().map(String::as_str).zip(with.iter().rev()).all(|(a, b)| a == *b);
    until("the loss", || ends(&["suspect n2 i1", "down n2 i1"])).await;
    pair.heal().await;
    until("the return", || ends(&["suspect n2 i1", "down n2 i1", "up n2 i1"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_of_nodes_are_bounded_and_end_with_their_actor() {
    let one = Host::core(1, &[]).await;
    let (watcher, _) = ear(&one).await;
    for _ in 0..NODE_MONITORS_MAX {
        drop(one.cluster.monitor_nodes(&watcher).unwrap());
    }
    let (other, heard) = ear(&one).await;
    assert!(one.cluster.monitor_nodes(&other).is_err(), "one too many");
    one.system.exit(watcher.pid(), ExitReason::Kill);
    until("the monitors of the dead to be gone", || one.cluster.monitor_nodes(&other).is_ok()).await;
    let _two = Host::core(2, &[one.address()]).await;
    heard.becomes(&["up n2 i1".to_owned()]).await;
}

/// A node that is told a name and a file alone; the file comes late, and says another one afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_found_by_name_and_by_a_file_that_changes() {
    let (one, two) = (Host::core(1, &[]).await, Host::core(2, &[]).await);
    let path = std::env::temp_dir().join(format!("tiebeam-seeds-{}", std::process::id()));
    let mut seeker = config(3, Role::Core, &[]);
    let name = format!("localhost:{}", one.address().port());
    seeker.seeds = vec![name.parse().unwrap(), format!("file:{}", path.display()).parse().unwrap()];
    seeker.seeds_interval = Duration::from_millis(60);
    let three = Host::start(seeker).await.unwrap();
    all_joined(&[&one, &three]).await;
    std::fs::write(&path, format!("# the other one\n{}\n", two.address())).unwrap();
    // That one and two find each other as well is gossip's doing, which only three can have begun.
    all_joined(&[&one, &two, &three]).await;
    std::fs::remove_file(&path).unwrap();
}
