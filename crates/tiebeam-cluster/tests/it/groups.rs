//! Groups of actors on several nodes.

use tiebeam_actor::{Addr, ExitReason, Pid};
use tiebeam_cluster::groups::{Broadcast, GroupEvents, LeaveError};
use tiebeam_cluster::names::OnConflict;
use tiebeam_cluster::{Group, ShareError};
use tiebeam_wire::{Incarnation, Role};

use crate::ear::{Ear, Say, ear, group_event};
use crate::host::{Host, all_joined, config, next, soon, until};
use crate::split::Pair;

fn room(host: &Host) -> Group<Ear> {
    host.cluster.groups().scope("chat").group("room")
}

fn pids(members: &[Addr<Ear>]) -> Vec<Pid> {
    members.iter().map(Addr::pid).collect()
}

async fn sees(host: &Host, expected: &[Pid]) {
    until("the members to be seen", || pids(&room(host).members()) == expected).await;
}

async fn told(events: &mut GroupEvents) -> String {
    group_event(&soon("a change of the group", events.next()).await.unwrap())
}

async fn pair() -> (Host, Host) {
    let one = Host::core(1, &[]).await;
    let two = Host::start(config(2, Role::Edge, &[one.address()])).await.unwrap();
    all_joined(&[&one, &two]).await;
    (one, two)
}

/// Without counting, who joined twice would be out after leaving once; without convergence two would see nobody.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_all_nodes_are_seen_as_often_as_they_joined() {
    let (one, two) = pair().await;
    let ((a, _), (b, _)) = (ear(&one).await, ear(&two).await);
    room(&one).join(&a).unwrap();
    room(&one).join(&a).unwrap();
    assert_eq!(pids(&room(&one).members()), [a.pid(), a.pid()], "seen here at once");
    room(&two).join(&b).unwrap();
    for host in [&one, &two] {
        sees(host, &[a.pid(), a.pid(), b.pid()]).await;
        assert_eq!(host.cluster.groups().scope("chat").groups(), ["room"]);
    }
    assert_eq!((room(&two).local_members().len(), room(&one).local_members().len()), (1, 2));
    assert_eq!(one.cluster.groups().scope("other").group::<Ear>("room").members(), []);
    room(&one).leave(&a).unwrap();
    sees(&two, &[a.pid(), b.pid()]).await;
    let (not_mine, group) = (b.pid(), "room".to_owned());
    assert_eq!(room(&one).leave(&b), Err(LeaveError::NotMember { pid: not_mine, group }));
    assert_eq!(room(&one).join(&b), Err(ShareError::NoProc { pid: not_mine }), "each node speaks for its own");
    room(&one).leave(&a).unwrap();
    room(&two).leave(&b).unwrap();
    until("the group to be gone", || one.cluster.groups().scope("chat").groups().is_empty()).await;
}

/// Nobody takes the dead out but the group itself.
#[tokio::test(flavor = "multi_thread")]
async fn actor_that_ends_leaves_all_it_joined() {
    let (one, two) = pair().await;
    let ((a, _), (b, _)) = (ear(&one).await, ear(&one).await);
    let other = one.cluster.groups().group::<Ear>("other");
    for group in [&room(&one), &other] {
        group.join(&a).unwrap();
        group.join(&a).unwrap();
        group.join(&b).unwrap();
    }
    sees(&two, &[a.pid(), a.pid(), b.pid()]).await;
    one.system.exit(a.pid(), ExitReason::Kill);
    sees(&two, &[b.pid()]).await;
    until("the other group", || pids(&two.cluster.groups().group::<Ear>("other").members()) == [b.pid()]).await;
    one.system.wait(a.pid()).await;
    assert_eq!(room(&one).join(&a), Err(ShareError::NoProc { pid: a.pid() }));
}

/// If the loss were told to members first, or left to a timer, the dead would still be among the members here.
#[tokio::test(flavor = "multi_thread")]
async fn killed_node_takes_its_members_along_before_its_loss_is_told() {
    let (one, two) = pair().await;
    let mut members = one.cluster.subscribe();
    assert_eq!(next(&mut members).await, "up n2 i1");
    let ((a, _), (b, _)) = (ear(&one).await, ear(&two).await);
    room(&one).join(&a).unwrap();
    room(&two).join(&b).unwrap();
    sees(&one, &[a.pid(), b.pid()]).await;
    drop(two);
    assert_eq!(next(&mut members).await, "down n2 i1");
    assert_eq!(pids(&room(&one).members()), [a.pid()]);
}

