#![expect(unsafe_code, reason = "touches stacks")]

use std::fs;
use std::io;
use std::mem;
use std::ptr;
use std::thread;

use super::*;
use crate::page;
use crate::testing::{assert_done, assert_killed, in_child, stderr, time_limit};
use crate::usage::{self, usage};

fn take_one(class: Class) -> Slot {
    let mut slots = Vec::new();
    take(class, 1, &mut slots).unwrap();
    slots.pop().unwrap()
}

fn take_all(class: Class, n: usize) -> io::Result<Vec<Slot>> {
    let mut slots = Vec::new();
    while slots.len() < n {
        take(class, n - slots.len(), &mut slots)?;
    }
    Ok(slots)
}

fn touch(addr: usize) {
    // SAFETY: the caller owns the slot, or wants the fault.
    unsafe { ptr::with_exposed_provenance_mut::<u8>(addr).write_volatile(1) };
}

fn read(addr: usize) -> u8 {
    // SAFETY: the caller owns the slot.
    unsafe { ptr::with_exposed_provenance::<u8>(addr).read_volatile() }
}

/// How many pages of the slot are resident.
fn n_resident(slot: &Slot) -> usize {
    let n_pages = slot.class().slot_bytes() / page::size();
    let mut pages = vec![0_u8; n_pages];
    let start = ptr::with_exposed_provenance_mut(slot.limit());
    // SAFETY: the slot is mapped, and there is a byte for each of its pages.
    let result = unsafe { libc::mincore(start, slot.class().slot_bytes(), pages.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    pages.iter().filter(|&page| page & 1 != 0).count()
}

fn limit_address_space(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit is complete.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

fn forbid_descriptors() {
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is complete.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[test]
fn sizes_and_traits() {
    fn is_send<T: Send>() {}
    is_send::<Slot>();
    assert_eq!(size_of::<Slot>(), size_of::<usize>());
    assert_eq!(size_of::<Option<Slot>>(), size_of::<usize>());
    assert_eq!(size_of::<slot::Entry>(), 4 * size_of::<usize>());
}

#[test]
fn classes_are_in_order() {
    assert_eq!(Class::COUNT, 5);
    assert!(Class::ALL.is_sorted_by(|a, b| a < b && a.slot_bytes() < b.slot_bytes()));
    for (idx, class) in Class::ALL.into_iter().enumerate() {
        assert_eq!(class.index(), idx);
        assert_eq!(Class::for_size(class.slot_bytes()), Some(class));
        assert_eq!(
            Class::for_size(class.slot_bytes() + 1),
            Class::ALL.get(idx + 1).copied()
        );
        assert_eq!(class.guard_bytes() % page::size(), 0);
        assert!(
            class.slab_slots_first() >= 1 && class.slab_slots_first() <= class.slab_slots_max()
        );
    }
    assert_eq!(Class::for_size(0), Some(Class::Kib64));
    assert_eq!(Class::for_size(usize::MAX), None);
    assert_eq!(Class::Kib64.guard_bytes(), page::size());
    assert_eq!(Class::Kib256.guard_bytes(), 16 * 1024);
    assert_eq!(Class::Mib8.to_string(), "8 MiB");
}

#[test]
fn a_slot_is_usable_from_top_to_guard() {
    let _limit = time_limit(60);
    for class in Class::ALL {
        let slot = take_one(class);
        assert_eq!(slot.class(), class);
        assert_eq!(slot.limit() % page::size(), 0);
        assert_eq!(slot.top() % 128, 0);
        assert!(slot.top() <= slot.limit() + class.slot_bytes());
        assert!(slot.top() > slot.limit() + class.slot_bytes() - 1024);
        assert_eq!(
            slot.usable_bytes(),
            slot.top() - slot.limit() - class.guard_bytes()
        );
        touch(slot.top() - 1);
        touch(slot.limit() + class.guard_bytes());
        assert_eq!(n_resident(&slot), 2);
    }
}

#[test]
fn neighbours_have_sixteen_colours() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        let slots = take_all(Class::Kib64, 32).unwrap();
        let colours: Vec<usize> = slots
            .iter()
            .map(|slot| slot.limit() + (64 << 10) - slot.top())
            .collect();
        let expected: Vec<usize> = (0..32).map(|idx| idx % 16 * 128).collect();
        assert_eq!(colours, expected);
    });
    assert_done(&child);
}

#[test]
fn take_gives_at_least_one_and_at_most_n() {
    let _limit = time_limit(60);
    let mut slots = Vec::new();
    take(Class::Kib64, 0, &mut slots).unwrap();
    assert_eq!(slots.len(), 0);
    for n in [1, 2, 5000] {
        slots.clear();
        take(Class::Kib64, n, &mut slots).unwrap();
        assert!((1..=n).contains(&slots.len()));
    }
}

#[test]
fn no_slot_is_given_out_twice() {
    let _limit = time_limit(60);
    let mut lows: Vec<usize> = thread::scope(|scope| {
        let takers: Vec<_> = (0..4)
            .map(|seed: usize| {
                scope.spawn(move || {
                    let mut slots = Vec::new();
                    for round in 0..200 {
                        take(Class::Kib64, (seed + round) % 40 + 1, &mut slots).unwrap();
                        if round % 3 == seed % 3 {
                            let mut half = slots.split_off(slots.len() / 2);
                            give_back(&mut half);
                        }
                    }
                    slots
                        .into_iter()
                        .map(|slot| mem::ManuallyDrop::new(slot).limit())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        takers
            .into_iter()
            .flat_map(|taker| taker.join().unwrap())
            .collect()
    });
    let n = lows.len();
    lows.sort_unstable();
    lows.dedup();
    assert_eq!(lows.len(), n);
}

#[test]
fn the_last_slot_back_is_the_first_out() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        let mut slots = take_all(Class::Mib1, 16).unwrap();
        let low = slots[7].limit();
        drop(slots.remove(7));
        assert_eq!(take_one(Class::Mib1).limit(), low);
        let mut last = slots.split_off(12);
        let lows: Vec<usize> = last.iter().map(Slot::limit).collect();
        give_back(&mut slots);
        give_back(&mut last);
        assert_eq!((slots.len(), last.len()), (0, 0));
        take(Class::Mib1, 3, &mut slots).unwrap();
        assert!(slots.iter().all(|slot| lows.contains(&slot.limit())));
    });
    assert_done(&child);
}

#[test]
fn classes_given_back_together_go_to_their_own_depots() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        let mut slots = Vec::new();
        for _ in 0..10 {
            Class::ALL
                .into_iter()
                .for_each(|class| take(class, 3, &mut slots).unwrap());
        }
        give_back(&mut slots);
        for (class, stats) in Class::ALL.into_iter().zip(stats().classes) {
            assert_eq!(stats.n_free, stats.n_slots);
            let slots = take_all(class, stats.n_free).unwrap();
            assert!(slots.iter().all(|slot| slot.class() == class));
        }
    });
    assert_done(&child);
}

