//! The HTTP port: `/livez`, `/readyz`, `/readyz/stream` and `/metrics`. The REST API will be added
//! beside them.

mod problem;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use problem::Problem;

use crate::health::{Health, Readiness};
use crate::metrics::Metrics;

#[derive(Clone)]
pub struct Served {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("cannot listen on {address}; set server.listen (WEDCACHE_LISTEN) to a free address")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the HTTP server stopped")]
    Serve { source: std::io::Error },
}

/// A server that has its port and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the port; port 0 takes any free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, ApiError> {
        let listen = |source| ApiError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is cancelled; requests under way are finished.
    pub async fn serve(self, served: Served, stop: CancellationToken) -> Result<(), ApiError> {
        axum::serve(self.listener, router(served))
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
            .map_err(|source| ApiError::Serve { source })
    }
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/stream", get(readyz_stream))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(served)
}

async fn livez(State(served): State<Served>) -> Response {
    if served.health.is_live() {
        "ok\n".into_response()
    } else {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Not live")
            .detail("a record has been unfinished for too long: restart this process")
            .into_response()
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    shown(served.health.readiness())
}

async fn readyz_stream(State(served): State<Served>) -> Response {
    shown(served.health.stream_readiness())
}

/// Returns the readiness as a response, in one shape whether ready or not.
fn shown(readiness: Readiness) -> Response {
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, Json(readiness)).into_response()
}

async fn metrics(State(served): State<Served>) -> Response {
    match served.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Metrics cannot be shown")
            .detail(error.to_string())
            .into_response(),
    }
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "No such page").detail(format!(
        "{} is not here; there are /livez, /readyz, /readyz/stream and /metrics",
        uri.path()
    ))
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").detail("use GET")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Phase;

    #[tokio::test]
    async fn the_port_tells_life_readiness_and_metrics_and_refuses_the_rest_as_problems() {
        crate::outbound::install_crypto();
        let served = Served {
            health: Arc::new(Health::new(Duration::from_mins(1))),
            metrics: Arc::new(Metrics::new(["vendor_matching".into()])),
        };
        let port = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", port.address());
        let taken = Server::bind(port.address()).await.err().unwrap();
        assert!(taken.to_string().contains("WEDCACHE_LISTEN"), "{taken}");
        let stop = CancellationToken::new();
        let answering = tokio::spawn(port.serve(served.clone(), stop.clone()));
        let ask = |path: &str| reqwest::get(format!("{base}{path}"));

        assert_eq!(ask("/livez").await.unwrap().status(), 200);
        for (change, ready, stream) in [
            (None, 503, 503),
            (Some(Phase::Ready), 200, 503),
            (Some(Phase::Draining), 503, 503),
        ] {
            if let Some(phase) = change {
                served.health.enter(phase);
            }
            for (path, wanted) in [("/readyz", ready), ("/readyz/stream", stream)] {
                let reply = ask(path).await.unwrap();
                assert_eq!(reply.status(), wanted, "{path} {change:?}");
                let text = reply.text().await.unwrap();
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(json["ready"], wanted == 200, "{text}");
                assert_eq!(json["components"]["kafka"]["state"], "down", "{text}");
            }
        }
        served.health.enter(Phase::Ready);
        served.health.partitions(1);
        assert_eq!(ask("/readyz/stream").await.unwrap().status(), 200);
        let metrics = ask("/metrics").await.unwrap().text().await.unwrap();
        assert!(metrics.contains("wedcache_queries_total{cache_type=\"vendor_matching\""));
        assert_eq!(ask("/nothing").await.unwrap().status(), 404);

        stop.cancel();
        answering.await.unwrap().unwrap();
    }
}
