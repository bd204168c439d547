use proptest::prelude::*;

use super::*;

/// Three records as kafka-python 3.0.12 encodes them: producer 4242, epoch 7, sequence 2^31 - 2; a header with a value
/// and one without; no key and empty key; a timestamp that goes back.
const GOLDEN: &str = "0000000000000000000000590000000002c88b2c3b0000000000020000018bcfe568000000018bcfe568fa00000000000\
    0109200077ffffffe000000032e000000066b65790a76616c7565040468310278046832010e00f403020100000e00cf0f04000100";

fn golden() -> Bytes {
    let nibble = |n: u8| char::from(n).to_digit(16).unwrap() as u8;
    GOLDEN.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
}

fn golden_records() -> Vec<Record> {
    let header =
        |key: &str, value: Option<&'static [u8]>| Header { key: key.to_owned(), value: value.map(Bytes::from_static) };
    let record = |offset, timestamp_ms, key: Option<&'static [u8]>, value: Option<&'static [u8]>| Record {
        offset: Offset::ZERO.advance(offset),
        timestamp_ms,
        key: key.map(Bytes::from_static),
        value: value.map(Bytes::from_static),
        headers: Vec::new(),
    };
    let first = record(0, 1_700_000_000_000, Some(b"key"), Some(b"value"));
    vec![
        Record { headers: vec![header("h1", Some(b"x")), header("h2", None)], ..first },
        record(1, 1_700_000_000_250, None, Some(b"")),
        record(2, 1_699_999_999_000, Some(b""), None),
    ]
}

fn build(records: &[Record], producer: Option<ProducerStamp>) -> RecordBatch {
    let mut builder = BatchBuilder::default();
    for record in records {
        builder.push(record).unwrap();
    }
    builder.build(producer).unwrap()
}

/// Writes `value` at `at` and makes the checksum right again, so that what lies behind it is reached.
fn doctored(at: usize, value: &[u8]) -> Result<RecordBatch, BatchError> {
    let mut bytes = golden().to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    let crc = checksum::crc32c(&bytes[at::ATTRIBUTES..]);
    bytes[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::decode(bytes.into())
}

#[test]
fn batch_of_another_implementation_is_read() {
    let batch = RecordBatch::decode(golden()).unwrap();
    assert_eq!(batch.records().collect::<Vec<_>>(), golden_records());
    assert_eq!(batch.producer(), Some(ProducerStamp { id: 4242, epoch: 7, base_sequence: i32::MAX - 1 }));
    assert_eq!(batch.max_timestamp_ms(), 1_700_000_000_250);
}

/// Byte for byte what another implementation writes, but for the leader epoch: it leaves 0 there, Java's client -1.
#[test]
fn batch_is_built_as_another_implementation_builds_it() {
    let producer = ProducerStamp { id: 4242, epoch: 7, base_sequence: i32::MAX - 1 };
    let mut expected = golden().to_vec();
    expected[at::LEADER_EPOCH..at::MAGIC].copy_from_slice(&[0xff; 4]);
    assert_eq!(build(&golden_records(), Some(producer)).bytes()[..], expected[..]);
}

#[test]
fn placing_a_batch_keeps_its_checksum() {
    let batch = RecordBatch::decode(golden()).unwrap().at(Offset::ZERO.advance(1_000));
    assert_eq!(RecordBatch::decode(batch.bytes().clone()).unwrap(), batch);
    assert_eq!(batch.records().map(|r| r.offset.get()).collect::<Vec<_>>(), [1_000, 1_001, 1_002]);
    assert_eq!(batch.end_offset().get(), 1_003);
}

#[test]
fn batches_are_taken_one_by_one() {
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&golden());
    bytes.extend_from_slice(build(&golden_records()[..1], None).bytes());
    let mut bytes = bytes.freeze();
    assert_eq!(RecordBatch::take_first(&mut bytes).unwrap().unwrap().records_count(), 3);
    assert_eq!(RecordBatch::take_first(&mut bytes).unwrap().unwrap().records_count(), 1);
    assert!(RecordBatch::take_first(&mut bytes).unwrap().is_none());
}

