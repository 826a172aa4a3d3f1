//! Merging one word, in `n log n` steps.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// One token of the word, in a list linked both ways.
struct Link {
    id: u32,
    previous: usize,
    next: usize,
}

const NONE: usize = usize::MAX;

/// Merges neighbours, lowest rank first and leftmost among equals, and appends what is left.
pub(super) fn merge(
    ids: impl Iterator<Item = u32>,
    merges: &HashMap<(u32, u32), (u32, u32)>,
    out: &mut Vec<u32>,
) {
    let mut links: Vec<_> =
        ids.enumerate().map(|(i, id)| Link { id, previous: i.wrapping_sub(1), next: i + 1 }).collect();
    let Some(last) = links.last_mut() else { return };
    last.next = NONE;
    // Rank, place, and the pair that was there when it was found.
    let mut heap = BinaryHeap::new();
    let offer = |heap: &mut BinaryHeap<_>, links: &[Link], at: usize| {
        if at != NONE && links[at].next != NONE {
            let pair = (links[at].id, links[links[at].next].id);
            if let Some(&(rank, _)) = merges.get(&pair) {
                heap.push(Reverse((rank, at, pair)));
            }
        }
    };
    (0..links.len()).for_each(|at| offer(&mut heap, &links, at));
    while let Some(Reverse((_, at, pair))) = heap.pop() {
        let next = links[at].next;
        // A place that was merged away has no next; one that has changed holds another pair.
        if next == NONE || (links[at].id, links[next].id) != pair {
            continue;
        }
        links[at].id = merges[&pair].1;
        links[at].next = links[next].next;
        links[next].next = NONE;
        links[next].id = u32::MAX;
        if links[at].next != NONE {
            let after = links[at].next;
            links[after].previous = at;
        }
        offer(&mut heap, &links, links[at].previous);
        offer(&mut heap, &links, at);
    }
    let mut at = 0;
    while at != NONE {
        out.push(links[at].id);
        at = links[at].next;
    }
}
