//! Every kernel against the definitions in `circlet-core`, for tests, sanitizers and a GPU.

mod forward;
mod matrices;
mod pow;
mod products;
mod resident;
pub mod transcript;

use std::sync::Arc;

use circlet_core::code::Domain;
use circlet_core::field::{M31, P, QM31};
use circlet_core::hash::blake2s::{self, initial_state};
use circlet_core::hash::{Blake2sTrees, Trees};
use circlet_core::lookup::summand;
use circlet_core::poly::{bind_high, bind_low, eq_table};
use circlet_cuda::columns::{Cell, Columns, RUNS, Slot, Slots};
use circlet_cuda::encode::Code;
use circlet_cuda::fold::{self, Tables, Twiddles, Word};
use circlet_cuda::fractions::{Fractions, LAST, LEAST, Leaves, Numbers, Sumcheck};
use circlet_cuda::merkle::{self, DIGEST, Rows};
use circlet_cuda::stack::{self, Factors, Join, Product, Side, Span};
use circlet_cuda::sums::Element;
use circlet_cuda::{Buffer, Error, Machine};

/// A check of what a machine computes.
pub type Check = fn(&Arc<dyn Machine>) -> Result<(), Error>;

/// All of them.
pub const CHECKS: [(&str, Check); 13] = [
    ("encode", encode),
    ("merkle", trees),
    ("fractions", fractions),
    ("resident", resident::leaves),
    ("tables", tables),
    ("words", folds),
    ("columns", columns),
    ("matrices", matrices::over_rows),
    ("products", products::products),
    ("stack", stack),
    ("pow", pow::search),
    ("forward", forward::forward),
    ("permute", transcript::permutations),
];

/// Canonical words, edges among them.
fn words(count: usize, seed: u32) -> Vec<u32> {
    let edges = [0, 1, 2, P - 1, P - 2, 1 << 30, (1 << 30) - 1];
    let word = |i: usize| match edges.get(i % 97) {
        Some(&edge) => edge,
        None => M31::reduce(u64::from((i as u32 ^ seed).wrapping_mul(0x9e37_79b9)) * 0x85eb_ca6b).value(),
    };
    (0..count).map(word).collect()
}

fn buffer(machine: &Arc<dyn Machine>, words: &[u32]) -> Result<Buffer, Error> {
    let mut buffer = Buffer::new(machine, words.len())?;
    buffer.write(0, words)?;
    Ok(buffer)
}

fn read(buffer: &Buffer) -> Result<Vec<u32>, Error> {
    let mut words = vec![0; buffer.len()];
    buffer.read(0, &mut words)?;
    Ok(words)
}

/// The coordinates of all pairs in the layers of a message.
fn coordinates(domain: &Domain, log_message: u32, log_codeword: u32) -> Vec<u32> {
    let layer = |layer: u32| {
        let pairs = 1u32 << (log_codeword - 1 - layer);
        (0..pairs).map(move |pair| domain.coordinate(layer, 2 * pair).value())
    };
    (0..log_message).flat_map(layer).collect()
}

/// Codewords at some positions: of one pass, of two over tiles of either size, and of messages that are shorter than a warp.
fn encode(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    for (log, blowup, count) in
        [(1, 0, 1), (4, 1, 3), (9, 2, 2), (10, 3, 1), (13, 1, 1), (15, 1, 2), (16, 0, 1)]
    {
        let (size, all) = (1usize << log, log + blowup);
        let domain = Domain::new(all);
        let code = Code::new(machine, log, all, &coordinates(&domain, log, all))?;
        let messages = words(count * size, log);
        let codewords = read(&code.encode(&buffer(machine, &messages)?)?)?;
        for (message, codeword) in messages.chunks(size).zip(codewords.chunks(1 << all)) {
            let message: Vec<QM31> = message.iter().map(|&word| M31::reduce(word.into()).into()).collect();
            for position in (0..1u32 << all).step_by(((1usize << all) / 32).max(1)) {
                let position = position | position >> 7 & 31;
                let expected = domain.evaluate(0, &message, position);
                let found = QM31::from(M31::reduce(codeword[position as usize].into()));
                assert!(codeword[position as usize] < P, "a word that is not canonical");
                assert_eq!(found, expected, "position {position} of a codeword of 2^{all} words");
            }
        }
    }
    Ok(())
}

