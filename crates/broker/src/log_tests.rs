//! Single appends, with batches built by hand.

use proptest::prelude::*;

use super::super::batch::HEADER_BYTES;
use super::*;

const RULES: AppendRules = AppendRules {
    max_batch_bytes: 1 << 20,
    max_log_bytes: 1 << 20,
    log_append_time: None,
};

/// Returns a batch of a producer, from a sequence number on, with `count` opaque records.
fn batch(producer: (i64, i16), sequence: i32, count: i32) -> Vec<u8> {
    let records = b"opaque";
    let mut batch = vec![0; HEADER_BYTES];
    batch.extend_from_slice(records);
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    // A codec, so that the records are not parsed.
    batch[21..23].copy_from_slice(&1_i16.to_be_bytes());
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[43..51].copy_from_slice(&producer.0.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.1.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn append(log: &mut PartitionLog, batch: &[u8]) -> Result<i64, ResponseError> {
    let appended = log.append(batch, &RULES);
    appended
        .map(|appended| appended.base_offset)
        .map_err(|error| error.code())
}

#[test]
fn retried_batch_gets_the_offset_that_it_has() {
    let mut log = PartitionLog::default();
    for number in 0..3 {
        assert_eq!(
            append(&mut log, &batch((7, 0), number * 2, 2)),
            Ok(i64::from(number) * 2)
        );
    }
    assert_eq!(append(&mut log, &batch((7, 0), 2, 2)), Ok(2));
    assert_eq!(log.end(), 6);
}

#[test]
fn sequence_must_go_on_without_a_gap() {
    let out_of_order = Err(ResponseError::OutOfOrderSequenceNumber);
    let mut log = PartitionLog::default();
    append(&mut log, &batch((7, 0), 0, 2)).unwrap();
    assert_eq!(append(&mut log, &batch((7, 0), 3, 1)), out_of_order);
    // The same first number with another length is another batch.
    assert_eq!(append(&mut log, &batch((7, 0), 0, 1)), out_of_order);
    assert_eq!(append(&mut log, &batch((7, 0), 2, 1)), Ok(2));
    // Another producer has its own numbers, and this partition does not know the last one.
    assert_eq!(append(&mut log, &batch((8, 0), 40, 1)), Ok(3));
    assert_eq!(append(&mut log, &batch((NO_PRODUCER, -1), -1, 1)), Ok(4));
}

#[test]
fn new_epoch_starts_at_zero_and_fences_the_old_one() {
    let mut log = PartitionLog::default();
    append(&mut log, &batch((7, 0), 0, 1)).unwrap();
    let early = append(&mut log, &batch((7, 1), 1, 1));
    assert_eq!(early, Err(ResponseError::OutOfOrderSequenceNumber));
    assert_eq!(append(&mut log, &batch((7, 1), 0, 1)), Ok(1));
    let old = append(&mut log, &batch((7, 0), 1, 1));
    assert_eq!(old, Err(ResponseError::InvalidProducerEpoch));
}

#[test]
fn sequence_wraps_to_zero() {
    let mut log = PartitionLog::default();
    append(&mut log, &batch((7, 0), i32::MAX - 1, 2)).unwrap();
    assert_eq!(append(&mut log, &batch((7, 0), 0, 1)), Ok(2));
}

#[test]
fn damaged_batch_is_refused() {
    let good = batch((7, 0), 0, 1);
    let damaged = |at: usize, with: u8| {
        let mut batch = good.clone();
        batch[at] = with;
        append(&mut PartitionLog::default(), &batch).unwrap_err()
    };
    assert_eq!(damaged(16, 1), ResponseError::UnsupportedForMessageFormat);
    assert_eq!(damaged(HEADER_BYTES, b'x'), ResponseError::CorruptMessage);
    assert_eq!(damaged(11, 0), ResponseError::CorruptMessage);
    assert_eq!(damaged(8, 0x7f), ResponseError::CorruptMessage);
    let short = append(&mut PartitionLog::default(), &good[..20]);
    assert_eq!(short, Err(ResponseError::CorruptMessage));
    let two = append(
        &mut PartitionLog::default(),
        &[good.clone(), good.clone()].concat(),
    );
    assert_eq!(two, Err(ResponseError::CorruptMessage));
}

#[test]
fn read_gives_the_first_batch_whole_and_the_rest_as_they_fit() {
    let mut log = PartitionLog::default();
    let one = batch((NO_PRODUCER, -1), -1, 10);
    for _ in 0..3 {
        append(&mut log, &one).unwrap();
    }
    let count = |offset, bytes, whole| log.read(offset, bytes, whole).map(|read| read.len());
    assert_eq!(count(0, 1, true), Ok(1));
    assert_eq!(count(0, 1, false), Ok(0));
    assert_eq!(count(0, one.len() * 2, true), Ok(2));
    // From the middle of the second batch on.
    assert_eq!(count(15, 1 << 20, true), Ok(2));
    assert_eq!(count(30, 1 << 20, true), Ok(0));
    assert_eq!(
        count(31, 1 << 20, true),
        Err(OutOfRange {
            offset: 31,
            start: 0,
            end: 30
        })
    );
    assert_eq!(log.delete_before(15), Ok(15));
    let log_read = log.read(15, 1 << 20, true).map(|read| read.len());
    assert_eq!(log_read, Ok(2));
    assert_eq!(
        log.read(14, 1, true),
        Err(OutOfRange {
            offset: 14,
            start: 15,
            end: 30
        })
    );
}

proptest! {
    #[test]
    fn no_bytes_make_an_append_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut log = PartitionLog::default();
        prop_assert!(log.append(&bytes, &RULES).is_err());
    }

    #[test]
    fn no_records_make_a_look_up_or_a_compaction_panic(
        records in prop::collection::vec(any::<u8>(), 0..100),
        count in 1..5_i32,
    ) {
        let mut built = batch((NO_PRODUCER, -1), -1, count);
        built.truncate(HEADER_BYTES);
        built.extend_from_slice(&records);
        let length = i32::try_from(built.len() - 12).unwrap();
        built[8..12].copy_from_slice(&length.to_be_bytes());
        built[22] = 0;
        let crc = crc32c::crc32c(&built[21..]);
        built[17..21].copy_from_slice(&crc.to_be_bytes());
        let mut log = PartitionLog::default();
        prop_assert_eq!(append(&mut log, &built), Ok(0));
        log.find_by_time(0);
        log.compact();
        prop_assert_eq!(log.end(), i64::from(count));
    }
}
