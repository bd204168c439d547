//! Certificates are replaced and nodes are revoked while actors talk.

use tiebeam_cluster::MemberEvent;
use tiebeam_net::Denied;
use tiebeam_wire::{NodeId, Role};

use crate::host::{Host, all_joined, is_quiet, net, next, soon, until};

/// A rotation is nobody's loss: no member goes down, so no link or monitor breaks.
#[tokio::test(flavor = "multi_thread")]
async fn replaced_certificate_takes_no_member_down() {
    let one = Host::core(1, &[]).await;
    let two = Host::core(2, &[one.address()]).await;
    all_joined(&[&one, &two]).await;
    let (mut at_one, mut at_two) = (one.cluster.subscribe(), two.cluster.subscribe());
    assert_eq!((next(&mut at_one).await, next(&mut at_two).await), ("up n2 i1".to_owned(), "up n1 i1".to_owned()));
    one.cluster.rotate(net(1, 1, Role::Core).credentials).unwrap();
    two.cluster.rotate(net(2, 1, Role::Core).credentials).unwrap();
    // A third node joins with what is shown now, and by that time the two have heard of each other's.
    let three = Host::core(3, &[one.address()]).await;
    all_joined(&[&one, &two, &three]).await;
    assert_eq!((next(&mut at_one).await, next(&mut at_two).await), ("up n3 i1".to_owned(), "up n3 i1".to_owned()));
    assert!(is_quiet(&mut at_one) && is_quiet(&mut at_two));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_member_goes_down_and_stays_down() {
    let one = Host::core(1, &[]).await;
    let two = Host::core(2, &[one.address()]).await;
    let three = Host::core(3, &[one.address()]).await;
    all_joined(&[&one, &two, &three]).await;
    let mut at_one = one.cluster.subscribe();
    assert_eq!((next(&mut at_one).await, next(&mut at_one).await), ("up n2 i1".to_owned(), "up n3 i1".to_owned()));
    for host in [&one, &three] {
        host.cluster.revoke(Denied::Node(NodeId(2))).unwrap();
    }
    assert_eq!(next(&mut at_one).await, "down n2 i1");
    let live = |host: &Host| host.cluster.members().iter().filter(|member| member.live).count();
    until("the revoked node to be alone", || live(&two) == 1).await;
    // A restart is another start of the same node.
    let mut config = crate::host::config(2, Role::Core, &[one.address()]);
    config.net = net(2, 2, Role::Core);
    let two = two.restart(config).await;
    let four = Host::core(4, &[one.address()]).await;
    assert!(
        matches!(soon("the fourth", at_one.next()).await, Some(MemberEvent::Up(member)) if member.node == NodeId(4))
    );
    all_joined_without(&[&one, &three, &four], NodeId(2)).await;
    assert!(is_quiet(&mut at_one), "the revoked node never came up again");
    drop(two);
}

/// Waits until each of `hosts` is connected to all others among them.
async fn all_joined_without(hosts: &[&Host], out: NodeId) {
    until("everybody but one to be connected", || {
        hosts.iter().all(|host| {
            let live = host.cluster.members().into_iter().filter(|member| member.live && member.node != out);
            live.count() == hosts.len()
        })
    })
    .await;
}