/// Digests of rows that come at once and a few columns at a time, and the levels above.
fn trees(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    for (columns, rows) in [(1usize, 2usize), (15, 8), (16, 64), (17, 256), (32, 300), (70, 64)] {
        let cells = words(columns * rows, columns as u32);
        let row = |row: usize| -> Vec<M31> {
            (0..columns).map(|column| M31::reduce(cells[column * rows + row].into())).collect()
        };
        let leaves: Vec<[u8; 32]> = (0..rows).map(|r| Blake2sTrees::leaf(&row(r))).collect();
        let mut level = None;
        for step in [columns, 16, 32] {
            let mut hashed = Rows::new(machine, rows, columns, initial_state(blake2s::LEAF))?;
            for part in cells.chunks(step * rows) {
                hashed.absorb(&buffer(machine, part)?, part.len() / rows)?;
            }
            let digests = hashed.digests();
            assert_eq!(bytes(&read(&digests)?), leaves, "{columns} columns, {step} at a time");
            level = Some(digests);
        }
        // A few rows of longer columns.
        let all = buffer(machine, &cells)?;
        for (first, last) in [(0, rows / 2), (rows / 2, rows)] {
            let mut hashed = Rows::new(machine, last - first, columns, initial_state(blake2s::LEAF))?;
            for begin in (0..columns).step_by(16) {
                let count = (columns - begin).min(16);
                hashed.absorb_rows(&all, begin * rows + first, count, rows)?;
                let words = hashed.words();
                assert!(hashed.are_on(machine));
                hashed = hashed.moved(machine, Buffer::new(machine, words)?)?.0;
            }
            assert_eq!(bytes(&read(&hashed.digests())?), leaves[first..last]);
        }
        let Some(level) = level else { continue };
        if rows.is_multiple_of(2) {
            let parents = merkle::parents(machine, &level, initial_state(blake2s::NODE))?;
            let expected: Vec<[u8; 32]> =
                leaves.chunks_exact(2).map(|pair| Blake2sTrees::node(&pair[0], &pair[1])).collect();
            assert_eq!(bytes(&read(&parents)?), expected);
        }
    }
    Ok(())
}

/// Digests of words.
fn bytes(words: &[u32]) -> Vec<[u8; 32]> {
    let digest = |words: &[u32]| blake2s::to_bytes(std::array::from_fn(|k| words[k]));
    words.chunks_exact(DIGEST).map(digest).collect()
}

fn element(words: Element) -> QM31 {
    assert!(words.iter().all(|&word| word < P), "a word that is not canonical");
    QM31::from_coordinates(words.map(|word| M31::reduce(word.into())))
}

/// So many elements, in words and as they are.
fn elements(count: usize, seed: u32) -> Vec<(Element, QM31)> {
    let words = words(4 * count, seed);
    words.as_chunks().0.iter().map(|&words| (words, element(words))).collect()
}