#[test]
fn slabs_double_and_statistics_count_them() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        assert_eq!(stats().classes, [ClassStats::default(); Class::COUNT]);
        let mut slots = take_all(Class::Mib8, 4).unwrap();
        let expected = ClassStats {
            n_slabs: 1,
            n_slots: 4,
            n_free: 0,
        };
        assert_eq!(stats().classes[Class::Mib8.index()], expected);
        slots.extend(take_all(Class::Mib8, 5).unwrap());
        let expected = ClassStats {
            n_slabs: 2,
            n_slots: 12,
            n_free: 3,
        };
        // The first taker of a slab gets what it asks for and no more.
        assert_eq!(stats().classes[Class::Mib8.index()], expected);
        give_back(&mut slots);
        let expected = ClassStats {
            n_free: 12,
            ..expected
        };
        assert_eq!(stats().classes[Class::Mib8.index()], expected);
    });
    assert_done(&child);
}

#[test]
fn a_touched_guard_is_a_segmentation_fault() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        touch(take_one(Class::Kib256).limit() + Class::Kib256.guard_bytes() - 1)
    });
    assert_killed(&child, libc::SIGSEGV);
}

#[test]
fn a_guard_faults_at_its_lowest_byte() {
    let _limit = time_limit(60);
    let child = in_child(&[], || touch(take_one(Class::Kib64).limit()));
    assert_killed(&child, libc::SIGSEGV);
}