#[test]
fn each_field_is_checked() {
    use BatchError as E;
    assert!(matches!(RecordBatch::decode(golden().slice(..60)), Err(E::Short { size: 60 })));
    assert!(matches!(RecordBatch::decode(golden().slice(..100)), Err(E::Length { claimed: 101, size: 100 })));
    assert!(matches!(doctored(at::LENGTH, &[0xff; 4]), Err(E::Length { claimed: 11, .. })));
    assert!(matches!(doctored(at::LENGTH, &i32::MAX.to_be_bytes()), Err(E::TooLarge { .. })));
    assert!(matches!(doctored(at::MAGIC, &[1]), Err(E::Magic(1))));
    assert!(matches!(doctored(at::ATTRIBUTES, &[0, 4]), Err(E::Attributes(4))));
    assert!(matches!(doctored(0, &(-1_i64).to_be_bytes()), Err(E::BaseOffset(-1))));
    assert!(matches!(doctored(0, &(i64::MAX - 2).to_be_bytes()), Err(E::BaseOffset(_))));
    assert!(doctored(0, &(i64::MAX - 3).to_be_bytes()).is_ok());
    assert!(matches!(doctored(at::LAST_OFFSET_DELTA, &[0, 0, 0, 3]), Err(E::Count { count: 3, last_delta: 3 })));
    assert!(matches!(doctored(at::COUNT, &[0; 4]), Err(E::Count { count: 0, .. })));
    assert!(matches!(doctored(at::COUNT, &[0xff; 4]), Err(E::Count { count: -1, .. })));
    assert!(matches!(doctored(at::PRODUCER_ID, &(-2_i64).to_be_bytes()), Err(E::Producer { id: -2, .. })));
    assert!(matches!(doctored(at::PRODUCER_EPOCH, &[0xff, 0xff]), Err(E::Producer { epoch: -1, .. })));
    assert!(matches!(doctored(at::BASE_SEQUENCE, &[0xff; 4]), Err(E::Producer { sequence: -1, .. })));
    assert!(matches!(doctored(at::MAX_TIMESTAMP, &[0; 8]), Err(E::MaxTimestamp { said: 0, .. })));
    assert!(matches!(doctored(at::BASE_TIMESTAMP, &[0x7f; 8]), Err(E::MaxTimestamp { .. })));
}

/// Offsets into the golden bytes: the first record begins at 61 with its length, attributes, timestamp and offset delta.
#[test]
fn each_field_of_a_record_is_checked() {
    use RecordError as E;
    let refused = |at, value: &[u8]| match doctored(at, value) {
        Err(BatchError::Record { number, source }) => (number, source),
        other => panic!("expected a refused record, got {other:?}"),
    };
    assert_eq!(refused(61, &[0x2c]), (0, E::Length { said: 22, found: 23 }));
    assert_eq!(refused(64, &[0x02]), (0, E::OffsetDelta(1)));
    assert_eq!(refused(65, &[0x03]), (0, E::FieldLength(-2)));
    assert_eq!(refused(65, &[0x7e]), (0, E::Short));
    assert_eq!(refused(75, &[0x03]), (0, E::Headers(-2)));
    assert_eq!(refused(76, &[0x01]), (0, E::FieldLength(-1)));
    assert_eq!(refused(77, &[0xff, 0xff]), (0, E::HeaderKey));
    assert_eq!(refused(65, &[0xff; 12]), (0, E::Varint));
    assert_eq!(refused(at::BASE_TIMESTAMP, &[0; 8]), (2, E::Timestamp));
}