/// A tree of fractions: its leaves, of whatever numbers they are made, the layers above, and the sumchecks of all.
fn fractions(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let log = LEAST + 3;
    let count = 1usize << log;
    let edges = [0, 1, -1, i32::MAX, i32::MIN, i32::MIN + 1, i32::MIN + 2, i32::MAX - 1];
    let wide: Vec<i32> =
        (0..count).map(|i| *edges.get(i % 40).unwrap_or(&(i as i32).wrapping_mul(0x0765_4321))).collect();
    let narrow: Vec<i16> = (0..count).map(|i| (i as i16).wrapping_mul(0x2345)).collect();
    let [constant, by_wide, by_narrow] = [1, 2, 3].map(|seed| elements(1, seed)[0]);
    // Up to a first place they are of both kinds of numbers, up to a second of counts and up to a third as they are filled.
    let (first, second, third) = (count / 2 + 1, count / 2 + 1024, count - 77);

    let mut leaves = Leaves::new(machine, log)?;
    leaves.fill(0, first, 1, constant.0)?;
    leaves.add(0, Numbers::Wide(&wide[..first]), by_wide.0)?;
    leaves.add(0, Numbers::Narrow(&narrow[..first]), by_narrow.0)?;
    leaves.fill(first, third - first, 7, constant.0)?;
    leaves.add(first, Numbers::Wide(&wide[first..third]), by_wide.0)?;
    leaves.subtract(first, &wide[first..second])?;
    leaves.fill(third, count - third, 0, [1, 0, 0, 0])?;
    let given = elements(3, 7);
    leaves.write(count - 5, &[5, 0, P - 1], &given.iter().map(|x| x.0).collect::<Vec<_>>())?;
    let mut layer = leaves.finish();
    let integer = |number: i32| QM31::from_i64(number.into());
    let mut p: Vec<QM31> = (0..count)
        .map(|i| match i {
            _ if i < first => QM31::ONE,
            _ if i < second => -integer(wide[i]),
            _ if i < third => integer(7),
            _ => QM31::ZERO,
        })
        .collect();
    let mut q: Vec<QM31> = (0..count)
        .map(|i| match i {
            _ if i < first => {
                constant.1 + by_wide.1 * integer(wide[i]) + by_narrow.1 * integer(narrow[i].into())
            }
            _ if i < third => constant.1 + by_wide.1 * integer(wide[i]),
            _ => QM31::ONE,
        })
        .collect();
    for (k, (number, x)) in [5, 0, -1].into_iter().zip(&given).enumerate() {
        (p[count - 5 + k], q[count - 5 + k]) = (integer(number), x.1);
    }
    while layer.log() >= LEAST {
        let room = layer.log().is_multiple_of(2).then(|| Buffer::new(machine, 8 << layer.log()));
        layer_sumcheck(&layer, &p, &q, room.transpose()?)?;
        let above = layer.above()?;
        let half = p.len() / 2;
        (p, q) = (0..half).map(|x| (p[x] * q[x + half] + p[x + half] * q[x], q[x] * q[x + half])).unzip();
        let [found_p, found_q] = above.read()?.map(|all| all.into_iter().map(element).collect::<Vec<_>>());
        assert!(found_p == p && found_q == q, "the layer of 2^{} fractions", above.log());
        layer = above;
    }
    Ok(())
}

/// What the next round of a layer's sumcheck says of tables at a point: `t(0)`, and the leading coefficient.
fn layer_sums(children: &[Vec<QM31>; 4], point: &[QM31], lambda: QM31) -> [QM31; 2] {
    let count = children[0].len() / 2;
    let at = |place: usize| children.each_ref().map(|table| table[place]);
    let mut sums = [QM31::ZERO; 2];
    for (x, weight) in eq_table(&point[..count.ilog2() as usize]).into_iter().enumerate() {
        let (low, high) = (at(x), at(x + count));
        sums[0] += weight * summand(low, lambda);
        sums[1] += weight * summand(std::array::from_fn(|k| high[k] - low[k]), lambda);
    }
    sums
}

/// Rounds of a layer's sumcheck, as long as they are run on machines: with challenges from elsewhere, and with their own.
fn layer_sumcheck(layer: &Fractions, p: &[QM31], q: &[QM31], room: Option<Buffer>) -> Result<(), Error> {
    let half = p.len() / 2;
    let mut children = [&p[..half], &p[half..], &q[..half], &q[half..]].map(<[QM31]>::to_vec);
    let (z, point): (Vec<Element>, Vec<QM31>) = elements(half.ilog2() as usize, 4).into_iter().unzip();
    let lambda = elements(1, 5)[0];
    transcript::rounds(layer, children.clone(), (&z, &point), lambda)?;
    let sums = |children: &[Vec<QM31>; 4]| layer_sums(children, &point, lambda.1);
    let mut sumcheck = Sumcheck::new(layer, lambda.0, &z, room)?;
    sumcheck.first()?;
    assert_eq!(sumcheck.sums()?.map(element), sums(&children), "2^{} fractions", layer.log());
    for r in elements(32, 6) {
        if sumcheck.count() == LAST {
            break;
        }
        sumcheck.bind(r.0)?;
        let found = sumcheck.sums()?.map(element);
        for table in &mut children {
            bind_high(table, r.1);
        }
        assert_eq!(found, sums(&children), "{} nodes of a layer of 2^{}", sumcheck.count(), layer.log());
    }
    for (i, node) in sumcheck.nodes()?.into_iter().enumerate() {
        let [p0, p1, q0, q1] = children.each_ref().map(|table| table[i]);
        assert_eq!(node.map(element), [p0, q1, q0, p1 + lambda.1 * q1]);
    }
    Ok(())
}

