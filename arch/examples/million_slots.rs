//! What a million stacks cost: takes slots, touches one page of each, gives them back, and prints
//! the bill.
//!
//! `cargo run --release -p greenrt-arch --example million_slots [slots [KiB]]`; a million take 5 GB
//! of memory.

#![expect(unsafe_code, reason = "touches stacks")]

use std::env;
use std::io;
use std::ptr;
use std::time::Instant;

use greenrt_arch::stack::{self, Class};
use greenrt_arch::usage::usage;

fn main() -> io::Result<()> {
    let mut numbers = env::args()
        .skip(1)
        .filter_map(|number| number.parse::<usize>().ok());
    let n = numbers.next().unwrap_or(1_000_000).max(1);
    let class = Class::for_size(numbers.next().unwrap_or(256) * 1024).unwrap_or(Class::Mib8);
    let before = usage()?;

    let start = Instant::now();
    let mut slots = Vec::new();
    while slots.len() < n {
        stack::take(class, (n - slots.len()).min(64), &mut slots)?;
    }
    let took = start.elapsed();
    let taken = usage()?;

    let start = Instant::now();
    for slot in &slots {
        slot.set_owner(1);
        let word = ptr::with_exposed_provenance_mut::<usize>(slot.top() - size_of::<usize>());
        // SAFETY: the slot is ours, and the word is the highest of its stack.
        unsafe { word.write_volatile(1) };
    }
    let touching = start.elapsed();
    let touched = usage()?;

    let start = Instant::now();
    let (mut batch, mut rest) = (Vec::new(), slots);
    while !rest.is_empty() {
        batch.extend(rest.drain(rest.len().saturating_sub(64)..));
        stack::give_back(&mut batch);
    }
    let giving_back = start.elapsed();
    let given_back = usage()?;

    let each = |bytes: u64| bytes as f64 / n as f64;
    println!("{n} slots of {class}, guards: {:?}", stack::stats().guards);
    println!(
        "take       {took:.2?}, {:.0} ns each",
        each(took.as_nanos() as u64)
    );
    println!(
        "touch      {touching:.2?}, {:.0} ns each",
        each(touching.as_nanos() as u64)
    );
    println!(
        "give back  {giving_back:.2?}, {:.0} ns each",
        each(giving_back.as_nanos() as u64)
    );
    println!(
        "resident, untouched  {:.0} B each",
        each(taken.rss_bytes - before.rss_bytes)
    );
    println!(
        "resident, touched    {:.0} B each",
        each(touched.rss_bytes - before.rss_bytes)
    );
    println!(
        "resident, given back {:.0} B each",
        each(given_back.rss_bytes - before.rss_bytes)
    );
    println!(
        "page tables          {:.0} B each",
        each(touched.page_table_bytes - before.page_table_bytes)
    );
    println!(
        "mappings             {} before, {} with all slots",
        before.n_mappings, touched.n_mappings
    );
    Ok(())
}
