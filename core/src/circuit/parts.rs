//! The parts of a circuit, one after the other, for who need not have all of them at once.

use super::{
    Checked, Circuit, Column, Columns, Declared, Gather, Looked, Lookup, Pick, Relation, Step, Wiring,
};
use crate::program::Program;

/// Receives the parts of a circuit. Each kind of part comes in its order; how kinds alternate is not fixed.
///
/// What a part speaks of is declared before it comes.
pub trait Reader {
    /// An op begins. Relations that follow belong to it.
    fn op(&mut self) {}

    /// A column is declared. It has a name only where someone will execute the circuit.
    fn column(&mut self, _column: Column) {}

    /// A lookup.
    fn lookup(&mut self, declared: &Declared, lookup: Looked<'_>);

    /// A relation.
    fn relation(&mut self, declared: &Declared, relation: &Relation);

    /// A wiring.
    fn wiring(&mut self, declared: &Declared, wiring: Wiring);

    /// A gather.
    fn gather(&mut self, declared: &Declared, gather: Gather);

    /// A pick.
    fn pick(&mut self, declared: &Declared, pick: Pick);

    /// A step of the executor. Only where someone will execute the circuit.
    fn step(&mut self, _step: Step) {}
}

/// What has a circuit: a program, or the circuit itself.
pub trait Source {
    /// Goes through all parts. `columns` are those of an earlier pass, if there was one.
    fn read(&self, columns: Columns, reader: &mut dyn Reader) -> Checked<Declared>;
}

impl Source for Program {
    fn read(&self, columns: Columns, reader: &mut dyn Reader) -> Checked<Declared> {
        super::builder::spell_out(self, false, columns, reader)
    }
}

impl Source for Circuit {
    fn read(&self, columns: Columns, reader: &mut dyn Reader) -> Checked<Declared> {
        let declared = self.declared(columns);
        for lookup in &self.lookups {
            reader.lookup(&declared, lookup.looked());
        }
        let mut op = None;
        for relation in &self.relations {
            if op != Some(relation.op) {
                op = Some(relation.op);
                reader.op();
            }
            reader.relation(&declared, relation);
        }
        for wiring in &self.wirings {
            reader.wiring(&declared, wiring.clone());
        }
        for gather in &self.gathers {
            reader.gather(&declared, gather.clone());
        }
        for pick in &self.picks {
            reader.pick(&declared, pick.clone());
        }
        Ok(declared)
    }
}

impl Reader for Circuit {
    fn column(&mut self, column: Column) {
        self.columns.push(column);
    }

    fn lookup(&mut self, _: &Declared, lookup: Looked<'_>) {
        let Looked { shape, table, forms } = lookup;
        self.lookups.push(Lookup { shape, table, forms: forms.to_vec() });
    }

    fn relation(&mut self, _: &Declared, relation: &Relation) {
        self.relations.push(relation.clone());
    }

    fn wiring(&mut self, _: &Declared, wiring: Wiring) {
        self.wirings.push(wiring);
    }

    fn gather(&mut self, _: &Declared, gather: Gather) {
        self.gathers.push(gather);
    }

    fn pick(&mut self, _: &Declared, pick: Pick) {
        self.picks.push(pick);
    }

    fn step(&mut self, step: Step) {
        self.steps.push(step);
    }
}
