//! The prover of [`circlet_core::lookup`].

use circlet_core::circuit::Component;
use circlet_core::claims::Claims;
use circlet_core::field::{M31, QM31};
use circlet_core::lookup::{Challenges, Source, merge, round, tag_of};
use circlet_core::poly::{powers, univariate};
use circlet_core::protocol::Protocol;
use circlet_core::transcript::Label;

use super::channel::Channel;
use crate::backend::fractions::{Fractions, LayerSumcheck};
use crate::backend::merkle::BulkHash;
use crate::backend::table::Table;
use crate::execute::{Trace, form_values};

/// Proves that all lookups hold; leaves two claims on the columns.
pub fn prove<S: BulkHash>(
    protocol: &Protocol,
    trace: &Trace,
    channel: &mut Channel<'_, S>,
    claims: &mut Claims,
) {
    channel.work(protocol.profile.g_lookup);
    let alpha = channel.challenge(Label::LookupChallenge);
    let beta = channel.challenge(Label::LookupChallenge);
    let challenges = Challenges { alpha, beta };

    let mut layers = vec![leaves(protocol, trace, challenges)];
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
        let mut sumcheck = LayerSumcheck::new(&children, lambda);
        drop(children);
        let mut next: Vec<QM31> = Vec::new();
        for j in (0..point.len()).rev() {
            let (t0, t2) = sumcheck.round(&point[..j]);
            // (1 - z) t(0) + z t(1) = claim gives t(1), unless z = 0, which no challenge is.
            let z: QM31 = point[j];
            let t1 = (claim - t0) * z.inverse().unwrap_or(QM31::ONE) - t2;
            let message = channel.send(Label::LookupRound, [t1, t2]);
            let r = channel.challenge(Label::LookupRound);
            claim = univariate(&round(claim, z, message), r);
            sumcheck.bind(r);
            next.push(r);
        }
        next.reverse();
        let ends = channel.send(Label::LookupLayer, sumcheck.children());
        let top = channel.challenge(Label::LookupLayer);
        (numerator, denominator) = merge(ends, top);
        next.push(top);
        point = next;
    }
    protocol.leaves.claims(&protocol.circuit, challenges, &point, numerator, denominator, claims);
}

/// The fractions of all blocks.
fn leaves(protocol: &Protocol, trace: &Trace, challenges: Challenges) -> Fractions {
    let circuit = &protocol.circuit;
    let size = 1usize << protocol.leaves.depth;
    let (mut p, mut q) = (vec![QM31::ZERO; size], vec![QM31::ONE; size]);
    let alphas = powers(challenges.alpha, 8);
    for block in &protocol.leaves.blocks {
        let range = block.offset as usize..(block.offset as usize) + (1 << block.log_size);
        let (p, q) = (&mut p[range.clone()], &mut q[range]);
        match block.source {
            Source::Lookup(i) => {
                let lookup = &circuit.lookups[i];
                let base = challenges.beta - tag_of(lookup.table as usize);
                p.fill(QM31::ONE);
                q.fill(base);
                for (form, &alpha) in lookup.forms.iter().zip(&alphas[1..]) {
                    for (q, v) in q.iter_mut().zip(form_values(circuit, trace, form, lookup.shape)) {
                        *q -= alpha * M31::from_i64(v);
                    }
                }
            }
            Source::Table(i) => {
                let table = &circuit.tables[i];
                let base = challenges.beta - tag_of(i);
                let counts = &trace.columns[table.multiplicity.0 as usize];
                for (p, &count) in p.iter_mut().zip(counts) {
                    *p = -QM31::from_i64(i64::from(count));
                }
                q.fill(base);
                for (component, &alpha) in table.components.iter().zip(&alphas[1..]) {
                    for (row, q) in q.iter_mut().enumerate() {
                        let value = match *component {
                            Component::Index { low } => low + row as i64,
                            Component::Column(id) => i64::from(trace.columns[id.0 as usize][row]),
                        };
                        *q -= alpha * M31::from_i64(value);
                    }
                }
            }
        }
    }
    Fractions { p: Table::new(p), q: Table::new(q) }
}
