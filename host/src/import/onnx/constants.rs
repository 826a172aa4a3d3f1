//! Tensors stored in the file: to `f32`, or to integers where they describe shapes.

use rten_onnx::onnx::{DataLocation, TensorProto};

use super::super::ImportError;
use crate::graph::{Shape, Tensor, elements};

/// ONNX element types by number.
pub(super) mod dtype {
    use rten_onnx::onnx::DataType;

    pub(in super::super) const FLOAT: i32 = 1;
    pub(in super::super) const UINT8: i32 = 2;
    pub(super) const INT8: i32 = 3;
    pub(super) const UINT16: i32 = 4;
    pub(super) const INT16: i32 = 5;
    pub(in super::super) const INT32: i32 = 6;
    pub(in super::super) const INT64: i32 = 7;
    pub(in super::super) const BOOL: i32 = 9;
    pub(super) const FLOAT16: i32 = 10;
    pub(super) const DOUBLE: i32 = 11;
    pub(super) const BFLOAT16: i32 = 16;
    pub(super) const UINT4: i32 = 21;
    pub(super) const INT4: i32 = 22;

    /// Whether values of this type are treated as floats.
    pub(in super::super) fn is_float(kind: i32) -> bool {
        matches!(kind, FLOAT | FLOAT16 | DOUBLE | BFLOAT16)
    }

    /// The least and greatest value of an integer type; none if it is no supported integer type.
    pub(in super::super) fn range(kind: i32) -> Option<(i64, i64)> {
        Some(match kind {
            BOOL => (0, 1),
            UINT4 => (0, 15),
            INT4 => (-8, 7),
            UINT8 => (0, 255),
            INT8 => (-128, 127),
            UINT16 => (0, 65535),
            INT16 => (-32768, 32767),
            INT32 => (i32::MIN.into(), i32::MAX.into()),
            INT64 => (i64::MIN, i64::MAX),
            _ => return None,
        })
    }

    /// The name in messages.
    pub(in super::super) fn name(kind: i32) -> String {
        DataType(kind).to_string()
    }
}

/// Integers from the file.
#[derive(Clone, Debug)]
pub struct Ints {
    /// Dimensions, outermost first.
    pub dims: Shape,
    /// Elements in row-major order.
    pub data: Vec<i64>,
    /// The number of their ONNX element type.
    pub kind: i32,
}

impl Ints {
    /// One row of int64.
    pub fn wide_row(data: Vec<i64>) -> Self {
        Self { dims: vec![1, data.len()], data, kind: dtype::INT64 }
    }

    /// Whether they are int64, which only shapes and indices use.
    pub(super) fn wide(&self) -> bool {
        self.kind == dtype::INT64
    }

    /// As floats, when every value is exact. `name` appears in the error.
    pub fn to_tensor(&self, name: &str) -> Result<Tensor, ImportError> {
        if let Some(v) = self.data.iter().find(|v| v.unsigned_abs() > 1 << 24) {
            return Err(refuse(
                name,
                format!("holds {v}, which is not exact in f32; store it as a float tensor"),
            ));
        }
        Ok(Tensor::new(self.dims.clone(), self.data.iter().map(|&v| v as f32).collect())?)
    }
}

/// A tensor stored in a file.
#[derive(Clone, Debug)]
pub enum Constant {
    /// Numbers of a float type.
    Float(Tensor),
    /// Integers or truth values.
    Ints(Ints),
}

fn refuse(name: &str, detail: String) -> ImportError {
    ImportError::Tensor { name: name.into(), detail }
}

