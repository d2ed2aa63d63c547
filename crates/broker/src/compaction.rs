//! Compaction as with `cleanup.policy=compact`, on demand: the last record of every key stays.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::batch::rewrite;
use super::log::Batch;
use super::records::records;

/// Returns the batches after compaction and the number of removed records. Offsets stay; a
/// tombstone stays as the last record of its key.
pub(super) fn compact(batches: VecDeque<Batch>) -> (VecDeque<Batch>, usize) {
    let last = last_offsets(&batches);
    let mut removed = 0;
    let kept = batches
        .into_iter()
        .filter_map(|batch| {
            let (batch, gone) = thin_out(batch, &last);
            removed += gone;
            batch
        })
        .collect();
    (kept, removed)
}

fn last_offsets(batches: &VecDeque<Batch>) -> HashMap<Bytes, i64> {
    let mut last = HashMap::new();
    for batch in batches {
        for record in records(&batch.bytes).into_iter().flatten() {
            if let Some(key) = record.key {
                last.insert(
                    batch.bytes.slice_ref(key),
                    batch.base_offset + record.offset_delta,
                );
            }
        }
    }
    last
}

fn thin_out(batch: Batch, last: &HashMap<Bytes, i64>) -> (Option<Batch>, usize) {
    let Some(all) = records(&batch.bytes) else {
        return (Some(batch), 0);
    };
    let kept: Vec<_> = all
        .iter()
        .filter(|record| match record.key {
            Some(key) => last.get(key) == Some(&(batch.base_offset + record.offset_delta)),
            None => true,
        })
        .collect();
    let removed = all.len() - kept.len();
    if removed == 0 {
        return (Some(batch), 0);
    }
    if kept.is_empty() {
        return (None, removed);
    }
    let count = i32::try_from(kept.len()).expect("fewer than the batch's own count, an i32");
    let bytes = rewrite(
        &batch.bytes,
        count,
        &kept
            .iter()
            .map(|record| record.raw)
            .collect::<Vec<_>>()
            .concat(),
    );
    (Some(Batch { bytes, ..batch }), removed)
}