/// Rounds over two tables.
fn tables(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let len = fold::LAST << 3;
    let [first, second] = [1, 2].map(|seed| elements(len, seed));
    let [mut a, mut b] = [&first, &second].map(|all| all.iter().map(|x| x.1).collect::<Vec<QM31>>());
    let [first, second] =
        [first, second].map(|all| buffer(machine, &all.into_iter().flat_map(|x| x.0).collect::<Vec<u32>>()));
    let mut tables = Tables::new(machine, [first?, second?])?;
    let sums = |a: &[QM31], b: &[QM31]| {
        let mut sums = [QM31::ZERO; 2];
        for (a, b) in a.chunks_exact(2).zip(b.chunks_exact(2)) {
            sums[0] += a[0] * b[0];
            sums[1] += (a[1] - a[0]) * (b[1] - b[0]);
        }
        sums
    };
    assert_eq!(tables.first()?.map(element), sums(&a, &b));
    for r in elements(32, 3) {
        if tables.len() == fold::LAST {
            break;
        }
        let found = tables.bind(r.0)?.map(element);
        bind_low(&mut a, r.1);
        bind_low(&mut b, r.1);
        assert_eq!(found, sums(&a, &b), "{} elements", tables.len());
    }
    let found = tables.read()?.map(|all| all.into_iter().map(element).collect::<Vec<_>>());
    assert!(found == [a, b]);
    Ok(())
}

/// Words from codewords, their groups and the digests of these, and what they fold to twice.
fn folds(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let log = 12;
    let domain = Domain::new(log);
    let inverses: Vec<Vec<u32>> = (0..2 * fold::ARITY)
        .map(|level| {
            let pairs = 0..1u32 << (log - 1 - level);
            let inverse = |pair| domain.coordinate(level, 2 * pair).inverse().map_or(0, M31::value);
            pairs.map(inverse).collect()
        })
        .collect();
    let twiddles = Twiddles::new(machine, log, inverses.iter().map(Vec::as_slice))?;
    let coordinates = words(4 << log, 1);
    let mut word = Word::of_codewords(machine, &buffer(machine, &coordinates)?)?;
    let at = |place: usize| element(std::array::from_fn(|k| coordinates[(k << log) + place]));
    let mut expected: Vec<QM31> = (0..1 << log).map(at).collect();
    for level in [0, fold::ARITY] {
        let groups: Vec<Vec<M31>> = expected
            .chunks_exact(1 << fold::ARITY)
            .map(|group| group.iter().flat_map(|x| x.coordinates()).collect())
            .collect();
        let leaves: Vec<[u8; 32]> = groups.iter().map(|group| Blake2sTrees::leaf(group)).collect();
        assert_eq!(bytes(&read(&word.leaves(initial_state(blake2s::LEAF))?)?), leaves);
        let indices: Vec<u32> = vec![0, 3, 3, groups.len() as u32 - 1];
        for (group, index) in word.groups(&indices)?.into_iter().zip(&indices) {
            let own: Vec<u32> = groups[*index as usize].iter().map(|x| x.value()).collect();
            assert_eq!(group[..], own);
        }
        assert!(word.groups(&[])?.is_empty());
        let challenges: Vec<QM31> = elements(4, level + 2).into_iter().map(|x| x.1).collect();
        let factors = std::array::from_fn(|k| {
            let r = challenges[k];
            [(QM31::ONE - r) * QM31::HALF, r * QM31::HALF].map(|x| x.coordinates().map(M31::value))
        });
        word = word.fold(&twiddles, factors)?;
        expected = expected
            .chunks_exact(1 << fold::ARITY)
            .enumerate()
            .map(|(leaf, values)| domain.fold(level, leaf as u32, values, &challenges))
            .collect();
        assert_eq!(1 << word.log(), expected.len());
    }
    let all: Vec<u32> = (0..expected.len() as u32 >> fold::ARITY).collect();
    let folded: Vec<u32> = word.groups(&all)?.into_iter().flatten().collect();
    assert_eq!(folded, expected.iter().flat_map(|x| x.coordinates().map(M31::value)).collect::<Vec<_>>());
    Ok(())
}

/// Elements that cells hold, edges among them; of words some zeros are `P`.
fn held(cell: Cell, count: usize, seed: u32) -> Vec<u32> {
    let words = words(count, seed).into_iter().enumerate();
    let signed = |x: i64| M31::from_i64(x).value();
    let held = |(i, word): (usize, u32)| match (cell, i % 50) {
        (Cell::Word, _) => [word, P][usize::from(word == 0)],
        (Cell::Byte, 1) => signed(i8::MIN.into()),
        (Cell::Byte, 2) => signed(i8::MAX.into()),
        (Cell::Half, 1) => signed(i16::MIN.into()),
        (Cell::Half, 2) => signed(i16::MAX.into()),
        (_, 3) => P,
        (Cell::Byte, _) => signed((word as i8).into()),
        (Cell::Half, _) => signed((word as i16).into()),
    };
    words.map(held).collect()
}

