//! The prover of [`circlet_core::lookup`].

use circlet_core::circuit::Component;
use circlet_core::claims::Claims;
use circlet_core::field::QM31;
use circlet_core::lookup::{Challenges, Source, merge, round, tag_of};
use circlet_core::poly::{powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::transcript::Label;
use rayon::prelude::*;

use super::channel::Channel;
use crate::backend::field::{B, E, Ext, LANES, LOG_LANES, pack_all, pack_base};
use crate::backend::fractions::{Fractions, LayerSumcheck, Workspace};
use crate::backend::merkle::BulkHash;
use crate::backend::table::Table;
use crate::execute::Trace;
use crate::prove::read::{column_lanes, form_lanes};

/// Proves that all lookups hold; leaves two claims on the columns.
pub fn prove<S: BulkHash>(
    protocol: &Protocol,
    trace: &Trace,
    lists: &[Vec<u32>],
    channel: &mut Channel<'_, S>,
    claims: &mut Claims,
) {
    channel.work(protocol.profile.g_lookup);
    let alpha = channel.challenge(Label::LookupChallenge);
    let beta = channel.challenge(Label::LookupChallenge);
    let challenges = Challenges { alpha, beta };

    let leaves = leaves(protocol, trace, challenges);
    let mut workspace = Workspace::new(&leaves);
    let mut layers = vec![leaves];
    while layers.len() < protocol.leaves.depth as usize {
        let next = layers[layers.len() - 1].parents();
        layers.push(next);
    }
    let top = layers[layers.len() - 1].parents();
    let [root] = channel.send(Label::LookupRoot, [top.q.first()]);

    let (mut numerator, mut denominator, mut point) = (QM31::ZERO, root, Vec::new());
    for children in layers.into_iter().rev() {
        let lambda = channel.challenge(Label::LookupLambda);
        let mut claim = numerator + lambda * denominator;
        let mut sumcheck = LayerSumcheck::new(&children, lambda, &point, workspace);
        let mut next: Vec<QM31> = Vec::new();
        for j in (0..point.len()).rev() {
            let (t0, t2) = sumcheck.round();
            // (1 - z) t(0) + z t(1) = claim gives t(1), unless z = 0, which no challenge is.
            let z: QM31 = point[j];
            let t1 = (claim - t0) * z.inverse().unwrap_or(QM31::ONE) - t2;
            let message = channel.send(Label::LookupRound, [t1, t2]);
            let r = channel.challenge(Label::LookupRound);
            claim = univariate(&round(claim, z, message), r);
            sumcheck.bind(r, &point[..j.saturating_sub(1)]);
            next.push(r);
        }
        next.reverse();
        let (children, room) = sumcheck.finish();
        workspace = room;
        let ends = channel.send(Label::LookupLayer, children);
        let top = channel.challenge(Label::LookupLayer);
        (numerator, denominator) = merge(ends, top);
        next.push(top);
        point = next;
    }
    let ends = [numerator, denominator];
    protocol.leaves.claims(&protocol.circuit, challenges, &point, lists, ends, claims);
}

/// The fractions of all blocks: numerators in the base field, denominators in the extension.
fn leaves(protocol: &Protocol, trace: &Trace, challenges: Challenges) -> Fractions {
    let circuit = &protocol.circuit;
    let size = 1usize << protocol.leaves.depth;
    let used = protocol.leaves.blocks.last().map_or(0, |b| b.offset as usize + (1 << b.log_size));
    // The missing leaves, `0 / 1`, need not be stored; a layer of few is stored whole.
    let vectors = if size >= 4 * LANES { used } else { size }.div_ceil(LANES);
    let (mut p, mut q) = (vec![pack_base(&[]); vectors], vec![E::splat(QM31::ONE); vectors]);
    let widest = circuit.tables.iter().map(|t| t.components.len()).max().unwrap_or(0);
    let alphas = powers(challenges.alpha, widest + 1);
    for block in &protocol.leaves.blocks {
        let (table, numerators, components) = match block.source {
            Source::Lookup(i) => {
                let lookup = &circuit.lookups[i];
                let components: Vec<Vec<B>> =
                    lookup.forms.iter().map(|form| form_lanes(circuit, trace, form, lookup.shape)).collect();
                (lookup.table as usize, vec![pack_base(&[1; LANES]); components[0].len()], components)
            }
            Source::Table(i) => {
                let table = &circuit.tables[i];
                let counts = &trace.columns[table.multiplicity.0 as usize];
                let negated: Vec<i32> = counts.iter().map(|&count| -count).collect();
                let components = table.components.iter().map(|component| match *component {
                    Component::Index { low } => {
                        let cells: Vec<i32> = (0..1i64 << table.bits).map(|row| (low + row) as i32).collect();
                        pack_all(&cells)
                    }
                    Component::Signed | Component::Magnitude => {
                        let half = (1i32 << table.bits) / 2;
                        let signed = (0..1i32 << table.bits).map(|row| row.max(1) - half);
                        let cells: Vec<i32> = match component {
                            Component::Signed => signed.collect(),
                            _ => signed.map(i32::abs).collect(),
                        };
                        pack_all(&cells)
                    }
                    Component::Unit { at } => {
                        let cells: Vec<i32> =
                            (0..1u32 << table.bits).map(|row| i32::from(row == at)).collect();
                        pack_all(&cells)
                    }
                    Component::First(id) => {
                        let mut lanes = column_lanes(trace, id);
                        lanes.resize((1usize << table.bits).div_ceil(LANES), pack_base(&[]));
                        lanes
                    }
                    Component::Column(id) => column_lanes(trace, id),
                });
                (i, pack_all(&negated), components.collect())
            }
        };
        let base = E::splat(challenges.beta - tag_of(table));
        let alphas: Vec<E> = alphas[1..].iter().map(|&alpha| E::splat(alpha)).collect();
        let denominator = |i: usize| -> E {
            components.iter().zip(&alphas).fold(base, |sum, (component, &alpha)| sum - alpha * component[i])
        };
        let (at, lane) = (block.offset as usize / LANES, block.offset as usize % LANES);
        if block.log_size >= LOG_LANES {
            let range = at..at + numerators.len();
            p[range.clone()].copy_from_slice(&numerators);
            q[range].par_iter_mut().enumerate().with_min_len(1 << 9).for_each(|(i, q)| *q = denominator(i));
        } else {
            let len = 1 << block.log_size;
            let (mut ps, mut qs) = (p[at].to_array(), q[at].to_array());
            ps[lane..lane + len].copy_from_slice(&numerators[0].to_array()[..len]);
            qs[lane..lane + len].copy_from_slice(&denominator(0).to_array()[..len]);
            (p[at], q[at]) = (B::from_array(ps), E::from_array(qs));
        }
    }
    let (mut p, mut q) = (Table::of_base(p), Table::of_vectors(q));
    if let (Table::Narrow(p), Table::Narrow(q)) = (&mut p, &mut q) {
        p.truncate(size);
        q.truncate(size);
    }
    Fractions { p, q }
}
