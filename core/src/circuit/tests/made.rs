//! What is checked of a circuit, on circuits that no program has: made by hand, with one thing wrong.

use alloc::string::String;
use alloc::vec;

use super::*;

/// One column `x` with a range check and `coefficient x + constant = 0`.
fn one_relation(coefficient: i64, constant: i64) -> Circuit {
    let shape = Shape { rows: 1, cols: 4 };
    let column = |bound, content| Column { name: String::from("x"), shape, bound, content };
    let range = LookupTable {
        name: String::from("range"),
        bits: 10,
        components: vec![Component::Index { low: 0 }],
        multiplicity: ColumnId(1),
    };
    Circuit {
        columns: vec![
            column(Interval::bits(10), Content::Trace),
            column(Interval::bits(30), Content::Multiplicity(0)),
        ],
        tables: vec![range],
        lookups: vec![Lookup { shape, table: 0, forms: vec![ColumnId(0).into()] }],
        relations: vec![Relation {
            op: 0,
            name: String::from("r"),
            shape,
            value: Form::default().plus(coefficient, ColumnId(0)).plus_constant(constant).into(),
            modular: false,
        }],
        ..Circuit::default()
    }
}

/// A range proves something only where its residues are those of no other integers: in a window of `P` of them.
#[test]
fn ranges_lie_in_a_window() {
    let window = i64::from(crate::field::P) / 2;
    let with = |constant: i64| {
        let mut circuit = one_relation(0, 0);
        circuit.relations.clear();
        circuit.lookups[0].forms = vec![Form::from(ColumnId(0)).plus_constant(constant)];
        circuit.columns[0].bound = Interval { low: -constant, high: 1023 - constant };
        checked(&circuit)
    };
    let unbounded = || Err(CircuitError::Unbounded(String::from("x")));
    assert_eq!((with(window), with(window + 1)), (Ok(()), unbounded()));
    assert_eq!((with(1023 - window), with(1022 - window)), (Ok(()), unbounded()));
}

/// A form is read over cells that its columns have, in both axes.
#[test]
fn forms_are_read_where_they_are() {
    let with = |rows: u32, cols: u32| {
        let mut circuit = one_relation(1, 0);
        circuit.relations[0].shape = Shape { rows: 8, cols: 12 };
        let shape = Shape { rows, cols };
        circuit.columns[0].shape = shape;
        circuit.lookups[0].shape = shape;
        match checked(&circuit) {
            Ok(()) => true,
            Err(CircuitError::Malformed(why)) if why.contains("over another shape") => false,
            other => panic!("{other:?}"),
        }
    };
    for (rows, cols) in [(8, 12), (4, 12), (1, 12), (8, 4), (8, 1), (2, 16)] {
        assert!(with(rows, cols), "{rows} x {cols}");
    }
    for (rows, cols) in [(3, 12), (8, 3), (5, 4), (4, 13), (7, 11)] {
        assert!(!with(rows, cols), "{rows} x {cols}");
    }
}

/// Circuits have as many columns and cells as indices can name.
#[test]
fn circuits_have_sizes() {
    let with = |change: &dyn Fn(&mut Circuit)| {
        let mut circuit = one_relation(0, 0);
        circuit.relations.clear();
        change(&mut circuit);
        match checked(&circuit) {
            Ok(()) => true,
            Err(CircuitError::Malformed(why)) if why.ends_with("too large") => false,
            other => panic!("{other:?}"),
        }
    };
    let more = |circuit: &mut Circuit, count: usize, shape: Shape| {
        let content = Content::Constant { constant: ConstantId(0), row: 0, col: 0 };
        let column = Column { name: String::from("c"), shape, bound: Interval::bits(1), content };
        circuit.columns.extend(core::iter::repeat_n(column, count));
    };
    let own = one_relation(0, 0).columns.len();
    assert!(with(&|c| more(c, crate::limits::PARTS - own, Shape::CELL)));
    assert!(!with(&|c| more(c, crate::limits::PARTS - own + 1, Shape::CELL)));
    // All cells but one column's, which leaves room for the few that there are.
    let large = Shape { rows: 1 << 15, cols: 1 << 15 };
    assert!(with(&|c| more(c, 31, large)));
    assert!(!with(&|c| more(c, 32, large)));
}