/// Columns of these cells, with their elements.
fn filled(machine: &Arc<dyn Machine>, cells: &[Cell], log: u32) -> Result<(Columns, Vec<Vec<u32>>), Error> {
    let mut columns = Columns::new(machine, cells, log)?;
    let all: Vec<Vec<u32>> = cells.iter().zip(1..).map(|(&cell, k)| held(cell, 1 << log, k)).collect();
    for (column, elements) in all.iter().enumerate() {
        columns.write(column, &cells[column].pack(elements).expect("what cells hold"))?;
    }
    Ok((columns, all))
}

/// Contractions of columns of all cells with patterns of all sizes, their combinations and codewords, and cells in some rows.
fn columns(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    use Cell::{Byte, Half, Word};
    let log = 11;
    let domain = Domain::new(log + 1);
    let code = Code::new(machine, log, log + 1, &coordinates(&domain, log, log + 1))?;
    let cases: [(u32, &[Cell]); 5] = [
        (4, &[Word]),
        (5, &[Half; 3]),
        (6, &[Byte, Byte, Half, Word]),
        (4, &[Byte]),
        (4, &[Word, Word, Byte, Byte, Byte, Half, Word, Word, Byte]),
    ];
    for (log_run, cells) in cases {
        let count = cells.len();
        let (columns, elements_of) = filled(machine, cells, log)?;
        let cell = |column: usize, row: usize| M31::reduce(elements_of[column][row].into());
        let (run, tiles) = (1usize << log_run, 1u32 << log >> log_run >> RUNS.ilog2());
        let patterns = elements(run * (RUNS + 3), 2);
        let slot = |tile, pattern, step| Slot { tile, pattern, step };
        let mut all = vec![slot(0, 2, 0), slot(0, 3, 1), slot(0, RUNS as u32 + 2, 0)];
        all.extend((2..tiles).map(|tile| slot(tile, tile % 4, tile % 2)));
        let words: Vec<Element> = patterns.iter().map(|x| x.0).collect();
        let slots = Slots::new(machine, log_run, &words, tiles as usize, &all)?;
        for range in [0..count, count / 2..count] {
            let found = read(&columns.contract(&slots, range.clone())?)?;
            assert_eq!(found.len(), range.len() * slots.words());
            let mut found = found.as_chunks::<RUNS>().0.as_chunks::<4>().0.iter();
            for column in range {
                for (slot, sums) in all.iter().zip(found.by_ref()) {
                    for k in 0..RUNS {
                        let first = (slot.tile as usize * RUNS + k) * run;
                        let pattern =
                            &patterns[(slot.pattern as usize + k * slot.step as usize) * run..][..run];
                        let expected = (0..run).map(|i| pattern[i].1 * cell(column, first + i)).sum();
                        assert_eq!(
                            element(std::array::from_fn(|c| sums[c][k])),
                            expected,
                            "{slot:?}, run {k}"
                        );
                    }
                }
            }
        }
        let none = Slots::new(machine, log_run, &words, tiles as usize, &[])?;
        assert!(columns.contract(&none, 0..count)?.is_empty());

        let (multiples, scale) = (elements(all.len() * RUNS, 4), elements(1, 5)[0]);
        let at = |slot: usize, c: usize, k: usize| multiples[slot * RUNS + k].0[c];
        let by_coordinate: Vec<u32> = (0..all.len())
            .flat_map(|slot| (0..4).flat_map(move |c| (0..RUNS).map(move |k| at(slot, c, k))))
            .collect();
        let found =
            read(&slots.expand(&buffer(machine, &[&[7; 12], &by_coordinate[..]].concat())?, 12, scale.0)?)?;
        for (row, found) in found.as_chunks().0.iter().enumerate() {
            let (tile, k) = (row >> log_run >> RUNS.ilog2(), (row >> log_run) % RUNS);
            let own = all.iter().enumerate().filter(|(_, slot)| slot.tile as usize == tile);
            let multiple = |(index, slot): (usize, &Slot)| {
                let pattern = (slot.pattern as usize + k * slot.step as usize) * run;
                multiples[index * RUNS + k].1 * patterns[pattern + row % run].1
            };
            assert_eq!(element(*found), own.map(multiple).sum::<QM31>() * scale.1, "row {row}");
        }
        let nothing = buffer(machine, &[])?;
        assert!(read(&none.expand(&nothing, 0, scale.0)?)?.iter().all(|&word| word == 0));

        let weights = elements(count, 3);
        let given: Vec<Element> = weights.iter().map(|w| w.0).collect();
        let mut sum = None;
        for times in 1..3 {
            let all = columns.combine(&given, sum.take())?;
            let found = read(&all)?;
            for row in 0..1 << log {
                let once: QM31 = weights.iter().enumerate().map(|(column, w)| w.1 * cell(column, row)).sum();
                let found = element(std::array::from_fn(|c| found[(c << log) + row]));
                assert_eq!(found, once * QM31::from_i64(times));
            }
            sum = Some(all);
        }

        // Without `P` they are messages.
        let mut messages = Columns::new(machine, cells, log)?;
        let canonical =
            |column: usize| (0..1 << log).map(|row| cell(column, row).value()).collect::<Vec<_>>();
        for (column, cell) in cells.iter().enumerate() {
            messages.write(column, &cell.pack(&canonical(column)).expect("what cells hold"))?;
        }
        for range in [0..count, count / 2..count] {
            let words: Vec<u32> = range.clone().flat_map(canonical).collect();
            let expected = read(&code.encode(&buffer(machine, &words)?)?)?;
            assert!(read(&messages.encode(&code, range)?)? == expected, "codewords of {cells:?}");
        }

        if cells.iter().all(|&cell| cell == Word) {
            let rows = [0, 77, 77, (1 << log) - 1];
            let expected = rows.iter().flat_map(|&row| elements_of.iter().map(move |all| all[row as usize]));
            assert_eq!(columns.gather(&rows)?, expected.collect::<Vec<_>>());
            assert!(columns.gather(&[])?.is_empty());
        }
    }
    let words = Columns::new(machine, &[Word; 2], log)?;
    assert_eq!(words.gather(&[5])?.len(), 2);
    Ok(())
}

