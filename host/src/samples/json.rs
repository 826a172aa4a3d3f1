//! Nested JSON arrays of numbers.

use serde_json::Value;

use super::{SampleError, Samples};
use crate::graph::{Shape, Tensor};

pub(super) fn read(bytes: &[u8]) -> Result<Samples, SampleError> {
    // Nesting beyond 128 levels is an error of the JSON reader.
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| SampleError::NotJson(error.to_string()))?;
    let Value::Object(object) = &value else {
        return Ok(Samples { inputs: array("input", &value)?, outputs: None });
    };
    let inputs = object.get("inputs").ok_or(SampleError::NoInputs)?;
    let outputs = object.get("outputs").map(|outputs| array("outputs", outputs)).transpose()?;
    Ok(Samples { inputs: array("inputs", inputs)?, outputs })
}

fn array(at: &str, value: &Value) -> Result<Tensor, SampleError> {
    let mut data = Vec::new();
    let shape = collect(&mut at.to_owned(), value, &mut data)?;
    Ok(Tensor::new(shape, data)?)
}

/// Appends the numbers of `value` and returns its shape. `at` names it in errors.
fn collect(at: &mut String, value: &Value, data: &mut Vec<f32>) -> Result<Shape, SampleError> {
    match value {
        Value::Number(number) => {
            let value = number.as_f64().unwrap_or(f64::NAN);
            let narrow = value as f32;
            if !narrow.is_finite() {
                return Err(SampleError::NonFinite { index: data.len(), value });
            }
            data.push(narrow);
            Ok(Shape::new())
        }
        Value::Array(items) => {
            let mut common: Option<Shape> = None;
            let len = at.len();
            for (i, item) in items.iter().enumerate() {
                at.push('[');
                at.push_str(&i.to_string());
                at.push(']');
                let found = collect(at, item, data)?;
                match &common {
                    Some(expected) if *expected != found => {
                        return Err(SampleError::Ragged {
                            at: at.clone(),
                            expected: expected.clone(),
                            found,
                        });
                    }
                    Some(_) => {}
                    None => common = Some(found),
                }
                at.truncate(len);
            }
            let inner = common.ok_or_else(|| SampleError::Empty { at: at.clone() })?;
            Ok([&[items.len()], inner.as_slice()].concat())
        }
        other => Err(SampleError::NotNumbers { at: at.clone(), found: kind(other) }),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::String(_) => "a string",
        Value::Object(_) => "an object",
        Value::Number(_) | Value::Array(_) => "a number",
    }
}