/// A node that comes back with its memory brings its members; forgetting them on loss would leave the group without them.
#[tokio::test(flavor = "multi_thread")]
async fn members_are_lost_and_back_with_a_split() {
    let pair = Pair::start().await;
    let ((a, _), (b, _)) = (ear(&pair.one).await, ear(&pair.two).await);
    let (mut ones, mut twos) = (room(&pair.one).events().unwrap(), room(&pair.two).events().unwrap());
    room(&pair.one).join(&a).unwrap();
    assert_eq!(told(&mut ones).await, format!("room +1 {}", a.pid()));
    room(&pair.two).join(&b).unwrap();
    assert_eq!(told(&mut ones).await, format!("room +1 {}", b.pid()));
    sees(&pair.two, &[a.pid(), b.pid()]).await;
    pair.cut().await;
    assert_eq!((pids(&room(&pair.one).members()), pids(&room(&pair.two).members())), (vec![a.pid()], vec![b.pid()]));
    assert_eq!(told(&mut ones).await, format!("room -1 {}", b.pid()));
    let (c, _) = ear(&pair.two).await;
    room(&pair.two).join(&c).unwrap();
    pair.heal().await;
    for host in [&pair.one, &pair.two] {
        sees(host, &[a.pid(), b.pid(), c.pid()]).await;
    }
    let mut back = [told(&mut ones).await, told(&mut ones).await];
    back.sort();
    assert_eq!(back, [format!("room +1 {}", b.pid()), format!("room +1 {}", c.pid())]);
    // Two never looked; what it knew of one across the split is void all the same.
    let heard: Vec<String> = [told(&mut twos).await, told(&mut twos).await, told(&mut twos).await].into();
    assert!(heard.contains(&format!("room +1 {}", a.pid())), "{heard:?}");
}

/// The pids of an earlier start name nobody: whoever kept them would send to the dead for ever.
#[tokio::test(flavor = "multi_thread")]
async fn later_start_of_a_node_inherits_no_members() {
    let (one, two) = pair().await;
    let (old, _) = ear(&two).await;
    room(&two).join(&old).unwrap();
    let mut events = room(&one).events().unwrap();
    assert_eq!(told(&mut events).await, format!("room +1 {}", old.pid()));
    let mut again = config(2, Role::Edge, &[one.address()]);
    again.net.incarnation = Incarnation(2);
    let two = two.restart(again).await;
    assert_eq!(told(&mut events).await, format!("room -1 {}", old.pid()));
    let (new, _) = ear(&two).await;
    room(&two).join(&new).unwrap();
    assert_eq!(told(&mut events).await, format!("room +1 {}", new.pid()));
    for host in [&one, &two] {
        sees(host, &[new.pid()]).await;
    }
}

/// Telling before looking, or looking before telling, would double or miss who joins at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn monitors_hear_of_present_members_and_of_each_change_once() {
    let (one, two) = pair().await;
    let ((a, _), (b, _), (watcher, heard)) = (ear(&one).await, ear(&two).await, ear(&two).await);
    room(&one).join(&a).unwrap();
    sees(&two, &[a.pid()]).await;
    let monitoring = two.cluster.groups().scope("chat").monitor(&watcher).unwrap();
    let mut expected = vec![format!("room +1 {}", a.pid())];
    heard.becomes(&expected).await;
    room(&two).join(&b).unwrap();
    let aside = two.cluster.groups().scope("chat").group::<Ear>("aside");
    aside.join(&b).unwrap();
    two.cluster.groups().scope("elsewhere").group::<Ear>("room").join(&b).unwrap();
    expected.extend([format!("room +1 {}", b.pid()), format!("aside +1 {}", b.pid())]);
    heard.becomes(&expected).await;
    two.system.exit(b.pid(), ExitReason::Kill);
    until("both leaves", || heard.all().len() == 5).await;
    monitoring.stop();
    let left = heard.all().split_off(3);
    assert!(left.contains(&format!("room -1 {}", b.pid())) && left.contains(&format!("aside -1 {}", b.pid())));
}