/// Without the check, anything could be smuggled between two batches of a log.
#[test]
fn bytes_after_the_last_record_are_refused() {
    let mut bytes = golden().to_vec();
    bytes.push(0);
    bytes[at::LENGTH + 3] += 1;
    let crc = checksum::crc32c(&bytes[at::ATTRIBUTES..]);
    bytes[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(RecordBatch::decode(bytes.into()), Err(BatchError::Trailing(1)));
}

#[test]
fn full_batch_takes_no_more() {
    let record = Record { value: Some(Bytes::from(vec![7; 400])), ..Record::default() };
    let mut builder = BatchBuilder::new(1_000, 100);
    assert_eq!(builder.push(&record), Ok(()));
    assert_eq!(builder.push(&record), Ok(()));
    assert_eq!(builder.push(&record), Err(PushError::Full));
    let mut builder = BatchBuilder::new(1_000, 1);
    assert_eq!(builder.push(&record), Ok(()));
    assert_eq!(builder.push(&record), Err(PushError::Full));
}

#[test]
fn record_that_never_fits_is_refused_as_such() {
    let record = Record { value: Some(Bytes::from(vec![7; 1_000])), ..Record::default() };
    let mut builder = BatchBuilder::new(1_000, 100);
    assert!(matches!(builder.push(&record), Err(PushError::TooLarge { limit: 1_000, .. })));
    assert!(builder.build(None).is_none());
}

#[test]
fn largest_batch_is_read_back() {
    let mut builder = BatchBuilder::default();
    let record = Record { value: Some(Bytes::from(vec![7; BATCH_BYTES_MAX / 2 - 45])), ..Record::default() };
    builder.push(&record).unwrap();
    builder.push(&record).unwrap();
    let batch = builder.build(None).unwrap();
    assert!(batch.bytes().len() > BATCH_BYTES_MAX - 32, "{}", batch.bytes().len());
    assert!(RecordBatch::decode(batch.bytes().clone()).is_ok());
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from))
}

pub(crate) fn any_record() -> impl Strategy<Value = Record> {
    let header = (".{0,9}", any_bytes()).prop_map(|(key, value)| Header { key, value });
    let headers = proptest::collection::vec(header, 0..4);
    (any_bytes(), any_bytes(), headers, prop_oneof![Just(-1), Just(i64::MAX - 1), 0..2_000_000_000_000_i64]).prop_map(
        |(key, value, headers, timestamp_ms)| Record { offset: Offset::ZERO, timestamp_ms, key, value, headers },
    )
}

proptest! {
    #[test]
    fn what_was_built_is_read_back(records in proptest::collection::vec(any_record(), 1..20)) {
        let batch = RecordBatch::decode(build(&records, None).bytes().clone()).unwrap();
        let read: Vec<Record> = batch.records().map(|r| Record { offset: Offset::ZERO, ..r }).collect();
        prop_assert_eq!(read, records);
    }

    /// A varint whose size is told wrong would make a record longer than its length field says.
    #[test]
    fn varint_has_the_size_it_says(value: i64, shift in 0..64_u32) {
        let value = value >> shift;
        let mut bytes = BytesMut::new();
        varint::put(&mut bytes, value);
        prop_assert_eq!(bytes.len(), varint::size(value));
        prop_assert_eq!(Cursor::new(&bytes, 0).varlong(), Ok(value));
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
        let _ = RecordBatch::decode(bytes.into());
    }

    /// Flips bits behind a right checksum, so that the whole decoder is reached.
    #[test]
    fn any_damage_decodes_or_is_refused(at in at::ATTRIBUTES..101_usize, value: u8, other in 61..101_usize, and: u8) {
        let mut bytes = golden().to_vec();
        bytes[at] = value;
        bytes[other] = and;
        let crc = checksum::crc32c(&bytes[at::ATTRIBUTES..]);
        bytes[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        if let Ok(batch) = RecordBatch::decode(bytes.into()) {
            prop_assert_eq!(batch.records().count() as u32, batch.records_count());
        }
    }

    #[test]
    fn flipped_bit_is_noticed(at in at::CRC..101_usize, bit in 0..8_u8) {
        let mut bytes = golden().to_vec();
        bytes[at] ^= 1 << bit;
        let refused = matches!(RecordBatch::decode(bytes.into()), Err(BatchError::Checksum { .. }));
        prop_assert!(refused);
    }
}
