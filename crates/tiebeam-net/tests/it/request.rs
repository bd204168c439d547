//! Requests and lanes between two nodes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tiebeam_net::{Declined, FRAME_BYTES_MAX, Handler, Lane, Reason, RequestError, SendError, Service};
use tiebeam_wire::Role;

use crate::pair::{Echo, authority, endpoint, meet, pair, pair_of};

const LANE: Lane = Lane { service: Service::ACTOR, index: 3 };

#[tokio::test(flavor = "multi_thread")]
async fn request_is_answered() {
    let pair = pair(Role::Core).await;
    let ask = |body: &'static str| pair.asker.request(Service::RAFT, Bytes::from_static(body.as_bytes()));
    assert_eq!(ask("hello").await.unwrap(), "hello");
    assert_eq!(ask("").await.unwrap(), "");
    assert_eq!(ask("fail").await, Err(RequestError::Failed("it broke".to_owned())));
    assert_eq!(ask("nobody").await, Err(RequestError::NoService));
}

/// A thousand callers share 192 streams, and none is lost or mixed up.
#[tokio::test(flavor = "multi_thread")]
async fn thousand_requests_at_once_get_their_own_answers() {
    let pair = pair(Role::Core).await;
    let requests = (0..1000_u32).map(|n| pair.asker.request(Service::GROUP, n.to_be_bytes().to_vec().into()));
    for (n, answer) in join_all(requests).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), u32::try_from(n).unwrap().to_be_bytes().to_vec());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_beyond_the_limit_of_waiting_ones_is_refused() {
    let pair = pair_of(|config| config.requests_max = 2, Role::Core).await;
    let requests = (0..3).map(|_| Box::pin(pair.asker.request(Service::GROUP, "forever".into())));
    let (answer, ..) = futures::future::select_all(requests).await;
    assert_eq!(answer, Err(RequestError::Overloaded { limit: 2 }));
    // The places are given back by callers that gave up.
    assert_eq!(pair.asker.request(Service::GROUP, "one more".into()).await.unwrap(), "one more");
}

