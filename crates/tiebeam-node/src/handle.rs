use std::sync::Arc;
use std::time::Duration;

use tiebeam_actor::{Actor, Addr, CallError, ChildError, ChildSpec, Named, Supervisor, System};
use tiebeam_cluster::Cluster;
use tiebeam_kv::{Kv, KvError};
use tiebeam_log::{Client, Route};
use tiebeam_topics::catalog::PartitionMeta;
use tiebeam_topics::fetch::FetchClient;
use tiebeam_topics::producer::{OpenError, Producer, ProducerConfig};
use tiebeam_wire::NodeId;
use tiebeam_workflow::Workflows;

use crate::catalog::Catalog;
use crate::services::{ServiceHost, Services};

/// How long starting a workflow or asking for one tries before it fails. Longer than a failover takes.
const WORKFLOW_TIMEOUT: Duration = Duration::from_secs(30);

/// About how many bytes a remote reader asks for at a time.
const FETCH_BYTES: u32 = 1024 * 1024;

/// What code on a node has of its cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) name: Arc<str>,
    pub(crate) system: System,
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) kv: Kv,
    pub(crate) catalog: Catalog,
    pub(crate) services: Services,
    pub(crate) workflows: Workflows,
    pub(crate) root: Addr<Supervisor>,
}

impl Handle {
    pub(crate) fn new(
        name: &str,
        cores: Arc<[NodeId]>,
        cluster: Cluster,
        system: System,
        root: Addr<Supervisor>,
    ) -> Self {
        let client = Client::new(Arc::new(cluster.clone()));
        let kv = Kv::new(client.clone(), Route { group: tiebeam_wire::GroupId::META, replicas: cores.to_vec() });
        let workflows = Workflows::new(client.clone(), crate::layout::workflow_routes(&cores), WORKFLOW_TIMEOUT);
        Self {
            name: Arc::from(name),
            system,
            cluster,
            client,
            catalog: Catalog::new(kv.clone(), cores),
            services: Services::new(kv.clone()),
            kv,
            workflows,
            root,
        }
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's actors.
    #[must_use]
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// The node's place in its cluster: members, groups, names, services.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The cluster's keys.
    #[must_use]
    pub const fn kv(&self) -> &Kv {
        &self.kv
    }

    /// The cluster's topics.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The cluster's workflows.
    #[must_use]
    pub const fn workflows(&self) -> &Workflows {
        &self.workflows
    }

    /// Proposals to and queries of groups.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Opens the producer called `name` of `topic`; an earlier one of that name, anywhere, is fenced.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was done then.
    pub async fn producer(&self, topic: &str, name: &str, config: ProducerConfig) -> Result<Producer, OpenError> {
        Producer::open(self.client.clone(), &self.catalog, topic, name, config).await
    }

    /// Reads `partition` from whichever replica answers.
    #[must_use]
    pub fn reader(&self, partition: PartitionMeta) -> FetchClient {
        FetchClient::new(Arc::new(self.cluster.clone()), partition, FETCH_BYTES)
    }

    /// Puts a child under the node's root supervisor.
    ///
    /// # Errors
    /// [`ChildError`], as if it has the id of another child.
    pub async fn supervise(&self, child: ChildSpec) -> Result<(), ChildError> {
        self.root.start_child(child).await.map(drop)
    }

    /// Says that the service `name`, an actor registered under that name here, runs on this node from now on.
    ///
    /// # Errors
    /// [`KvError`] if the registry can't be reached.
    pub async fn register_service(&self, name: &str) -> Result<(), KvError> {
        let host = ServiceHost { node: self.cluster.node(), incarnation: self.cluster.incarnation() };
        self.services.register(name, host).await
    }

    /// Finds the service `name`, wherever it runs.
    ///
    /// # Errors
    /// [`FindError`]; trying again can help.
    pub async fn service<A: Actor>(&self, name: &str) -> Result<Named<A>, FindError> {
        let host = self.services.find(name).await?.ok_or_else(|| FindError::Unknown(name.to_owned()))?;
        Ok(self.system.named(host.node, name))
    }

    /// Forgets where `name` runs if `error` means that it may run elsewhere by now; says whether a call may be made again
    /// without harm if the service recognises repetitions.
    pub fn service_failed(&self, name: &str, error: &CallError) -> bool {
        self.services.forget(name);
        !matches!(error, CallError::Incompatible)
    }
}

/// Why a service was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Nobody registered it.
    #[error("service {0:?} is not registered")]
    Unknown(String),
    /// The registry can't be reached.
    #[error("registry of services can't be reached")]
    Kv(#[from] KvError),
}