/// Sets of cells are known over the shapes that they are sets of, and over no others.
#[test]
fn indicators_have_their_shapes() {
    let check = |rows: u32, cols: u32, indicator| {
        let mut circuit = one_relation(1, 0);
        let relation = &mut circuit.relations[0];
        (relation.shape, relation.value.form) = (Shape { rows, cols }, Form::default());
        relation.value.form = relation.value.form.clone().plus_indicator(1, indicator);
        circuit.lists.push(List { len: 4, limit: 9 });
        match checked(&circuit) {
            Ok(()) => true,
            Err(CircuitError::Malformed(why)) if why.contains("another shape") => false,
            other => panic!("{other:?}"),
        }
    };
    for (rows, cols, log, past) in
        [(4, 4, 2, 0), (4, 4, 2, 3), (8, 4, 2, 3), (3, 3, 2, 3), (1, 1, 0, 0), (4, 16, 2, 15)]
    {
        assert!(check(rows, cols, Indicator::Future { log, past }), "{rows} {cols} {log} {past}");
    }
    for (rows, cols, log, past) in
        [(4, 4, 3, 0), (2, 4, 2, 0), (4, 4, 2, 4), (4, 16, 2, 16), (4, 4, 2, u32::MAX)]
    {
        assert!(!check(rows, cols, Indicator::Future { log, past }), "{rows} {cols} {log} {past}");
    }
    for cols in 0..=4 {
        assert!(check(2, 3, Indicator::Beyond { cols }), "{cols}");
    }
    for cols in [5, 8, u32::MAX] {
        assert!(!check(2, 3, Indicator::Beyond { cols }), "{cols}");
    }
    assert!(check(4, 3, Indicator::Below { list: 0, first: 0 }));
    assert!(!check(3, 3, Indicator::Below { list: 0, first: 0 }));
    assert!(!check(4, 3, Indicator::Below { list: 1, first: 0 }));
}

#[test]
fn the_limit_of_rule_u_is_exact() {
    let limit = i64::from(crate::field::P) - 1;
    let rest = limit % 1023;
    for sign in [1, -1] {
        assert_eq!(one_relation(sign * (limit / 1023), sign * rest).check(), Ok(()));
        let above = checked(&one_relation(sign * (limit / 1023), sign * (rest + 1)));
        let wrap = CircuitError::MayWrap {
            relation: String::from("r"),
            magnitude: limit as u64 + 1,
            limit: limit as u64,
        };
        assert_eq!(above, Err(wrap));
    }
    // Products: `1024^2 - 1` per cell of the sum.
    let mut circuit = one_relation(0, 0);
    let shape = Shape { rows: 1, cols: 4 };
    let product = |bound| Product {
        bound,
        ..Product::new(Kind::RowDot, (ColumnId(0).into(), shape), (ColumnId(0).into(), shape))
    };
    let all = 4 * 1023 * 1023;
    let mut with = |constant, bound| {
        let form = Form::constant(constant);
        let value = Value { products: vec![product(bound)], form, ..Value::default() };
        circuit.relations =
            vec![Relation { name: String::from("r"), op: 0, shape: Shape::CELL, value, modular: false }];
        circuit.check()
    };
    assert_eq!(with(limit - all, None), Ok(()));
    assert!(with(limit - all + 1, None).is_err());
    assert_eq!(with(limit - all + 1, Some(all - 1)), Ok(()));
    assert_eq!(with(limit - 7, Some(7)), Ok(()));
    assert!(with(limit - 6, Some(7)).is_err());
}