/// Weights on contracted columns, and the joins of rounds, with columns that are alone and columns that stay as they are.
fn stack(machine: &Arc<dyn Machine>) -> Result<(), Error> {
    let (log, log_run, count) = (11, 4, 5);
    let (tiles, log_runs) = (8usize, log - log_run);
    let cells = words(count << log, 1);
    let columns = Columns::of(machine, buffer(machine, &cells)?, log);
    // Two patterns in every tile, a third one in two of them, and one for each run in another.
    let patterns = elements((3 + RUNS) << log_run, 2);
    let mut all: Vec<Slot> = Vec::new();
    let mut slot_of = vec![vec![None; 3]; tiles];
    for (tile, of) in slot_of.iter_mut().enumerate() {
        for pattern in (0..3).filter(|&p| p < 2 || tile == 1 || tile == 6) {
            of[pattern] = Some(all.len() as u32);
            all.push(Slot { tile: tile as u32, pattern: pattern as u32, step: 0 });
        }
    }
    let own = all.len() as u32;
    all.push(Slot { tile: 7, pattern: 3, step: 1 });
    let given: Vec<Element> = patterns.iter().map(|x| x.0).collect();
    let slots = Slots::new(machine, log_run, &given, tiles, &all)?;

    // Columns from the second on have weights: on a range of the first of them, on one that ends in the next, and on the
    // last; of the zeros some have no slot.
    let (outer, values) = (elements(40, 3), elements(24, 4));
    let zero = ([0; 4], QM31::ZERO);
    let inner: Vec<(u32, (Element, QM31))> = values
        .iter()
        .enumerate()
        .map(|(i, &x)| if i % 8 == 5 { (2, zero) } else { (i as u32 % 2, x) })
        .collect();
    let coefficients = elements(5, 5);
    let product = |k: usize, outer, inner, log_inner| Product {
        outer,
        inner,
        log_inner,
        coefficient: coefficients[k].0,
    };
    let products = [
        product(0, 0, 0, 3),
        product(1, 4, 8, 4),
        product(2, 8, 8, 3),
        product(3, 0, 0, 0),
        product(4, 38, 16, 3),
    ];
    let spans = [(0, 64, 0..2), (96, 64, 2..3), (200, 1, 3..4), (496, 16, 4..5)];
    let spans = spans.map(|(first, runs, products)| Span { first, runs, products });
    let there = |all: &[(Element, QM31)]| all.iter().map(|x| x.0).collect::<Vec<Element>>();
    let given: Vec<(u32, Element)> = inner.iter().map(|&(pattern, x)| (pattern, x.0)).collect();
    let factors = Factors::new(machine, &there(&outer), &given, &slot_of, all.len())?;
    let mut stack = stack::Stack::new(machine, count, all.len())?;
    stack.contract(0, &columns, &slots)?;
    stack.weigh((1, count - 1), log_runs, &factors, &spans, &products)?;
    stack.own(&[[0, own], [3, own]])?;

    let size = all.len() * RUNS;
    let mut w = vec![vec![QM31::ZERO; size]; count];
    for span in &spans {
        for run in 0..span.runs as usize {
            let place = span.first as usize + run;
            let (column, at) = (1 + (place >> log_runs), place & ((1 << log_runs) - 1));
            for k in span.products.start as usize..span.products.end as usize {
                let Product { outer: first, inner: begin, log_inner, .. } = products[k];
                let (pattern, x) = inner[begin as usize + (run & ((1 << log_inner) - 1))];
                let weight = coefficients[k].1 * outer[first as usize + (run >> log_inner)].1 * x.1;
                if weight != QM31::ZERO {
                    let slot = slot_of[at / RUNS][pattern as usize].unwrap_or(u32::MAX) as usize;
                    w[column][slot * RUNS + at % RUNS] += weight;
                }
            }
        }
    }
    for column in [0, 3] {
        w[column][own as usize * RUNS..][..RUNS].fill(QM31::ONE);
    }
    let of = |words: &[u32]| -> Vec<QM31> {
        let slots = words.as_chunks::<RUNS>().0.as_chunks::<4>().0.iter();
        slots.flat_map(|slot| (0..RUNS).map(|k| element(std::array::from_fn(|c| slot[c][k])))).collect()
    };
    let contracted = read(&columns.contract(&slots, 0..count)?)?;
    let mut f: Vec<Vec<QM31>> = contracted.chunks_exact(slots.words()).map(of).collect();

    let r = elements(12, 6);
    let alone = |column| Side { column, with: None };
    let with = |column, k: usize, other| Side { column, with: Some((r[k].0, other, r[k + 1].0)) };
    let join = |a, b| Join { a, b };
    let rounds = [
        (0..count as u32).map(|c| join(alone(c), Some(alone(c)))).collect(),
        vec![join(alone(0), Some(alone(3))), join(alone(1), Some(alone(4)))],
        vec![join(with(0, 0, 3), Some(with(2, 2, 1))), join(alone(4), None)],
        vec![join(with(0, 4, 2), Some(alone(4)))],
        vec![join(with(4, 6, 0), None)],
        vec![],
    ];
    for (round, joins) in rounds.into_iter().enumerate() {
        let found = stack.join(&joins)?;
        let mut expected = Vec::new();
        for join in &joins {
            for side in [Some(join.a), join.b].into_iter().flatten() {
                if let Some((low, other, high)) = side.with {
                    for table in [&mut f, &mut w] {
                        let other = table[other as usize].clone();
                        let own = table[side.column as usize].iter_mut().zip(other);
                        own.for_each(|(x, y)| *x = *x * element(low) + y * element(high));
                    }
                }
            }
            let dot = |a: &[QM31], b: &[QM31]| -> QM31 { a.iter().zip(b).map(|(&a, &b)| a * b).sum() };
            expected.push(join.b.map_or(QM31::ZERO, |b| {
                let (a, b) = (join.a.column as usize, b.column as usize);
                dot(&f[a], &w[b]) + dot(&f[b], &w[a])
            }));
        }
        assert_eq!(found.into_iter().map(element).collect::<Vec<_>>(), expected, "round {round}");
        for (column, w) in w.iter().enumerate() {
            assert!(of(&stack.weight(column)?) == *w, "the weight on column {column} in round {round}");
        }
    }
    let whole = buffer(machine, &stack.weight(4)?)?;
    let expected = read(&slots.expand(&whole, 0, r[9].0)?)?;
    assert_eq!(read(&stack.expand(4, &slots, r[9].0)?)?, expected);
    Ok(())
}