/// One frame for each member would send member counts' worth of bytes; two lanes for one sender would lose the order.
#[tokio::test(flavor = "multi_thread")]
async fn broadcast_reaches_every_member_once_in_order_by_one_frame_a_node() {
    let (one, two) = pair().await;
    let ((a, at_a), (b, at_b), (c, at_c)) = (ear(&one).await, ear(&two).await, ear(&two).await);
    room(&one).join(&a).unwrap();
    room(&two).join(&b).unwrap();
    room(&two).join(&b).unwrap();
    room(&two).join(&c).unwrap();
    sees(&one, &[a.pid(), b.pid(), b.pid(), c.pid()]).await;
    for number in 0..500 {
        let sent = room(&one).broadcast(Say(number));
        assert_eq!(sent, Broadcast { here: 1, missed_here: 0, nodes: 1, missed_nodes: 0 });
    }
    let expected: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    for heard in [at_a, at_b, at_c] {
        heard.becomes(&expected).await;
    }
    let nobody = one.cluster.groups().group::<Ear>("nobody").broadcast(Say(0));
    assert_eq!(nobody, Broadcast::default());
}

/// A broadcast that waited for one member would hold up all; one that misses a member in silence would lie.
#[tokio::test(flavor = "multi_thread")]
async fn member_without_room_misses_a_broadcast_and_holds_up_nobody() {
    let one = Host::core(1, &[]).await;
    let ((slow, _), (a, heard)) = (ear(&one).await, ear(&one).await);
    room(&one).join(&slow).unwrap();
    room(&one).join(&a).unwrap();
    one.system.suspend(slow.pid()).await.unwrap();
    let room_for = tiebeam_actor::Config::default().mailbox_messages_max as usize;
    for number in 0..room_for {
        until("the quick one to have room", || heard.all().len() + 100 > number).await;
        assert_eq!(room(&one).broadcast(Say(0)), Broadcast { here: 2, ..Broadcast::default() });
    }
    until("the quick one to be through", || heard.all().len() == room_for).await;
    assert_eq!(room(&one).broadcast(Say(1)), Broadcast { here: 1, missed_here: 1, ..Broadcast::default() });
    until("the quick one to have heard the last", || heard.all().last().is_some_and(|last| last == "1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_is_too_long_is_refused() {
    let one = Host::core(1, &[]).await;
    let (a, _) = ear(&one).await;
    let refused = one.cluster.groups().group::<Ear>("x".repeat(256)).join(&a);
    assert_eq!(refused, Err(ShareError::TooLarge { what: "group", size: 256, limit: 255 }));
    assert_eq!(one.cluster.groups().group::<Ear>("x".repeat(255)).join(&a), Ok(()));
}

/// Whoever was removed by consensus must be forgotten everywhere, also by whoever wasn't told.
#[tokio::test(flavor = "multi_thread")]
async fn removed_node_is_forgotten_for_good() {
    let (one, two) = pair().await;
    let (b, _) = ear(&two).await;
    room(&two).join(&b).unwrap();
    sees(&one, &[b.pid()]).await;
    one.cluster.forget(two.node());
    assert_eq!(pids(&room(&one).members()), []);
    until("the removed one to know it", || room(&two).join(&b) == Err(ShareError::Stopped)).await;
}

/// Whoever found them still would send to actors that are about to end; whoever could still join would be found.
#[tokio::test(flavor = "multi_thread")]
async fn actors_of_a_node_that_drains_are_not_found_and_still_answer() {
    let (one, two) = pair().await;
    let ((a, heard), (b, _)) = (ear(&one).await, ear(&two).await);
    room(&one).join(&a).unwrap();
    room(&two).join(&b).unwrap();
    one.cluster.names().register("clerk", &a, OnConflict::Exit).unwrap();
    sees(&two, &[a.pid(), b.pid()]).await;
    until("the name to be seen", || two.cluster.names().whereis("clerk").is_some()).await;
    one.cluster.drain();
    sees(&one, &[b.pid()]).await;
    sees(&two, &[b.pid()]).await;
    until("the name to be gone", || two.cluster.names().whereis("clerk").is_none()).await;
    assert_eq!(room(&one).join(&a), Err(ShareError::Draining));
    two.system.addr::<Ear>(a.pid()).cast(Say(7)).await;
    heard.becomes(&["7".to_owned()]).await;
}