#[test]
fn ranges_follow_from_lookups() {
    let mut circuit = one_relation(1, 0);
    circuit.columns[0].bound.high -= 1;
    assert_eq!(checked(&circuit), Err(CircuitError::Unbounded(String::from("x"))));
    // Shifted lookups bound shifted ranges; multiples and sums bound nothing.
    let with = |form: Form, bound| {
        let mut circuit = one_relation(1, 0);
        circuit.lookups[0].forms = vec![form];
        circuit.columns[0].bound = bound;
        circuit.check().is_ok()
    };
    let x = || Form::from(ColumnId(0));
    assert!(with(x().plus_constant(5), Interval { low: -5, high: 1018 }));
    assert!(!with(x().plus_constant(5), Interval { low: -4, high: 1018 }));
    assert!(!with(x().plus_constant(5), Interval { low: -5, high: 1017 }));
    assert!(with(x().times(-1).plus_constant(5), Interval { low: -1018, high: 5 }));
    assert!(!with(x().times(2), Interval::bits(10)));
    assert!(!with(x().plus(1, ColumnId(0)), Interval::bits(10)));
    assert!(!with(Form::constant(0), Interval::bits(10)));
    // What a lookup says of a column in some cells, or in others than its own, bounds nothing.
    assert!(!with(x().plus_indicator(1, Indicator::Beyond { cols: 0 }), Interval::bits(10)));
    let mut circuit = one_relation(1, 0);
    circuit.lookups[0].shape.rows = 2 * circuit.columns[0].shape.rows.next_power_of_two();
    circuit.lookups[0].forms = vec![ColumnId(0).into()];
    circuit.columns[0].shape = Shape::CELL;
    assert_eq!(checked(&circuit), Err(CircuitError::Unbounded(String::from("x"))));
}

/// Gathers and picks name rows and channels that exist, of blocks that lie one after the other.
#[test]
fn lists_name_what_there_is() {
    let refused = |circuit: &Circuit, what: &str| match checked(circuit) {
        Ok(()) => false,
        Err(CircuitError::Malformed(why)) if why.starts_with(what) => true,
        other => panic!("{other:?}"),
    };
    let with = |limit: u32, len: u32| {
        let mut circuit = one_relation(0, 0);
        circuit.columns[0].shape = Shape { rows: 4, cols: 4 };
        circuit.lookups[0].shape = circuit.columns[0].shape;
        circuit.relations.clear();
        circuit.lists.push(List { len, limit });
        circuit
    };
    let x = ColumnId(0);
    for (limit, len, rows, blocks, fits) in [
        (4, 4, 4, vec![(0, x)], true),
        (5, 4, 4, vec![(0, x)], false),
        (4, 3, 4, vec![(0, x)], false),
        (4, 3, 3, vec![(0, x)], false),
        (8, 4, 4, vec![(0, x), (4, x)], true),
        (9, 4, 4, vec![(0, x), (4, x)], false),
        (4, 4, 4, vec![(0, x), (3, x)], false),
        (4, 4, 4, vec![(1, x)], false),
        (0, 4, 4, vec![], false),
    ] {
        let mut circuit = with(limit, len);
        let terms = |&(first, column): &(u32, ColumnId)| (first, vec![(1, column)]);
        circuit.picks.push(Pick { list: 0, rows, blocks: blocks.iter().map(terms).collect() });
        // No block has a shape, and none is needed: nothing is named.
        let fits = fits || (blocks.is_empty() && limit == 0);
        assert_eq!(refused(&circuit, "pick"), !fits, "{limit} {len} {rows} {blocks:?}");
        let mut circuit = with(limit, len);
        circuit.gathers.push(Gather { source: blocks.clone(), rows: Rows::Listed(0), output: x });
        let fits = fits && rows == 4;
        assert_eq!(refused(&circuit, "gather"), !fits, "{limit} {len} {rows} {blocks:?}");
    }
    for (given, fits) in [(vec![0, 3, 3, 1], true), (vec![0, 4, 0, 0], false), (vec![0, 1, 2], false)] {
        let mut circuit = with(4, 4);
        circuit.gathers.push(Gather { source: vec![(0, x)], rows: Rows::Given(given.clone()), output: x });
        assert_eq!(refused(&circuit, "gather"), !fits, "{given:?}");
    }
    let mut circuit = with(4, 4);
    circuit.picks.push(Pick { list: 1, rows: 4, blocks: vec![(0, vec![(1, x)])] });
    assert!(refused(&circuit, "pick"));
}