#[test]
fn a_guard_of_mprotect_faults() {
    let _limit = time_limit(60);
    let child = in_child(&[("GREENRT_STACK_GUARDS", "mprotect")], || {
        let slot = take_one(Class::Kib256);
        assert_eq!(stats().guards, GuardKind::Protect);
        touch(slot.top() - 1);
        touch(slot.limit() + Class::Kib256.guard_bytes());
        eprintln!("usable");
        touch(slot.limit() + Class::Kib256.guard_bytes() - 1);
    });
    assert_killed(&child, libc::SIGSEGV);
    assert!(stderr(&child).contains("usable"));
}

#[test]
fn guards_survive_give_back() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        // Neighbours: they are given back in one piece, guards in the middle.
        let mut slots = take_all(Class::Kib256, 16).unwrap();
        let lows: Vec<usize> = slots.iter().map(Slot::limit).collect();
        give_back(&mut slots);
        let slots = take_all(Class::Kib256, 16).unwrap();
        assert!(slots.iter().all(|slot| lows.contains(&slot.limit())));
        eprintln!("again");
        touch(slots[7].limit());
    });
    assert_killed(&child, libc::SIGSEGV);
    assert!(stderr(&child).contains("again"));
}

#[test]
fn without_a_descriptor_for_batches_guards_are_set_one_by_one() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        forbid_descriptors();
        let mut slots = take_all(Class::Kib256, 100).unwrap();
        slots.iter().for_each(|slot| touch(slot.top() - 1));
        give_back(&mut slots);
        let slots = take_all(Class::Kib256, 100).unwrap();
        assert!(slots.iter().all(|slot| n_resident(slot) == 0));
        eprintln!("again");
        touch(slots[99].limit());
    });
    assert_killed(&child, libc::SIGSEGV);
    assert!(stderr(&child).contains("again"));
}

#[test]
fn guards_of_mprotect_survive_give_back() {
    let _limit = time_limit(60);
    let child = in_child(&[("GREENRT_STACK_GUARDS", "mprotect")], || {
        let mut slots = take_all(Class::Kib256, 16).unwrap();
        let lows: Vec<usize> = slots.iter().map(Slot::limit).collect();
        slots.iter().for_each(|slot| touch(slot.top() - 1));
        give_back(&mut slots);
        let slots = take_all(Class::Kib256, 16).unwrap();
        assert!(
            slots
                .iter()
                .all(|slot| lows.contains(&slot.limit()) && n_resident(slot) == 0)
        );
        eprintln!("again");
        touch(slots[7].limit());
    });
    assert_killed(&child, libc::SIGSEGV);
    assert!(stderr(&child).contains("again"));
}

#[test]
fn given_back_memory_returns_to_the_system() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        // Few slots take one way into the kernel, many another, and neighbours a third.
        for (n, every) in [(1, 1), (3, 2), (100, 2), (100, 1)] {
            let (mut slots, mut kept) = (Vec::new(), Vec::new());
            for (idx, slot) in take_all(Class::Kib64, n * every)
                .unwrap()
                .into_iter()
                .enumerate()
            {
                touch(slot.top() - 1);
                touch(slot.limit() + slot.class().guard_bytes());
                if idx % every == 0 {
                    slots.push(slot)
                } else {
                    kept.push(slot)
                }
            }
            assert!(slots.iter().all(|slot| n_resident(slot) == 2));
            let lows: Vec<usize> = slots.iter().map(Slot::limit).collect();
            give_back(&mut slots);
            for slot in take_all(Class::Kib64, n).unwrap() {
                assert!(lows.contains(&slot.limit()));
                assert_eq!(n_resident(&slot), 0);
                assert_eq!(read(slot.top() - 1), 0);
            }
            assert!(
                kept.iter()
                    .all(|slot| n_resident(slot) == 2 && read(slot.top() - 1) == 1)
            );
        }
    });
    assert_done(&child);
}

