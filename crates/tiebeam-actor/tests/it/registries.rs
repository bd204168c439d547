use tiebeam_actor::registry::{Keys, RegistryConfig, RegistryError, Via};
use tiebeam_actor::{Agent, CallError, ExitReason, Registry, Supervisor, SupervisorSpec, System};
use tokio::sync::mpsc;

use crate::probe::{Heard, Note, Probe, probe, settle, system};

async fn registry(system: &System, keys: Keys) -> Registry<String, u32> {
    let registry = Registry::new(system, RegistryConfig { keys, entries_max: 4 });
    registry.start(system.starter()).await.unwrap();
    registry
}

#[tokio::test(start_paused = true)]
async fn unique_key_has_one_holder() {
    let system = system(1);
    let names = registry(&system, Keys::Unique).await;
    let (a, b) = (probe(&system).await, probe(&system).await);
    let (a, b) = (a.addr.pid(), b.addr.pid());
    names.register(a, "x".into(), 1).await.unwrap();
    for pid in [a, b] {
        assert_eq!(names.register(pid, "x".into(), 2).await, Err(RegistryError::Taken { holder: a }));
    }
    assert_eq!((names.lookup("x"), names.whereis("x"), names.whereis("y")), (vec![(a, 1)], Some(a), None));
    names.update_value(a, "x".into(), 3).await.unwrap();
    assert_eq!(names.lookup("x"), [(a, 3)]);
    assert_eq!(names.unregister(b, "x".into()).await, Err(RegistryError::Missing { pid: b }));
    names.unregister(a, "x".into()).await.unwrap();
    settle().await;
    assert_eq!(system.process_info(a).unwrap().monitored_by, []);
    names.register(b, "x".into(), 4).await.unwrap();
    assert_eq!((names.whereis("x"), names.count()), (Some(b), 1));
}

/// Stops in the middle of its process's end: that has ended, and nobody was told yet.
struct Dying {
    begins: mpsc::UnboundedSender<()>,
    goes_on: std::sync::mpsc::Receiver<()>,
}

impl Drop for Dying {
    fn drop(&mut self) {
        let _ = self.begins.send(());
        let _ = self.goes_on.recv();
    }
}

/// Fails if a dead process is found, or keeps its key, until the registry has heard of its death.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dead_process_is_not_found_and_holds_no_key() {
    let system = system(1);
    let names = registry(&system, Keys::Unique).await;
    let ((begins, mut begun), (go_on, goes_on)) = (mpsc::unbounded_channel(), std::sync::mpsc::channel());
    let dying = system.spawn::<Agent<Dying>>(Dying { begins, goes_on }).await.unwrap();
    let (pid, heir) = (dying.pid(), probe(&system).await.addr.pid());
    names.register(pid, "x".into(), 1).await.unwrap();
    assert_eq!((names.whereis("x"), names.keys(pid)), (Some(pid), vec!["x".to_owned()]));
    system.exit(pid, ExitReason::Kill);
    begun.recv().await.unwrap();
    assert_eq!((names.lookup("x"), names.whereis("x"), names.keys(pid)), (vec![], None, vec![]));
    assert_eq!(names.register(pid, "y".into(), 1).await, Err(RegistryError::NoProc { pid }));
    assert_eq!(names.register(heir, "x".into(), 2).await, Ok(()));
    go_on.send(()).unwrap();
    system.wait(pid).await;
    assert_eq!(names.lookup("x"), [(heir, 2)]);
}

/// Fails if the late news of a death takes the key from its next holder.
#[tokio::test(start_paused = true)]
async fn key_of_the_dead_is_free() {
    let system = system(1);
    let names = registry(&system, Keys::Unique).await;
    let (a, b) = (probe(&system).await, probe(&system).await);
    for (ear, value) in [(&a, 1), (&b, 2)] {
        names.register(ear.addr.pid(), "x".into(), value).await.unwrap();
        assert_eq!(names.lookup("x"), [(ear.addr.pid(), value)]);
        a.addr.stop(ExitReason::Normal).await.ok();
    }
    settle().await;
    assert_eq!((names.lookup("x"), names.count()), (vec![(b.addr.pid(), 2)], 1));
}

