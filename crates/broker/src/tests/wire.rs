//! Requests that no correct client sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

/// Sends bytes and returns the response until the broker closes the connection.
async fn send(broker: &Broker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(broker.bootstrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset counts as a close.
    let closed = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "the connection stays open");
    answer
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).unwrap();
    [&length.to_be_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_closes_its_connection_and_no_other() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let producer = producer(&broker, &[]);
    produce(&producer, "t", 1);
    for rubbish in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        (-5_i32).to_be_bytes().to_vec(),
        framed(b""),
        framed(b"\0\x03"),
        // An unknown key; Metadata in an unsupported version; Metadata cut off after its header.
        framed(b"\x7f\x00\0\0\0\0\0\x01\xff\xff"),
        framed(b"\0\x03\x7f\x00\0\0\0\x01\xff\xff\0"),
        framed(b"\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\x05\0\x09no"),
        // Two billion topics, in both encodings of an array.
        framed(b"\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff"),
        framed(b"\0\x03\0\x09\0\0\0\x01\xff\xff\0\xff\xff\xff\xff\x07"),
    ] {
        assert_eq!(send(&broker, &rubbish).await, b"", "{rubbish:?}");
    }
    produce(&producer, "t", 1);
    assert_eq!(broker.watermarks("t", 0), Some((0, 2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_from_the_future_learns_the_versions() {
    let broker = broker().await;
    let mut stream = TcpStream::connect(broker.bootstrap()).await.unwrap();
    stream
        .write_all(&framed(b"\0\x12\0\x63\0\0\0\x07\xff\xff\0"))
        .await
        .unwrap();
    let mut head = [0; 10];
    timeout(DEADLINE, stream.read_exact(&mut head))
        .await
        .unwrap()
        .unwrap();
    // Correlation id 7, error 35: unsupported version.
    assert_eq!(head[4..], [0, 0, 0, 7, 0, 35]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_beyond_loopback_is_refused() {
    let options = BrokerOptions {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..BrokerOptions::default()
    };
    assert!(Broker::start(options).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_is_free_again_after_the_shutdown() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let producer = producer(&broker, &[]);
    produce(&producer, "t", 1);
    let listen = broker.bootstrap().parse().unwrap();
    broker.shutdown().await;
    let broker = Broker::start(BrokerOptions {
        listen,
        ..BrokerOptions::default()
    })
    .await
    .unwrap();
    // The same producer finds the new broker, which creates the topic again.
    produce(&producer, "t", 3);
    assert_eq!(broker.watermarks("t", 0), Some((0, 3)));
}
