//! Batches of records, one behind the other. The checksum is mended, or nothing would come past it.
#![no_main]

use bytes::Bytes;
use tiebeam_topics::batch::RecordBatch;
use tiebeam_wire::checksum::crc32c;

/// Where the checksum is, and where what it covers begins.
const CRC: usize = 17;
const CRC_FROM: usize = 21;

fn read(bytes: Vec<u8>) {
    let mut bytes = Bytes::from(bytes);
    while let Ok(Some(batch)) = RecordBatch::take_first(&mut bytes) {
        for record in batch.records() {
            std::hint::black_box(record);
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    read(bytes.to_vec());
    if bytes.len() > CRC_FROM {
        let mut mended = bytes.to_vec();
        let size = u32::try_from(mended.len() - 12).expect("inputs are small");
        mended[8..12].copy_from_slice(&size.to_be_bytes());
        let crc = crc32c(&mended[CRC_FROM..]);
        mended[CRC..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        read(mended);
    }
});