#[test]
fn a_dropped_slot_is_given_back() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        let slot = take_one(Class::Mib2);
        let low = slot.limit();
        slot.set_owner(7);
        touch(slot.top() - 1);
        drop(slot);
        assert_eq!(find(low).unwrap().owner, 0);
        let slot = take_one(Class::Mib2);
        assert_eq!(slot.limit(), low);
        assert_eq!(slot.owner(), 0);
        assert_eq!(n_resident(&slot), 0);
    });
    assert_done(&child);
}

#[test]
fn more_than_two_gib_are_given_back_at_once() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        // Stretches of five neighbours, so that a batch of the kernel's is longer than it likes: 64
        // times 40 MiB.
        let all = take_all(Class::Mib8, 64 * 6).unwrap();
        let (mut slots, mut kept) = (Vec::new(), Vec::new());
        for (idx, slot) in all.into_iter().enumerate() {
            touch(slot.top() - 1);
            if idx % 6 == 5 {
                kept.push(slot)
            } else {
                slots.push(slot)
            }
        }
        let before = usage().unwrap().rss_bytes;
        let n = slots.len();
        give_back(&mut slots);
        let freed = before - usage().unwrap().rss_bytes;
        assert!(freed >= (n * page::size()) as u64 * 9 / 10, "{freed}");
        assert!(
            take_all(Class::Mib8, n)
                .unwrap()
                .iter()
                .all(|slot| n_resident(slot) == 0)
        );
        assert!(kept.iter().all(|slot| n_resident(slot) == 1));
    });
    assert_done(&child);
}

#[test]
fn find_knows_slot_owner_and_guard() {
    let _limit = time_limit(60);
    for class in Class::ALL {
        let slot = take_one(class);
        assert_eq!(find(slot.limit()).unwrap().owner, 0);
        slot.set_owner(0xabcd);
        let guard = class.guard_bytes();
        let places = [
            (0, true),
            (guard - 1, true),
            (guard, false),
            (class.slot_bytes() - 1, false),
        ];
        for (offset, in_guard) in places {
            let found = find(slot.limit() + offset).unwrap();
            let slot_low = slot.limit();
            assert_eq!(
                found,
                Found {
                    class,
                    slot_low,
                    top: slot.top(),
                    owner: 0xabcd,
                    in_guard
                }
            );
        }
        assert_ne!(
            find(slot.limit().wrapping_sub(1)).map(|found| found.slot_low),
            Some(slot.limit())
        );
        assert_ne!(
            find(slot.limit() + class.slot_bytes()).map(|found| found.slot_low),
            Some(slot.limit())
        );
    }
    assert_eq!(find(0), None);
    assert_eq!(find(usize::MAX), None);
    let local = 0_u8;
    assert_eq!(find(ptr::from_ref(&local).addr()), None);
}

#[test]
fn a_slot_survives_being_a_word() {
    let _limit = time_limit(60);
    let slot = take_one(Class::Kib256);
    let (low, top) = (slot.limit(), slot.top());
    slot.set_owner(3);
    let raw = slot.into_raw();
    assert_eq!(find(low).unwrap().owner, 3);
    // SAFETY: the word is from just above, and used once.
    let slot = unsafe { Slot::from_raw(raw) };
    assert_eq!((slot.limit(), slot.top(), slot.owner()), (low, top, 3));
}

#[test]
fn huge_pages_are_kept_out() {
    let _limit = time_limit(60);
    let slot = take_one(Class::Mib8);
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let holds = |line: &str| {
        let (low, rest) = line.split_once('-')?;
        let high = rest.split(' ').next()?;
        let low = usize::from_str_radix(low, 16).ok()?;
        Some((low..usize::from_str_radix(high, 16).ok()?).contains(&slot.limit()))
    };
    let mut lines = smaps.lines().skip_while(|line| holds(line) != Some(true));
    let flags = lines.find(|line| line.starts_with("VmFlags:")).unwrap();
    assert!(flags.split_whitespace().any(|flag| flag == "nh"), "{flags}");
}

