use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use super::{CHILDREN_MAX, ChildSpec, SupervisorSpec};
use crate::{Actor, Addr, ExitReason, Pid, Starter, System};

/// Several children of one kind, and a key says which of them serves it; for an actor that would be the bottleneck.
///
/// A handle: it describes the supervisor, and finds the children while that runs. Start it once, by
/// [`spec`](Self::spec); clones find the same children. The name is Elixir's; these partitions are those of no topic.
///
/// ```
/// # use tiebeam_actor::{Agent, CallError, ChildSpec, PartitionSupervisor, SupervisorSpec, System};
/// # async fn example(system: System, user: &str) -> Result<(), CallError> {
/// let hits = PartitionSupervisor::<Agent<u64>>::new(&system, None, |_partition| 0);
/// let tree = SupervisorSpec::one_for_one().child(ChildSpec::supervisor("hits", hits.spec()));
/// // Once the tree has started:
/// hits.addr(user).update(|hits| *hits += 1).await?;
/// # Ok(())
/// # }
/// ```
///
/// Further reading: `PartitionSupervisor` of Elixir.
pub struct PartitionSupervisor<A: Actor> {
    system: System,
    partitions: Arc<[Partition<A>]>,
}

struct Partition<A: Actor> {
    args: Box<dyn Fn() -> A::Args + Send + Sync>,
    /// The latest life; none before the first start.
    addr: Mutex<Option<Addr<A>>>,
}

impl<A: Actor> PartitionSupervisor<A> {
    /// Describes `count` children, as many as there are cores if none is given; at least 1, at most 1,024.
    /// `args` makes what the child of a partition, counted from 0, begins each of its lives with.
    pub fn new(system: &System, count: Option<u32>, args: impl Fn(u32) -> A::Args + Send + Sync + 'static) -> Self {
        let cores = || available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
        let count = count.unwrap_or_else(cores).clamp(1, CHILDREN_MAX as u32);
        let args = Arc::new(args);
        let partition = |number| {
            let args = Arc::clone(&args);
            Partition { args: Box::new(move || args(number)), addr: Mutex::new(None) }
        };
        Self { system: system.clone(), partitions: (0..count).map(partition).collect() }
    }

    /// Returns the supervisor to start: one for one, its children permanent and called by the numbers of their partitions.
    #[must_use]
    pub fn spec(&self) -> SupervisorSpec {
        self.spec_with(|child| child)
    }

    /// Returns the supervisor to start with its children changed, as by [`ChildSpec::is_supervisor`].
    #[must_use]
    pub fn spec_with(&self, change: impl Fn(ChildSpec) -> ChildSpec) -> SupervisorSpec {
        let children = (0..self.count()).map(|number| {
            let all = self.clone();
            change(ChildSpec::new(number.to_string(), move |starter| all.clone().start(starter, number)))
        });
        children.fold(SupervisorSpec::one_for_one(), SupervisorSpec::child)
    }

    /// Returns the child that serves `key` now: a restarted one has another address, so ask for each message. Equal keys
    /// are served by the same partition as long as the program runs. While a child is being restarted, and before its
    /// first start, calls to it fail with [`CallError::NoProc`](crate::CallError::NoProc).
    #[must_use]
    pub fn addr<K: Hash + ?Sized>(&self, key: &K) -> Addr<A> {
        // Always with the same keys, unlike the hasher of a hash map.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.of(&self.partitions[(hasher.finish() % self.partitions.len() as u64) as usize])
    }

    /// Returns the child of a partition, as [`addr`](Self::addr) does; none if there is no partition of this number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<Addr<A>> {
        self.partitions.get(number as usize).map(|partition| self.of(partition))
    }

    /// Counts the partitions.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.partitions.len() as u32
    }

    async fn start(self, starter: Starter, number: u32) -> Result<Pid, ExitReason> {
        let partition = &self.partitions[number as usize];
        let addr = starter.spawn::<A>((partition.args)()).await?;
        let pid = addr.pid();
        *partition.addr.lock().unwrap_or_else(PoisonError::into_inner) = Some(addr);
        Ok(pid)
    }

    fn of(&self, partition: &Partition<A>) -> Addr<A> {
        let addr = partition.addr.lock().unwrap_or_else(PoisonError::into_inner);
        addr.clone().unwrap_or_else(|| self.system.addr(self.system.root()))
    }
}

impl<A: Actor> Clone for PartitionSupervisor<A> {
    fn clone(&self) -> Self {
        Self { system: self.system.clone(), partitions: Arc::clone(&self.partitions) }
    }
}

impl<A: Actor> fmt::Debug for PartitionSupervisor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionSupervisor").field("count", &self.count()).finish_non_exhaustive()
    }
}