#[tokio::test(start_paused = true)]
async fn topic_reaches_all_that_follow_it() {
    let system = system(1);
    let topics = registry(&system, Keys::Duplicate).await;
    let (mut a, mut b) = (probe(&system).await, probe(&system).await);
    for (ear, value) in [(&b, 1), (&a, 2), (&b, 3)] {
        topics.register(ear.addr.pid(), "news".into(), value).await.unwrap();
    }
    topics.register(a.addr.pid(), "other".into(), 9).await.unwrap();
    let refused = topics.register(a.addr.pid(), "more".into(), 9).await;
    assert_eq!(refused, Err(RegistryError::TooMany { limit: 4 }));
    let publish = |topics: &Registry<String, u32>| {
        topics.dispatch("news", |pid, value| system.addr::<Probe>(pid).try_cast(Note(value)).unwrap());
    };
    publish(&topics);
    assert_eq!(a.heard().await, [Heard::Note(2)]);
    assert_eq!(b.heard().await, [Heard::Note(1), Heard::Note(3)]);
    assert_eq!(topics.keys(a.addr.pid()), ["news", "other"]);
    topics.unregister(b.addr.pid(), "news".into()).await.unwrap();
    publish(&topics);
    assert_eq!((a.heard().await, b.heard().await), (vec![Heard::Note(2)], vec![]));
    system.exit(a.addr.pid(), ExitReason::Kill);
    settle().await;
    assert_eq!((topics.count(), topics.lookup("news")), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn via_reaches_whoever_has_the_key_now() {
    let system = system(1);
    let names = registry(&system, Keys::Unique).await;
    let via: Via<Probe, String, u32> = names.via("x".into());
    assert_eq!(via.call(Note(1)).await, Err(CallError::NoProc));
    assert_eq!(via.try_cast(Note(1)), Err(CallError::NoProc));
    let (mut a, mut b) = (probe(&system).await, probe(&system).await);
    names.register(a.addr.pid(), "x".into(), 0).await.unwrap();
    via.cast(Note(2)).await;
    assert_eq!(a.heard().await, [Heard::Note(2)]);
    a.addr.stop(ExitReason::Normal).await.unwrap();
    names.register(b.addr.pid(), "x".into(), 0).await.unwrap();
    assert_eq!(via.call(Note(3)).await, Ok(()));
    assert_eq!(b.heard().await, [Heard::Note(3)]);
}

#[tokio::test(start_paused = true)]
async fn restarted_registry_is_empty_and_works() {
    let system = system(1);
    let names = Registry::<u64>::new(&system, RegistryConfig::default());
    let a = probe(&system).await;
    assert_eq!(names.register(a.addr.pid(), 1, ()).await, Err(RegistryError::Call(CallError::NoProc)));
    let spec = SupervisorSpec::one_for_one().child(names.child_spec("names"));
    let supervisor = system.spawn::<Supervisor>(spec).await.unwrap();
    assert!(names.start(system.starter()).await.is_err(), "it runs already");
    names.register(a.addr.pid(), 1, ()).await.unwrap();
    let child = system.process_info(supervisor.pid()).unwrap().links[0];
    system.exit(child, ExitReason::Kill);
    settle().await;
    assert_eq!((names.whereis(&1), names.count()), (None, 0));
    names.register(a.addr.pid(), 1, ()).await.unwrap();
    assert_eq!(names.whereis(&1), Some(a.addr.pid()));
    supervisor.stop(ExitReason::Shutdown).await.unwrap();
    assert_eq!(names.whereis(&1), None);
}

/// Many want the same few names, some get them, all die. Fails if a name has two holders or a holder is not found, and
/// never ends if an entry stays behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn storm_of_names_leaves_nothing_behind() {
    let system = system(1);
    let names = Registry::<u64, u64>::new(&system, RegistryConfig::default());
    names.start(system.starter()).await.unwrap();
    let contender = |contender: u64| {
        let (system, names) = (system.clone(), names.clone());
        async move {
            let mut held = 0;
            for round in 0..50 {
                let agent = system.spawn::<Agent<u64>>(round).await.unwrap();
                let key = (contender + round) % 3;
                match names.register(agent.pid(), key, contender).await {
                    Ok(()) => {
                        held += 1;
                        assert_eq!(names.lookup(&key), [(agent.pid(), contender)]);
                    }
                    Err(error) => assert!(matches!(error, RegistryError::Taken { .. }), "{error}"),
                }
                assert!(names.lookup(&key).len() <= 1);
                system.exit(agent.pid(), ExitReason::Kill);
                system.wait(agent.pid()).await;
            }
            held
        }
    };
    let held: Vec<u64> = futures::future::join_all((0..8).map(|number| tokio_task(contender(number)))).await;
    assert!(held.iter().sum::<u64>() >= 50, "{held:?}");
    // The news of the last deaths is on its way.
    let last = probe(&system).await.addr.pid();
    while names.count() > 0 {
        assert_eq!(names.unregister(last, 0).await, Err(RegistryError::Missing { pid: last }));
    }
}

/// Runs beside the others, on a thread of its own if there is one.
async fn tokio_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tiebeam_world::spawn("test.contender", work).await.unwrap()
}
