use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tiebeam_cluster::{Cluster, Service};
use tiebeam_log::Group;
use tiebeam_wire::{GroupId, NodeId};

use super::{FetchReply, FetchRequest, read_bytes, wait_past};
use crate::partition::Partition;

/// The partitions of which this node holds a replica; serves their records to others. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FetchServer {
    groups: Arc<RwLock<BTreeMap<GroupId, Group<Partition>>>>,
}

impl FetchServer {
    /// Serves `group` from now on.
    pub fn insert(&self, group: Group<Partition>) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(group.id(), group);
    }

    /// Serves the group no longer. Fetches under way end as they would have.
    pub fn remove(&self, group: GroupId) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    /// The replica of `group` on this node.
    #[must_use]
    pub fn find(&self, group: GroupId) -> Option<Group<Partition>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// All partitions of which this node holds a replica, in order of group.
    #[must_use]
    pub fn groups(&self) -> Vec<Group<Partition>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Answers the topics service of `cluster`. Every member may ask; who may read what is not decided here.
    pub fn serve_on(&self, cluster: &Cluster) {
        let server = self.clone();
        cluster.serve(Service::TOPICS, Arc::new(move |_, body| server.clone().answer(body).boxed()));
    }

    /// Answers one request; an error says what can't be read in it.
    ///
    /// # Errors
    /// Text for the asker, if `body` is no request.
    pub async fn answer(self, body: Bytes) -> Result<Bytes, String> {
        let request = FetchRequest::decode(&body).map_err(|e| format!("fetch request can't be decoded: {e}"))?;
        let Some(group) = self.find(request.group) else { return Ok(FetchReply::NotHere.encode()) };
        let end = wait_past(&group, request.offset, request.wait()).await;
        let reply = match read_bytes(&group, request.offset, request.bytes_max as usize).await {
            Ok(bytes) => FetchReply::Batches { end, leader: group.leader(), bytes },
            Err(error) => {
                tracing::error!(group = %request.group, error = &error as &dyn std::error::Error, "records can't be read");
                FetchReply::Failed(error.to_string())
            }
        };
        Ok(reply.encode())
    }
}

/// Carries a fetch to the node that is asked.
pub trait FetchTransport: Send + Sync + 'static {
    /// Asks `to` and waits for its answer, at most for `timeout`; an error is for people.
    fn fetch(&self, to: NodeId, body: Bytes, timeout: Duration) -> BoxFuture<'static, Result<Bytes, String>>;
}

impl FetchTransport for Cluster {
    fn fetch(&self, to: NodeId, body: Bytes, timeout: Duration) -> BoxFuture<'static, Result<Bytes, String>> {
        let cluster = self.clone();
        async move { cluster.request(to, Service::TOPICS, body, timeout).await.map_err(|e| e.to_string()) }.boxed()
    }
}
