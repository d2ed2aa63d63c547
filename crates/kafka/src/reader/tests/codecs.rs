//! Batches are read whatever codec they were written in.

use std::sync::mpsc::channel;
use std::time::Instant;

use wedcache_rules::invalidation::log::ReaderEvent;

use super::super::super::producer::{OutRecord, Output, OutputOptions};
use super::super::super::testing::{Cluster, PATIENCE};
use super::super::{PartitionReader, ReaderOptions};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_every_codec_are_read() {
    let cluster = Cluster::new(&[("t", 1)]).await;
    // Long enough that no codec leaves it as it is.
    let value = |codec: &str| format!("{codec} ").repeat(200);
    for codec in CODECS {
        let mut client = cluster.client(codec);
        let name = "compression.codec".to_owned();
        client.properties.insert(name, codec.to_owned());
        let output = Output::new(&OutputOptions::new(client)).unwrap();
        let value = value(codec);
        let record = OutRecord::to("t", Some(b"k"), Some(value.as_bytes()));
        let deadline = Instant::now() + PATIENCE;
        output.append_all(&[record; 3], deadline).await.unwrap();
    }
    let (sender, batches) = channel();
    let options = ReaderOptions::new(cluster.client("r"), "t");
    let follow = move |events: Vec<ReaderEvent>| {
        sender.send(events).ok();
    };
    let _reader = PartitionReader::spawn(options, follow).unwrap();
    let wanted: Vec<_> = CODECS
        .iter()
        .flat_map(|codec| vec![value(codec); 3])
        .collect();
    let mut read = Vec::new();
    while read.len() < wanted.len() {
        for event in batches.recv_timeout(PATIENCE).expect("a batch") {
            if let ReaderEvent::Record(record) = event {
                read.push(String::from_utf8(record.value.unwrap()).unwrap());
            }
        }
    }
    assert_eq!(read, wanted);
}
