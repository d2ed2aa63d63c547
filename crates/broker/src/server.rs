//! Connections: framing, one task for each, responses in the order of the requests; and the task
//! that ends sessions and rebalances in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Shared;
use super::api::{self, RequestError};

const LENGTH_BYTES: usize = 4;
const READ_BUFFER_BYTES: usize = 64 << 10;
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Accepts connections until the broker stops, then closes all of them.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_time(Arc::clone(&shared)));
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection of the embedded broker ended badly");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => accept(&mut tasks, &shared, stream, peer),
                Err(error) => {
                    // Most likely out of file descriptors: wait instead of spinning.
                    tracing::warn!(%error, "embedded broker cannot accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
    tasks.shutdown().await;
}

fn accept(tasks: &mut JoinSet<()>, shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // One of the tasks is `keep_time`, so the limit is `>` and not `>=`.
    if tasks.len() > shared.options.max_connections {
        tracing::warn!(%peer, limit = shared.options.max_connections, "too many connections");
        return;
    }
    let shared = Arc::clone(shared);
    tasks.spawn(async move {
        match converse(&shared, stream, peer).await {
            Ok(()) => tracing::trace!(%peer, "connection closed"),
            Err(error) => tracing::debug!(%peer, %error, "connection closed"),
        }
    });
}

async fn converse(
    shared: &Shared,
    stream: TcpStream,
    peer: SocketAddr,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
    let host = peer.ip().to_string();
    while let Some(frame) = read_frame(&mut stream, shared.options.max_request_bytes).await? {
        if let Some(answer) = api::handle(shared, frame, &host).await? {
            stream.get_mut().write_all(&answer).await?;
        }
    }
    Ok(())
}

/// Returns the next request, or `None` if the peer has closed between two requests.
async fn read_frame(
    stream: &mut BufReader<TcpStream>,
    max_bytes: usize,
) -> Result<Option<Bytes>, ConnectionError> {
    let mut length = [0; LENGTH_BYTES];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let stated = i32::from_be_bytes(length);
    let length = usize::try_from(stated)
        .ok()
        .filter(|length| *length <= max_bytes)
        .ok_or(ConnectionError::Length {
            stated,
            limit: max_bytes,
        })?;
    let mut frame = BytesMut::zeroed(length);
    stream.read_exact(&mut frame).await?;
    Ok(Some(frame.freeze()))
}

/// Ends sessions and rebalances when their time is up.
async fn keep_time(shared: Arc<Shared>) {
    loop {
        let next = shared.groups().next_deadline();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.groups_changed.notified() => {}
            () = due => shared.groups().expire(Instant::now()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a request of {stated} bytes is not within 0..={limit}")]
    Length { stated: i32, limit: usize },
    #[error(transparent)]
    Request(#[from] RequestError),
}