/// Reads a tensor. Its declared size is compared with the bytes that are there before anything is
/// allocated.
pub(super) fn decode(name: &str, proto: &TensorProto) -> Result<Constant, ImportError> {
    if proto.data_location == Some(DataLocation::EXTERNAL) || !proto.external_data.is_empty() {
        return Err(ImportError::ExternalData { name: name.into() });
    }
    let dims =
        proto.dims.iter().map(|&d| usize::try_from(d)).collect::<Result<Shape, _>>().map_err(|_| {
            refuse(name, format!("has a negative dimension in {:?}; export it again", proto.dims))
        })?;
    let count = elements(name, &dims)?;
    let kind = proto.data_type.map_or(0, |t| t.0);
    let data = Data { name, proto, count };
    let floats = |data: Vec<f32>| Ok(Constant::Float(Tensor::new(dims.clone(), data)?));
    let ints = |data| Ok(Constant::Ints(Ints { dims: dims.clone(), data, kind }));
    let small = |read: fn([u8; 1]) -> i64| data.narrow(read);
    match kind {
        dtype::FLOAT => floats(data.read(&proto.float_data, |v| *v, f32::from_le_bytes)?),
        dtype::DOUBLE => {
            floats(data.read(&proto.double_data, |v| *v as f32, |b| f64::from_le_bytes(b) as f32)?)
        }
        dtype::FLOAT16 => {
            floats(data.read(&proto.int32_data, |v| half(*v as u16), |b| half(u16::from_le_bytes(b)))?)
        }
        dtype::BFLOAT16 => {
            let widen = |v: u16| f32::from_bits(u32::from(v) << 16);
            floats(data.read(&proto.int32_data, |v| widen(*v as u16), |b| widen(u16::from_le_bytes(b)))?)
        }
        dtype::INT64 => ints(data.read(&proto.int64_data, |v| *v, i64::from_le_bytes)?),
        dtype::INT32 => ints(data.narrow(|b| i32::from_le_bytes(b).into())?),
        dtype::INT16 => ints(data.narrow(|b| i16::from_le_bytes(b).into())?),
        dtype::UINT16 => ints(data.narrow(|b| u16::from_le_bytes(b).into())?),
        dtype::INT8 => ints(small(|b| i8::from_le_bytes(b).into())?),
        dtype::UINT8 | dtype::BOOL => ints(small(|b| b[0].into())?),
        dtype::UINT4 => ints(data.nibbles(Into::into)?),
        dtype::INT4 => ints(data.nibbles(|n| i64::from((n << 4).cast_signed() >> 4))?),
        _ => Err(refuse(
            name,
            format!("has element type {}, which is not supported; convert it to float32", dtype::name(kind)),
        )),
    }
}

struct Data<'a> {
    name: &'a str,
    proto: &'a TensorProto,
    count: usize,
}

impl Data<'_> {
    /// Elements of `N` raw bytes each, or from the typed field when there are no raw bytes.
    fn read<const N: usize, S, T>(
        &self,
        typed: &[S],
        convert: impl Fn(&S) -> T,
        from_bytes: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, ImportError> {
        let p = self.proto;
        let typed_lengths = [p.float_data.len(), p.int32_data.len(), p.int64_data.len(), p.double_data.len()];
        let Some(raw) = &p.raw_data else {
            if typed_lengths.iter().sum::<usize>() != typed.len() {
                return Err(refuse(self.name, "has data of another type; export it again".into()));
            }
            self.check_length(typed.len(), self.count, "elements")?;
            return Ok(typed.iter().map(convert).collect());
        };
        if typed_lengths != [0; 4] {
            return Err(refuse(self.name, "has its data twice, raw and typed; export it again".into()));
        }
        let raw = raw.borrow();
        // `count` is at most 2^31 and N at most 8.
        self.check_length(raw.len(), self.count * N, "bytes")?;
        let (chunks, _) = raw.as_chunks::<N>();
        Ok(chunks.iter().map(|&chunk| from_bytes(chunk)).collect())
    }

    /// Integers of four bits, two in a byte, the first in the low half.
    fn nibbles(&self, from_bits: impl Fn(u8) -> i64) -> Result<Vec<i64>, ImportError> {
        let half = Data { count: self.count.div_ceil(2), ..*self };
        let bytes: Vec<u8> = half.read(&self.proto.int32_data, |v| *v as u8, |[b]: [u8; 1]| b)?;
        let halves = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        Ok(halves.take(self.count).map(from_bits).collect())
    }

    /// Integers of up to 32 bits, whose typed field is always int32.
    fn narrow<const N: usize>(&self, from_bytes: impl Fn([u8; N]) -> i64) -> Result<Vec<i64>, ImportError> {
        self.read(&self.proto.int32_data, |v| i64::from(*v), from_bytes)
    }

    fn check_length(&self, found: usize, expected: usize, unit: &str) -> Result<(), ImportError> {
        if found == expected {
            return Ok(());
        }
        let dims = &self.proto.dims;
        Err(refuse(
            self.name,
            format!(
                "of shape {dims:?} needs {expected} {unit} of data, but has {found}; \
                 the file is damaged, so export it again"
            ),
        ))
    }
}

/// IEEE half precision to single precision.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f32::from(bits & 0x3ff);
    sign * match exponent {
        0 => mantissa * 2f32.powi(-24),
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + mantissa) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn half_precision_values() {
        let cases = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2f32.powi(-14)),
            (0x0001, 2f32.powi(-24)),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
    }
}
