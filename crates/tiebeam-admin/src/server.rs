use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::Stream;
use futures::future::BoxFuture;
use tiebeam_api::{ClusterView, Health, NodeStatus};
use tiebeam_world::TaskGuard;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::{metrics, page};

/// How often the dashboard looks, at most.
const REFRESH: Duration = Duration::from_millis(500);

/// Most browsers that watch one node at once; the next gets 503.
const WATCHERS_MAX: usize = 64;

/// What the faces ask of the node behind them.
pub trait Source: Send + Sync + 'static {
    /// Says whether the node does its work.
    fn health(&self) -> Health;
    /// What the node says about itself.
    fn status(&self) -> NodeStatus;
    /// What an application of this node reports, as JSON; none if there is no such application here.
    fn app(&self, name: &str) -> Option<String>;
    /// What the cluster looks like from here; asks the other members and waits for them a bounded time.
    fn cluster(&self) -> BoxFuture<'_, ClusterView>;
}

/// Why an HTTP address was not taken.
#[derive(Debug, thiserror::Error)]
#[error("http address {address} can't be used")]
pub struct ServeError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// The HTTP server of a node; stops when dropped.
pub struct Server {
    address: SocketAddr,
    _tasks: [TaskGuard; 2],
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Shared {
    source: Arc<dyn Source>,
    /// The dashboard's body as last rendered.
    body: watch::Receiver<Arc<str>>,
    watchers: Arc<Semaphore>,
}

/// An address that is taken and not served yet: whoever connects waits.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServeError`] if the address is taken or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let error = |source| ServeError { address, source };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Self { listener, address })
    }

    /// Serves `source` from now on.
    #[must_use]
    pub fn serve(self, source: Arc<dyn Source>) -> Server {
        let Self { listener, address } = self;
        let (tx, body) = watch::channel(Arc::from(""));
        let render = tiebeam_world::spawn("admin.render", render(Arc::clone(&source), tx));
        let shared = Shared { source, body, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) };
        let router = Router::new()
            .route("/", get(dashboard))
            .route("/events", get(events))
            .route("/api/health", get(health))
            .route("/api/cluster", get(cluster))
            .route("/api/apps/{name}", get(app))
            .route("/metrics", get(prometheus))
            .with_state(shared);
        let serve = tiebeam_world::spawn("admin.http", async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "http server stopped");
            }
        });
        Server { address, _tasks: [render.into_guard(), serve.into_guard()] }
    }
}

impl Server {
    /// Where the server listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Looks at the cluster on behalf of all browsers, and not at all while there is none.
async fn render(source: Arc<dyn Source>, body: watch::Sender<Arc<str>>) {
    loop {
        // The one receiver that is always there belongs to the server itself.
        if body.receiver_count() > 1 {
            let html: Arc<str> = page::body(&source.cluster().await).into_string().into();
            body.send_if_modified(|old| {
                let changed = *old != html;
                *old = html;
                changed
            });
        }
        tiebeam_world::sleep(REFRESH).await;
    }
}

async fn dashboard(State(shared): State<Shared>) -> Response {
    let view = shared.source.cluster().await;
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    let headers = [(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy))];
    (headers, page::whole(&view)).into_response()
}

async fn events(State(shared): State<Shared>) -> Response {
    let Ok(permit) = shared.watchers.try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many watchers of this node").into_response();
    };
    Sse::new(bodies(shared.body.clone(), permit)).keep_alive(KeepAlive::default()).into_response()
}

fn bodies(
    body: watch::Receiver<Arc<str>>,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold((body, permit), |(mut body, permit)| async move {
        body.changed().await.ok()?;
        let html = body.borrow_and_update().to_string();
        Some((Ok(Event::default().data(html)), (body, permit)))
    })
}

async fn health(State(shared): State<Shared>) -> Response {
    let health = shared.source.health();
    let code = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(health)).into_response()
}

async fn cluster(State(shared): State<Shared>) -> Json<ClusterView> {
    Json(shared.source.cluster().await)
}

async fn app(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    match shared.source.app(&name) {
        Some(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        None => (StatusCode::NOT_FOUND, format!("no application {name:?} on this node\n")).into_response(),
    }
}

async fn prometheus(State(shared): State<Shared>) -> Response {
    let text = metrics::render(&shared.source.status());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
