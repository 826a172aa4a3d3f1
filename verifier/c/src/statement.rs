//! Statements as lists of integers, with what the key says about them.

use std::ffi::c_int;

use circlet_core::program::{Program, TensorId};
use circlet_verifier::{Key, Proven};

use crate::{circlet_kind, circlet_tensor};

/// A statement.
#[derive(Debug)]
pub struct Statement {
    /// What it is of.
    pub kind: circlet_kind,
    /// The lists of each part, in the order of [`crate::circlet_part`].
    parts: [Vec<List>; 5],
}

/// A list of integers.
#[derive(Debug)]
pub struct List {
    /// The integers.
    pub values: Vec<i64>,
    /// What is known of it, if it is a tensor of a program.
    pub tensor: Option<Tensor>,
}

/// What a key says about a tensor.
#[derive(Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// The rest.
    pub extent: circlet_tensor,
}

impl Statement {
    /// What was proven under a key.
    pub fn new(key: &Key, proven: Proven) -> Self {
        let mut parts = <[Vec<List>; 5]>::default();
        let [inputs, outputs, lists, given, generated] = &mut parts;
        let kind = match proven {
            Proven::Program(statement) => {
                let program = match key {
                    Key::Program(key) => Some(&key.program),
                    Key::Decoder(_) | Key::Encoder(_) => None,
                };
                *inputs = tensors(program, |program| &program.inputs, &statement.inputs);
                *outputs = tensors(program, |program| &program.outputs, &statement.outputs);
                *lists = statement.lists.iter().map(|list| List::of(list)).collect();
                circlet_kind::CIRCLET_PROGRAM
            }
            Proven::Text(text) => {
                let prompt = text.tokens.len().min(text.prompt as usize);
                let (before, after) = text.tokens.split_at(prompt);
                given.push(List::of(before));
                generated.push(List::of(after));
                circlet_kind::CIRCLET_TEXT
            }
            Proven::Chat(chat) => {
                for turn in &chat.turns {
                    given.push(List::of(&turn.given));
                    generated.push(List::of(&turn.generated));
                }
                circlet_kind::CIRCLET_CHAT
            }
            Proven::Encoding(encoding) => {
                given.push(List::of(&encoding.tokens));
                outputs.push(List::of(&encoding.embedding));
                circlet_kind::CIRCLET_ENCODING
            }
        };
        Self { kind, parts }
    }

    /// The lists of a part; none for a number that is no part.
    pub fn part(&self, part: c_int) -> &[List] {
        usize::try_from(part).ok().and_then(|part| self.parts.get(part)).map_or(&[], Vec::as_slice)
    }
}

impl List {
    fn of<T: Copy + Into<i64>>(values: &[T]) -> Self {
        Self { values: values.iter().map(|&value| value.into()).collect(), tensor: None }
    }
}

fn tensors(
    program: Option<&Program>,
    ids: impl Fn(&Program) -> &[TensorId],
    values: &[Vec<i32>],
) -> Vec<List> {
    let tensor = |index: usize| {
        let program = program?;
        let id = ids(program).get(index)?;
        let tensor = program.tensors.get(id.0 as usize)?;
        let extent = circlet_tensor {
            rows: tensor.rows,
            cols: tensor.cols,
            fraction_bits: tensor.fraction_bits.into(),
        };
        Some(Tensor { name: tensor.name.clone(), extent })
    };
    let list = |(index, values): (usize, &Vec<i32>)| List { tensor: tensor(index), ..List::of(values) };
    values.iter().enumerate().map(list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circlet_part;

    #[test]
    fn parts_are_in_the_order_of_their_numbers() {
        let encoding = circlet_core::encoder::Encoding { tokens: vec![7, u32::MAX], embedding: vec![-1] };
        let chat = circlet_core::decoder::Chat {
            turns: vec![circlet_core::decoder::Turn { given: vec![1], generated: vec![2, 3] }],
        };
        // These need nothing of the key.
        let key = Key::Program(circlet_core::key::VerifyingKey {
            program: Program {
                name: String::new(),
                tensors: Vec::new(),
                constants: Vec::new(),
                tables: Vec::new(),
                ops: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                lists: Vec::new(),
            },
            profile: circlet_core::profile::ProfileId::P100U,
            log_rows: 0,
            suite: 0,
            fixed_cap: Vec::new(),
            pin: None,
            member: None,
        });
        let values = |statement: &Statement, part: circlet_part| -> Vec<Vec<i64>> {
            statement.part(part as c_int).iter().map(|list| list.values.clone()).collect()
        };
        let statement = Statement::new(&key, Proven::Encoding(encoding));
        assert_eq!(values(&statement, circlet_part::CIRCLET_GIVEN), [[7, i64::from(u32::MAX)]]);
        assert_eq!(values(&statement, circlet_part::CIRCLET_OUTPUTS), [[-1]]);
        assert_eq!(values(&statement, circlet_part::CIRCLET_INPUTS), <[Vec<i64>; 0]>::default());
        let statement = Statement::new(&key, Proven::Chat(chat));
        assert_eq!(values(&statement, circlet_part::CIRCLET_GIVEN), [[1]]);
        assert_eq!(values(&statement, circlet_part::CIRCLET_GENERATED), [[2, 3]]);
        for part in [-1, 5, c_int::MAX, c_int::MIN] {
            assert!(statement.part(part).is_empty());
        }
    }
}
