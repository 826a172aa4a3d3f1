//! Rounds over products of tables.

use std::ops::Range;
use std::sync::Arc;

use circlet_core::field::{M31, P, QM31};
use circlet_core::poly::{bind_high, univariate};
use circlet_cuda::columns::Cell;
use circlet_cuda::products::{Cells, Entries, Products, Table, Term};
use circlet_cuda::{Error, Machine};

use super::{element, elements, filled, words};

/// The tables whose entries are words; those before have cells, those after are of the extension.
const BASE: Range<usize> = 6..9;

/// Sums and rounds of terms of all sizes: of cells of every kind, of words, of elements; with weights whose inner variables
/// are none, some, and all; of tables that several have, that are their own others, and that have other cells flipped.
pub fn products(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let log = 11;
    let kinds = [Cell::Byte, Cell::Half, Cell::Word, Cell::Word];
    let (columns, all) = filled(machine, &kinds, log)?;
    let all = all.concat();
    let cells = |first: usize, log: u32, flip: u32| Cells::new(&columns, first..first + (1 << log), flip);
    assert!(cells(4, 13, 0).is_none() && cells((1 << log) - 4, 3, 0).is_none() && cells(8, 2, 4).is_none());

    let mut tables: Vec<Table<'_>> = Vec::new();
    let mut values: Vec<Vec<QM31>> = Vec::new();
    let mut given: Vec<Vec<u32>> = Vec::new();
    for (first, log, flip) in [
        (0, 11, 0),
        (1 << 11, 11, 1),
        (2 << 11, 11, 1 << 10),
        (4, 2, 0),
        (2 << 11, 12, 6),
        ((1 << 11) + 64, 6, 32),
    ] {
        let Some(cells) = cells(first, log, flip) else { panic!("cells that are alike") };
        assert_eq!(cells.len(), 1 << log);
        tables.push(Table { entries: Entries::Cells(cells), variables: 0..log });
        let cell = |k: usize| QM31::from(M31::reduce(all[first + (k ^ flip as usize)].into()));
        values.push((0..1 << log).map(cell).collect());
        given.push(Vec::new());
    }
    for (seed, log) in [(1, 11), (2, 6), (3, 2)] {
        let mut own = words(1 << log, seed);
        own[1] = P;
        tables.push(Table { entries: Entries::Base, variables: 0..log });
        values.push(own.iter().map(|&word| QM31::from(M31::reduce(word.into()))).collect());
        given.push(own);
    }
    for (seed, variables) in [
        (4, 0..12),
        (5, 0..11),
        (6, 0..6),
        (7, 0..1),
        (8, 0..2),
        // Weights.
        (9, 7..11),
        (10, 0..7),
        (11, 11..11),
        (12, 0..11),
        (13, 0..0),
        (14, 0..11),
        (15, 5..12),
        (16, 0..5),
        (17, 1..2),
        (18, 0..1),
        (19, 1..1),
    ] {
        let own = elements(1 << variables.len(), seed);
        tables.push(Table { entries: Entries::Extension, variables });
        values.push(own.iter().map(|x| x.1).collect());
        given.push(own.iter().flat_map(|x| x.0).collect());
    }
    let listed: [Listed; 13] = [
        (11, 0, 1, Some([14, 15])),
        (6, 5, 7, None),
        (11, 1, 1, Some([14, 15])),
        (11, 2, 6, Some([16, 17])),
        (12, 4, 9, Some([20, 21])),
        (11, 6, 10, Some([19, 18])),
        (11, 10, 0, Some([14, 15])),
        (11, 10, 2, None),
        (6, 11, 11, None),
        (1, 12, 12, Some([24, 23])),
        (2, 3, 8, Some([22, 23])),
        (2, 13, 3, None),
        (1, 12, 12, None),
    ];
    // All of them; so few that each is summed in several parts; so many that their sums are more than a block has threads.
    let few = [listed[4], listed[0], listed[2]];
    let many: Vec<Listed> = (0..300).map(|k| if k == 7 { listed[4] } else { listed[10 + k % 3] }).collect();
    for listed in [&listed[..], &few, &many] {
        rounds(machine, &tables, &given, values.clone(), listed)?;
    }
    Ok(())
}

/// A term: its variables, its tables, and its weights.
type Listed = (u32, usize, usize, Option<[usize; 2]>);

/// All rounds of some terms of tables, whose entries are given in words, and as elements.
fn rounds(
    machine: &Arc<dyn Machine>,
    tables: &[Table<'_>],
    given: &[Vec<u32>],
    mut values: Vec<Vec<QM31>>,
    listed: &[Listed],
) -> Result<(), Error> {
    let factors = elements(listed.len(), 20);
    let terms: Vec<Term> = listed
        .iter()
        .zip(&factors)
        .map(|(&(variables, a, b, weights), factor)| Term {
            variables,
            tables: [a, b],
            weights,
            factor: factor.0,
        })
        .collect();
    let memory = Products::memory(&**machine, tables, terms.len());
    let free = machine.memory()?.0;
    let starts: Vec<(u32, u32)> = tables.iter().map(|t| (t.variables.start, t.variables.end)).collect();
    let mut products = Products::new(machine, tables.to_vec(), &terms)?;
    assert!(free - machine.memory()?.0 <= memory, "memory that was not planned");
    for (table, given) in given.iter().enumerate().skip(BASE.start) {
        if BASE.contains(&table) {
            products.write_base(table, given)?;
        } else {
            products.write(table, given.as_chunks().0)?;
        }
    }

    let product = |values: &[Vec<QM31>], term: &Term, k: usize| {
        let [a, b] = term.tables.map(|table| values[table][k]);
        a * b
            * term.weights.map_or(QM31::ONE, |[outer, inner]| {
                let inner = &values[inner];
                values[outer][k / inner.len()] * inner[k % inner.len()]
            })
    };
    let sums = products.sums()?;
    for (term, sum) in terms.iter().zip(sums) {
        let expected = (0..1 << term.variables).map(|k| product(&values, term, k)).sum();
        assert_eq!(element(sum), expected, "{term:?}");
    }
    let bind = |values: &mut [Vec<QM31>], variable: u32, r: QM31| {
        for (own, &(start, end)) in values.iter_mut().zip(&starts) {
            if (start..end).contains(&variable) {
                bind_high(own, r);
            }
        }
    };
    for (variable, r) in (0..12).rev().zip(elements(12, 21)) {
        assert_eq!(products.left(), variable + 1);
        let [s0, s2, s3] = products.round()?.map(element);
        let at = |x: QM31| -> QM31 {
            let mut values = values.clone();
            bind(&mut values, variable, x);
            let has = terms.iter().filter(|term| term.variables > variable);
            has.map(|term| {
                let sum: QM31 = (0..1 << variable).map(|k| product(&values, term, k)).sum();
                sum * element(term.factor)
            })
            .sum()
        };
        let s1 = at(QM31::ONE) - s0 - s2 - s3;
        for x in [QM31::ZERO, QM31::from_i64(2), QM31::from_i64(-1), r.1] {
            assert_eq!(at(x), univariate(&[s0, s1, s2, s3], x), "variable {variable}");
        }
        products.bind(r.0)?;
        bind(&mut values, variable, r.1);
        for (table, (own, &(_, end))) in values.iter().zip(&starts).enumerate() {
            if end > variable || table >= BASE.end {
                let found: Vec<QM31> = products.read(table)?.into_iter().map(element).collect();
                assert_eq!(found, *own, "table {table} without variable {variable}");
            }
        }
    }
    Ok(())
}