#[test]
fn a_hundred_thousand_stacks_take_few_mappings() {
    let _limit = time_limit(120);
    let child = in_child(&[], || {
        let before = usage().unwrap();
        let slots = take_all(Class::Kib256, 100_000).unwrap();
        let after = usage().unwrap();
        if stats().guards != GuardKind::Marker {
            eprintln!("this kernel has no guard markers");
            return;
        }
        assert!(after.n_mappings < 200, "{after:?}");
        assert!(
            after.page_table_bytes - before.page_table_bytes < 100_000 * 600,
            "{before:?} {after:?}"
        );
        for slot in slots.iter().step_by(997) {
            touch(slot.top() - 1);
            touch(slot.limit() + Class::Kib256.guard_bytes());
            assert!(find(slot.limit()).unwrap().in_guard);
        }
        assert!(usage::mappings().unwrap() < 200);
    });
    assert_done(&child);
}

#[test]
fn large_slots_take_one_page_table_each() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        for class in [Class::Mib2, Class::Mib8] {
            let before = usage().unwrap().page_table_bytes;
            let slots = take_all(class, 1000).unwrap();
            slots.iter().for_each(|slot| touch(slot.top() - 1));
            let each = (usage().unwrap().page_table_bytes - before) / 1000;
            assert!(
                each < 5500,
                "{class}: {each} bytes of page tables for each slot"
            );
        }
    });
    assert_done(&child);
}

#[test]
fn without_mappings_left_the_error_names_the_limit() {
    let _limit = time_limit(120);
    let child = in_child(&[("GREENRT_STACK_GUARDS", "mprotect")], || {
        let max: usize = fs::read_to_string("/proc/sys/vm/max_map_count")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        if max > 200_000 {
            eprintln!("vm.max_map_count is too high to be reached here");
            return;
        }
        let mut slots = Vec::new();
        let error = loop {
            match take(Class::Kib64, 64, &mut slots) {
                Ok(()) => assert!(slots.len() <= max),
                Err(error) => break error,
            }
        };
        assert!(slots.len() > max / 2 - 200, "{}", slots.len());
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        let text = error.to_string();
        assert!(
            text.contains(&format!("vm.max_map_count = {max}")),
            "{text}"
        );
        assert!(
            text.contains(&format!("beside {} others", slots.len())),
            "{text}"
        );

        // Nothing is lost: what cannot be had now was not used up, and slots that have a guard go
        // on working.
        let Stats { classes, .. } = stats();
        let class = classes[Class::Kib64.index()];
        assert_eq!(class.n_slots - class.n_free, slots.len());
        assert!(take(Class::Kib64, 1, &mut slots).is_err());
        let n = slots.len();
        let mut some = slots.split_off(n - 100);
        give_back(&mut some);
        for _ in 0..100 {
            take(Class::Kib64, 1, &mut slots).unwrap();
        }
        assert!(take(Class::Kib64, 1, &mut slots).is_err());
        assert_eq!(slots.len(), n);
    });
    assert_done(&child);
}

#[test]
fn without_address_space_an_error_comes_and_nothing_is_lost() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        // The allocator keeps this, so that looking at the process and writing an error still find
        // room.
        drop(vec![0_u8; 100 << 10]);
        let before = usage().unwrap();
        limit_address_space(before.address_space_bytes + (100 << 20));
        let mut slots = Vec::new();
        let error = loop {
            match take(Class::Mib1, 64, &mut slots) {
                Ok(()) => assert!(slots.len() <= 100),
                Err(error) => break error,
            }
        };
        // A slab that is too large is tried smaller, until not one slot more fits.
        assert!(slots.len() >= 90, "{}", slots.len());
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!(
                "cannot map another 1 MiB stack beside {} others",
                slots.len()
            )),
            "{text}"
        );

        let full = usage().unwrap();
        for _ in 0..1000 {
            assert!(take(Class::Mib1, 1, &mut slots).is_err());
        }
        let still = usage().unwrap();
        assert_eq!(still.address_space_bytes, full.address_space_bytes);
        assert_eq!(still.n_mappings, full.n_mappings);

        limit_address_space(libc::RLIM_INFINITY);
        take(Class::Mib1, 64, &mut slots).unwrap();
    });
    assert_done(&child);
}