/// Callers that wait for ever on one service must not keep Raft from its peers.
#[tokio::test(flavor = "multi_thread")]
async fn raft_has_streams_of_its_own() {
    let pair = pair(Role::Core).await;
    let _waiting: Vec<_> = (0..300)
        .map(|_| {
            let asker = pair.asker.clone();
            tiebeam_world::spawn("test.wait", async move { asker.request(Service::GROUP, "forever".into()).await })
                .into_guard()
        })
        .collect();
    for _ in 0..100 {
        assert_eq!(pair.asker.request(Service::RAFT, "vote".into()).await.unwrap(), "vote");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn body_of_ten_mebibytes_arrives_whole() {
    let pair = pair(Role::Core).await;
    let body: Bytes = (0..10 * 1024 * 1024_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(pair.asker.request(Service::GROUP, body.clone()).await.unwrap(), body);
}

#[tokio::test(flavor = "multi_thread")]
async fn body_beyond_a_frame_is_refused_both_ways() {
    let pair = pair(Role::Core).await;
    let size = FRAME_BYTES_MAX + 1;
    let request = pair.asker.request(Service::GROUP, vec![0; size].into()).await;
    assert_eq!(request, Err(RequestError::TooLarge { size }));
    assert_eq!(pair.asker.request(Service::GROUP, "huge".into()).await, Err(RequestError::TooLarge { size }));
    assert_eq!(pair.asker.request(Service::GROUP, "fine".into()).await.unwrap(), "fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_may_not_ask_for_raft() {
    let pair = pair(Role::Edge).await;
    assert_eq!(pair.asker.request(Service::RAFT, "vote".into()).await, Err(RequestError::Forbidden));
    assert_eq!(pair.asker.request(Service::RAFT, vec![0; 8 << 20].into()).await, Err(RequestError::Forbidden));
    assert_eq!(pair.asker.request(Service::GROUP, "put".into()).await.unwrap(), "put");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_may_not_open_a_lane() {
    let pair = pair(Role::Admin).await;
    let lane = pair.asker.lane(LANE);
    let refused = loop {
        match lane.send("x".into()) {
            Err(error) => break error,
            Ok(()) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(refused, SendError::Forbidden { service: Service::ACTOR });
    assert_eq!(pair.echo.frames.lock().unwrap().len(), 0);
}

/// Order and wholeness across many writes and one large frame in their midst; a lost or swapped frame would show.
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_a_lane_keep_their_order() {
    let pair = pair(Role::Core).await;
    let lane = pair.asker.lane(LANE);
    for n in 0..20_000_u32 {
        lane.send(n.to_be_bytes().to_vec().into()).unwrap();
    }
    lane.send(vec![1; 1 << 20].into()).unwrap();
    lane.send("last".into()).unwrap();
    while pair.echo.frames.lock().unwrap().len() < 20_002 {
        tiebeam_world::sleep(Duration::from_millis(1)).await;
    }
    let frames = std::mem::take(&mut *pair.echo.frames.lock().unwrap());
    for (n, (lane, frame)) in frames.iter().take(20_000).enumerate() {
        assert_eq!((*lane, &frame[..]), (LANE, &u32::try_from(n).unwrap().to_be_bytes()[..]));
    }
    assert_eq!((frames[20_000].1.len(), &frames[20_001].1[..]), (1 << 20, &b"last"[..]));
}

/// Fails if the thread that hands frames over dies with it: the node would be deaf.
#[tokio::test(flavor = "multi_thread")]
async fn panic_over_a_frame_ends_its_connection_alone() {
    struct Panics;
    impl Handler for Panics {
        fn request(&self, _: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, Declined>> {
            std::future::ready(Ok(body)).boxed()
        }

        fn frame(&self, _: Lane, _: Bytes) {
            panic!("no frames here");
        }
    }
    let authority = authority();
    let acceptor = endpoint(&authority, 1, Role::Core);
    let mut peers = Vec::new();
    for node in [2, 3] {
        let dialler = endpoint(&authority, node, Role::Core);
        let (asker, served) = meet(&dialler, &acceptor, None).await;
        served.as_ref().unwrap().serve(Arc::new(Panics));
        peers.push((dialler, asker.unwrap(), served));
    }
    peers[0].1.lane(LANE).send("boom".into()).unwrap();
    assert_eq!(peers[0].1.closed().await.reason, Reason::Protocol);
    assert_eq!(peers[1].1.request(Service::GROUP, "fine".into()).await.unwrap(), "fine");
}

/// A peer that doesn't read may not fill this node's memory; the connection goes, rather than a frame in the midst.
#[tokio::test(flavor = "multi_thread")]
async fn full_lane_closes_the_connection() {
    let pair = pair_of(|config| config.lane_bytes_max = 100_000, Role::Core).await;
    // Nobody serves the asker, so what is sent to it waits: flow control stops the lane after its window.
    let lane = pair.asker.lane(LANE);
    let mut sent = 0_u32;
    let error = loop {
        match lane.send(vec![0; 50_000].into()) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(sent > 0, "a frame fits into an empty lane");
    assert!(matches!(error, SendError::Overflow { .. }), "{error}");
    // The word of it is one packet behind a megabyte of others, and like them can be lost; the connection ends anyway.
    assert!(matches!(pair.echoer.closed().await.reason, Reason::Overflow | Reason::Lost));
    assert_eq!(lane.send("more".into()), Err(error));
    assert_eq!(pair.asker.close_reason().unwrap().reason, Reason::Overflow, "this side knows why it closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connection_fails_what_waits_and_what_comes() {
    let pair = pair(Role::Core).await;
    let asker = pair.asker.clone();
    let waiting =
        tiebeam_world::spawn("test.wait", async move { asker.request(Service::GROUP, "forever".into()).await });
    assert!(pair.asker.request(Service::GROUP, "up".into()).await.is_ok());
    pair.echoer.close(Reason::Shutdown, "bye");
    assert_eq!(waiting.await.unwrap(), Err(RequestError::Lost));
    assert_eq!(pair.asker.request(Service::GROUP, "up".into()).await, Err(RequestError::Lost));
    let refusal = pair.asker.closed().await;
    assert_eq!((refusal.reason, &refusal.detail[..]), (Reason::Shutdown, "bye"));
}

/// After `drained` no frame may come: what the dead connection still delivered would mix with the next one's.
#[tokio::test(flavor = "multi_thread")]
async fn drained_peer_delivers_no_more() {
    let pair = pair(Role::Core).await;
    let lane = pair.asker.lane(LANE);
    for _ in 0..1000 {
        lane.send(vec![0; 1000].into()).unwrap();
    }
    pair.asker.close(Reason::Shutdown, "");
    pair.echoer.drained().await;
    let count = |echo: &Echo| echo.frames.lock().unwrap().len();
    let drained = count(&pair.echo);
    tokio::task::yield_now().await;
    assert_eq!(count(&pair.echo), drained);
}
