use std::sync::Arc;

use proptest::prelude::*;
use tiebeam_storage::fault::MemDisk;
use tiebeam_storage::{Config, Wal};

use crate::support::{Model, Op, config, observe, wait};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// The log and a plain vector agree after every operation, whether entries come from memory or from disk, whether or
    /// not the caller waits, and after every reopening. Catches any slip in indexes, caches, checkpoints and drops.
    #[test]
    fn log_agrees_with_a_plain_vector(
        draws in proptest::collection::vec(any::<u64>(), 1..60),
        cache in prop_oneof![Just(0_usize), Just(300), Just(1 << 20)],
        segment in prop_oneof![Just(1_u64), Just(700), Just(5000)],
    ) {
        let disk = MemDisk::new();
        let config = Config { cache_bytes_max: cache, segment_bytes_max: segment, ..config() };
        let open = || Wal::open(config.clone(), Arc::new(disk.clone())).expect("the disk is sound");
        let mut model = Model::new();
        let mut wal = open().0;
        for (version, draw) in (0..).zip(draws) {
            let op = Op::draw(draw);
            if draw >> 60 < 8 {
                wait(|done| op.apply(version, &mut model, &wal, done)).expect("the disk works");
            } else {
                op.apply(version, &mut model, &wal, |_| ()).expect("the disk works");
            }
            prop_assert_eq!(&observe(&wal), &model, "after {:?}", op);
            if draw >> 60 == 0 {
                drop(wal);
                let (reopened, recovered) = open();
                prop_assert_eq!(recovered.torn, None);
                wal = reopened;
                prop_assert_eq!(&observe(&wal), &model, "reopened after {:?}", op);
            }
        }
    }
}