/// A relation of a given shape with one product of the same bit, which every shape can read.
fn one_product(shape: Shape, product: Product) -> Circuit {
    let mut circuit = one_relation(0, 0);
    circuit.columns[0].shape = Shape::CELL;
    circuit.columns[0].bound = Interval::bits(10);
    circuit.lookups[0].shape = Shape::CELL;
    let value = Value { products: vec![product], ..Value::default() };
    circuit.relations = vec![Relation { name: String::from("r"), op: 0, shape, value, modular: false }];
    circuit
}

/// A square is not negative; nothing else is known of a product but its factors' ranges.
#[test]
fn squares_alone_are_not_negative() {
    let row = Shape { rows: 1, cols: 4 };
    // Both from -512 to 511.
    let form = || Form::from(ColumnId(0)).plus_constant(-512);
    let mirrored = || Form::default().plus(-1, ColumnId(0)).plus_constant(511);
    let of = |kind, b: Form| Product::new(kind, (form(), row), (b, row));
    let with = |shape: Shape, product: Product| {
        let factor = 4100 / i64::from(product.summands());
        let lowest = -512 * 511 * factor * i64::from(product.summands());
        let mut circuit = one_product(shape, Product { coefficient: factor, ..product });
        // One less than an integer that is known to be no other modulo `P`, unless the product is a square.
        let constant = -i64::from(crate::field::P) - lowest;
        circuit.relations[0].value.form = Form::default().plus_constant(constant);
        match checked(&circuit) {
            Ok(()) => true,
            Err(CircuitError::MayWrap { magnitude, limit, .. }) if magnitude == limit + 1 => false,
            other => panic!("{other:?}"),
        }
    };
    assert!(with(row, of(Kind::Entrywise, form())));
    assert!(with(Shape::CELL, of(Kind::RowDot, form())));
    assert!(!with(row, of(Kind::Entrywise, mirrored())));
    assert!(!with(Shape::CELL, of(Kind::RowDot, mirrored())));
    assert!(!with(row, Product { flip: Some(1), ..of(Kind::Entrywise, form()) }));
    assert!(!with(Shape::CELL, of(Kind::Contract, form())));
}

/// A row sum is one of the rows that the relation has, in its one column.
#[test]
fn row_sums_have_the_shape_of_their_relation() {
    let with = |relation: (u32, u32), rows: u32| {
        let mut circuit = one_relation(0, 0);
        let shape = Shape { rows, cols: 4 };
        (circuit.columns[0].shape, circuit.lookups[0].shape) = (shape, shape);
        let value = Value { sums: vec![RowSum { coefficient: 1, column: ColumnId(0) }], ..Value::default() };
        let shape = Shape { rows: relation.0, cols: relation.1 };
        circuit.relations = vec![Relation { name: String::from("r"), op: 0, shape, value, modular: false }];
        match checked(&circuit) {
            Ok(()) => true,
            Err(CircuitError::Malformed(why)) if why == "r: row sum shape" => false,
            other => panic!("{other:?}"),
        }
    };
    assert!(with((1, 1), 1) && with((3, 1), 3));
    assert!(!with((1, 4), 1) && !with((1, 2), 1));
    assert!(!with((2, 1), 1) && !with((1, 1), 2));
}

/// Extents of a relation, and of its operands.
type Extents = [(u32, u32); 3];

/// A kind, extents, groups, and changes that leave the product as it should be: an extent, by its place among the six, and
/// its new value.
type Meeting = (Kind, Extents, &'static [u32], &'static [(usize, u32)]);

