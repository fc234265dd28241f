use std::time::Duration;

use super::DiskRoom::{Critical, Enough, Short};
use super::*;

#[test]
fn states_follow_the_room_and_do_not_flutter() {
    let steps = [
        (Enough, 800, Enough),
        (Enough, 799, Short),
        (Short, 850, Short),
        (Short, 900, Enough),
        (Short, 200, Short),
        (Short, 199, Critical),
        (Critical, 220, Critical),
        (Critical, 225, Short),
        (Critical, 1_000, Enough),
        (Enough, 0, Critical),
    ];
    for (before, free, after) in steps {
        assert_eq!(judge(free, 800, before), after, "{before:?}, {free} free");
    }
    assert_eq!(judge(0, 0, Enough), Enough, "switched off");
}

#[test]
fn whoever_does_not_measure_has_room() {
    let space = DiskSpace::default();
    assert_eq!(space.admit(usize::MAX), Ok(()));
    assert_eq!((space.full(), space.spare()), (None, u64::MAX));
}

#[test]
fn a_measurement_closes_it_and_another_opens_it() {
    let space = DiskSpace::default();
    assert_eq!(space.measured(7_000, 1_000), None);
    assert_eq!((space.admit(100), space.spare()), (Ok(()), 5_800));
    assert_eq!(space.measured(700, 1_000), Some(Short));
    let full = Full { free: 700, required: 1_000 };
    assert_eq!(space.full(), Some(full));
    assert_eq!(space.admit(1), Err(Full { free: 500, ..full }));
    assert_eq!(space.admit_entries(1), Ok(()));
    assert_eq!(space.measured(200, 1_000), Some(Critical));
    assert!(space.admit_entries(1).is_err());
    assert_eq!(space.measured(7_000, 1_000), Some(Enough));
    assert_eq!((space.full(), space.admit(1)), (None, Ok(())));
}

#[test]
fn a_snapshot_needs_room_twice_until_it_is_installed() {
    let space = Arc::<DiskSpace>::default();
    let mut unmeasured = Reservation::new(Arc::clone(&space), 10);
    assert_eq!(unmeasured.grow(10), Ok(()));
    drop(unmeasured);
    space.begin_measuring();
    space.begin_measuring();
    space.measured(10_000, 1_000);
    let mut room = Reservation::new(Arc::clone(&space), 2_000);
    assert_eq!(room.grow(3_000), Ok(()));
    let full = Full { free: 2_000, required: 1_000 };
    assert_eq!(room.grow(1_000), Err(full), "2,000 again, 3,000 and 3,000 again");
    space.begin_measuring();
    space.begin_measuring();
    space.measured(7_000, 1_000);
    assert_eq!(space.spare(), 1_000, "what came was written");
    drop(room);
    assert_eq!(space.spare(), 6_000);
}

#[tokio::test(start_paused = true)]
async fn load_between_two_measurements_is_counted() {
    let space = DiskSpace::default();
    let is_due = async || {
        let due = space.measurement_due();
        tokio::time::timeout(Duration::from_secs(1), due).await.is_ok()
    };
    space.begin_measuring();
    space.measured(2_000, 1_000);
    assert_eq!(space.admit(700), Ok(()));
    assert!(!is_due().await);
    // Half of what is required is left to whoever was measured, or did not write it yet.
    assert_eq!(space.admit(100), Err(Full { free: 600, required: 1_000 }));
    assert!(is_due().await);
    assert_eq!(space.admit_entries(100), Ok(()), "others may take three quarters");
    assert!(space.admit_entries(100).is_err());
    assert!(is_due().await);
    // What was taken may not be on the disk yet.
    space.begin_measuring();
    space.measured(2_000, 1_000);
    assert!(space.admit(100).is_err());
    space.begin_measuring();
    space.measured(1_200, 1_000);
    assert_eq!(space.admit(100), Ok(()), "it is now");
}