/// Products whose operands meet as their kind says are accepted, and no neighbours of theirs.
#[test]
fn operands_have_the_shapes_of_their_kind() {
    let shape = |(rows, cols): (u32, u32)| Shape { rows, cols };
    let cases: [Meeting; 8] = [
        (Kind::Entrywise, [(3, 4), (3, 4), (3, 4)], &[], &[]),
        (Kind::RowDot, [(3, 1), (3, 5), (3, 5)], &[], &[]),
        (Kind::Contract, [(3, 4), (3, 5), (4, 5)], &[], &[]),
        (Kind::ContractTransposed, [(3, 4), (3, 5), (5, 4)], &[], &[]),
        (Kind::ToHeads { channels: 1 }, [(8, 2), (4, 3), (4, 3)], &[], &[]),
        (Kind::FromHeads { tokens: 2 }, [(4, 5), (8, 2), (5, 4)], &[], &[]),
        // Any number of groups that includes those named.
        (Kind::Scores { group: 2 }, [(8, 4), (8, 3), (8, 3)], &[0, 1], &[(4, 12), (4, 16)]),
        (Kind::Mix { group: 2 }, [(8, 3), (8, 4), (8, 3)], &[0, 1], &[(4, 12), (4, 16)]),
    ];
    for (kind, extents, groups, others) in cases {
        let product = |[_, a, b]: Extents, groups: &[u32]| Product {
            groups: groups.to_vec(),
            ..Product::new(kind, (ColumnId(0).into(), shape(a)), (ColumnId(0).into(), shape(b)))
        };
        let check = |extents: Extents, groups: &[u32]| {
            let circuit = one_product(shape(extents[0]), product(extents, groups));
            match checked(&circuit) {
                Ok(()) => true,
                Err(CircuitError::Malformed(why)) if why.contains("operand shapes") => false,
                other => panic!("{kind:?} {extents:?}: {other:?}"),
            }
        };
        assert!(check(extents, groups), "{kind:?}");
        for place in 0..6 {
            let own = [extents[place / 2].0, extents[place / 2].1][place % 2];
            for other in (1..=16).filter(|&other| other != own) {
                let mut changed = extents;
                let (rows, cols) = &mut changed[place / 2];
                *[rows, cols][place % 2] = other;
                let expected = others.contains(&(place, other));
                assert_eq!(check(changed, groups), expected, "{kind:?} {changed:?}");
            }
        }
        // Heads have groups that exist, a power of two of them and no more than rows; nothing else has any.
        for groups in [&[][..], &[0], &[0, 1], &[1, 1], &[0, 2], &[0, 0, 1], &[0, 0, 1, 1], &[0; 8], &[0; 16]]
        {
            let headed = matches!(kind, Kind::Scores { .. } | Kind::Mix { .. });
            let fit = groups.len().is_power_of_two() && groups.len() <= 8 && groups.iter().all(|&g| g < 2);
            let expected = if headed { fit } else { groups.is_empty() };
            assert_eq!(check(extents, groups), expected, "{kind:?} {groups:?}");
        }
        // The kind's own number is that of the shapes.
        let renumbered = |kind: Kind, by: u32| match kind {
            Kind::ToHeads { channels } => Some(Kind::ToHeads { channels: channels + by }),
            Kind::FromHeads { tokens } => Some(Kind::FromHeads { tokens: tokens + by }),
            Kind::Scores { group } => Some(Kind::Scores { group: group + by }),
            Kind::Mix { group } => Some(Kind::Mix { group: group + by }),
            _ => None,
        };
        for by in [1, 29, 30, 40] {
            let Some(kind) = renumbered(kind, by) else { continue };
            let other = Product { kind, ..product(extents, groups) };
            assert!(one_product(shape(extents[0]), other).check().is_err(), "{kind:?}");
        }
        // Only entries of equal shapes have partners, where their row has a power of two.
        let flipped = |bit: u32| {
            let other = Product { flip: Some(bit), ..product(extents, groups) };
            one_product(shape(extents[0]), other).check().is_ok()
        };
        for bit in [0, 1, 2, 31, 32] {
            assert_eq!(flipped(bit), kind == Kind::Entrywise && bit < 2, "{kind:?} {bit}");
        }
        // Operands have no indicators.
        for of_a in [false, true] {
            let mut other = product(extents, groups);
            let form = if of_a { &mut other.a } else { &mut other.b };
            *form = form.clone().plus_indicator(1, Indicator::Beyond { cols: 1 });
            assert!(one_product(shape(extents[0]), other).check().is_err(), "{kind:?}");
        }
    }
    let odd = Product {
        flip: Some(0),
        ..Product::new(
            Kind::Entrywise,
            (ColumnId(0).into(), shape((3, 3))),
            (ColumnId(0).into(), shape((3, 3))),
        )
    };
    assert!(one_product(shape((3, 3)), odd).check().is_err());
}
