//! Small encoders in two spellings, and graphs that are almost encoders.

use super::{Pooling, Recognised, read, recognizes};
use crate::import::onnx_writer::{Attr, Dim, OnnxWriter};
use crate::llm::encoder::EncoderWeight;

const VOCAB: usize = 40;
const WIDTH: usize = 8;
const HEADS: usize = 2;
const FFN: usize = 12;
const POSITIONS: usize = 16;
const INT64: i32 = 7;
const INT8: i32 = 3;

/// How a model is written down.
#[derive(Clone, Copy, PartialEq)]
enum Spelling {
    /// Casts and products for codes, one factor for queries and one for keys, a mask of truth values.
    Traced,
    /// DequantizeLinear, a quotient for scores, a mask of large numbers, norms spelled out.
    Scripted,
}

/// What is wrong with a model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    None,
    MaskDropped,
    MaskInverted,
    ScaleMissing,
    HeadsInterleaved,
    HeadsSwapped,
    ResidualMissing,
    ResidualOfInput,
    ValuesOfInput,
    ActivationMissing,
    MoreAtTheEnd,
    Biased,
}

struct Model {
    m: OnnxWriter,
    spelling: Spelling,
    defect: Defect,
    state: u64,
    names: usize,
}

impl Model {
    fn noise(&mut self, count: usize, size: f32) -> Vec<f32> {
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            ((*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
        };
        (0..count).map(|_| next(&mut self.state)).collect()
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names)
    }

    fn node(&mut self, op: &str, inputs: &[&str], attrs: &[(&str, Attr)]) -> String {
        let name = self.name();
        self.m.node(op, inputs, &[&name], attrs);
        name
    }

    fn constant(&mut self, dims: &[usize], data: &[f32]) -> String {
        let name = self.name();
        self.m.weights(&name, dims, data);
        name
    }

    fn number(&mut self, x: f32) -> String {
        self.constant(&[], &[x])
    }

    fn integers(&mut self, data: &[i64]) -> String {
        let name = self.name();
        self.m.integers(&name, data);
        name
    }

    /// A matrix of codes with a scale for each column.
    fn weight(&mut self, rows: usize, cols: usize) -> String {
        let codes: Vec<u8> =
            self.noise(rows * cols, 127.0).into_iter().map(|x| (x as i8).cast_unsigned()).collect();
        let scales: Vec<f32> = self.noise(cols, 1.0).iter().map(|x| 0.004 + x.abs() / 500.0).collect();
        let name = self.name();
        self.m.raw_tensor(&name, INT8, &[rows as i64, cols as i64], &codes);
        if self.spelling == Spelling::Scripted {
            let scale = self.constant(&[cols], &scales);
            return self.node("DequantizeLinear", &[&name, &scale], &[("axis", Attr::Int(1))]);
        }
        let scale = self.constant(&[1, cols], &scales);
        let floats = self.node("Cast", &[&name], &[("to", Attr::Int(1))]);
        self.node("Mul", &[&floats, &scale], &[])
    }

    fn linear(&mut self, x: &str, inputs: usize, outputs: usize) -> String {
        let weight = self.weight(inputs, outputs);
        let bias = self.noise(outputs, 0.3);
        let bias = self.constant(&[outputs], &bias);
        let product = self.node("MatMul", &[x, &weight], &[]);
        if self.spelling == Spelling::Traced {
            self.node("Add", &[&product, &bias], &[])
        } else {
            self.node("Add", &[&bias, &product], &[])
        }
    }

    fn norm(&mut self, x: &str) -> String {
        let scale: Vec<f32> = self.noise(WIDTH, 0.3).iter().map(|x| 1.0 + x).collect();
        let bias = self.noise(WIDTH, 0.3);
        let (scale, bias) = (self.constant(&[WIDTH], &scale), self.constant(&[WIDTH], &bias));
        if self.spelling == Spelling::Traced {
            return self.node("LayerNormalization", &[x, &scale, &bias], &[("epsilon", Attr::Float(1e-12))]);
        }
        let last = [("axes", Attr::Ints(&[-1]))];
        let mean = self.node("ReduceMean", &[x], &last);
        let centred = self.node("Sub", &[x, &mean], &[]);
        let two = self.number(2.0);
        let square = self.node("Pow", &[&centred, &two], &[]);
        let variance = self.node("ReduceMean", &[&square], &last);
        let epsilon = self.number(1e-12);
        let variance = self.node("Add", &[&variance, &epsilon], &[]);
        let deviation = self.node("Sqrt", &[&variance], &[]);
        let normed = self.node("Div", &[&centred, &deviation], &[]);
        let scaled = self.node("Mul", &[&normed, &scale], &[]);
        self.node("Add", &[&scaled, &bias], &[])
    }

    /// What is added to scores.
    fn mask(&mut self) -> String {
        let (zero, far) = (self.number(0.0), self.number(f32::MIN));
        if self.spelling == Spelling::Traced {
            let truth = self.node("Cast", &["attention_mask"], &[("to", Attr::Int(9))]);
            let axes = self.integers(&[1, 2]);
            let wide = self.node("Unsqueeze", &[&truth, &axes], &[]);
            let one = self.integers(&[1]);
            let length = self.node("Shape", &["input_ids"], &[("start", Attr::Int(1))]);
            let target = self.node("Concat", &[&one, &one, &length, &length], &[("axis", Attr::Int(0))]);
            let wide = self.node("Expand", &[&wide, &target], &[]);
            return if self.defect == Defect::MaskInverted {
                self.node("Where", &[&wide, &zero, &zero], &[])
            } else {
                self.node("Where", &[&wide, &zero, &far], &[])
            };
        }
        let axes = self.integers(&[1, 2]);
        let wide = self.node("Unsqueeze", &["attention_mask", &axes], &[]);
        let floats = self.node("Cast", &[&wide], &[("to", Attr::Int(1))]);
        let (one, far) = (self.number(1.0), self.number(-10000.0));
        let inverse = self.node("Sub", &[&one, &floats], &[]);
        let mask = if self.defect == Defect::MaskInverted { &floats } else { &inverse };
        self.node("Mul", &[mask, &far], &[])
    }

    /// `[batch, rows, width]` as `[batch, heads, rows, size]`.
    fn heads(&mut self, x: &str, interleaved: bool) -> String {
        let size = (WIDTH / HEADS) as i64;
        let ends = if interleaved { [size, HEADS as i64] } else { [HEADS as i64, size] };
        let shape = if self.spelling == Spelling::Traced {
            let leading = self.node("Shape", &["input_ids"], &[]);
            let ends = self.integers(&ends);
            self.node("Concat", &[&leading, &ends], &[("axis", Attr::Int(0))])
        } else {
            self.integers(&[0, -1, ends[0], ends[1]])
        };
        let x = self.node("Reshape", &[x, &shape], &[]);
        let perm: &[i64] = if interleaved { &[0, 3, 1, 2] } else { &[0, 2, 1, 3] };
        self.node("Transpose", &[&x], &[("perm", Attr::Ints(perm))])
    }

    fn attention(&mut self, x: &str, input: &str, mask: &str) -> String {
        let size = WIDTH / HEADS;
        let read = if self.defect == Defect::ValuesOfInput { input } else { x };
        let (q, k, v) =
            (self.linear(x, WIDTH, WIDTH), self.linear(x, WIDTH, WIDTH), self.linear(read, WIDTH, WIDTH));
        let interleaved = self.defect == Defect::HeadsInterleaved;
        let (mut q, v) = (self.heads(&q, interleaved), self.heads(&v, interleaved));
        let root = (size as f32).sqrt();
        let mut scores = if self.spelling == Spelling::Traced {
            // Keys lose the dimension of the batch and get it back.
            let k = self.heads(&k, interleaved);
            let length = self.node("Shape", &["input_ids"], &[("start", Attr::Int(1))]);
            let (open, channels) = (self.integers(&[-1]), self.integers(&[size as i64]));
            let flat = self.node("Concat", &[&open, &length, &channels], &[("axis", Attr::Int(0))]);
            let back = self.integers(&[1, HEADS as i64, size as i64, -1]);
            let k = self.node("Reshape", &[&k, &flat], &[]);
            let k = self.node("Transpose", &[&k], &[("perm", Attr::Ints(&[0, 2, 1]))]);
            let mut k = self.node("Reshape", &[&k, &back], &[]);
            if self.defect != Defect::ScaleMissing {
                let factor = self.number(root.sqrt().recip());
                q = self.node("Mul", &[&q, &factor], &[]);
                k = self.node("Mul", &[&k, &factor], &[]);
            }
            self.node("MatMul", &[&q, &k], &[])
        } else {
            let shape = self.integers(&[0, -1, HEADS as i64, size as i64]);
            let k = self.node("Reshape", &[&k, &shape], &[]);
            let k = self.node("Transpose", &[&k], &[("perm", Attr::Ints(&[0, 2, 3, 1]))]);
            let scores = self.node("MatMul", &[&q, &k], &[]);
            let divisor = self.number(root);
            if self.defect == Defect::ScaleMissing {
                scores
            } else {
                self.node("Div", &[&scores, &divisor], &[])
            }
        };
        if self.defect == Defect::Biased {
            let bias = self.noise(HEADS, 1.0);
            let bias = self.constant(&[HEADS, 1, 1], &bias);
            scores = self.node("Add", &[&scores, &bias], &[]);
        }
        if self.defect != Defect::MaskDropped {
            scores = self.node("Add", &[&scores, mask], &[]);
        }
        let mut weights = self.node("Softmax", &[&scores], &[("axis", Attr::Int(-1))]);
        if self.spelling == Spelling::Traced {
            let (bad, zero) = (self.node("IsNaN", &[&weights], &[]), self.number(0.0));
            weights = self.node("Where", &[&bad, &zero, &weights], &[]);
        }
        let mixed = self.node("MatMul", &[&weights, &v], &[]);
        let perm: &[i64] = if self.defect == Defect::HeadsSwapped { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] };
        let mixed = self.node("Transpose", &[&mixed], &[("perm", Attr::Ints(perm))]);
        let shape = self.integers(&[0, -1, WIDTH as i64]);
        let mixed = self.node("Reshape", &[&mixed, &shape], &[]);
        self.linear(&mixed, WIDTH, WIDTH)
    }

    fn gelu(&mut self, x: &str) -> String {
        let (root, one, half) = (self.number(std::f32::consts::SQRT_2), self.number(1.0), self.number(0.5));
        let y = self.node("Div", &[x, &root], &[]);
        let y = self.node("Erf", &[&y], &[]);
        let y = self.node("Add", &[&y, &one], &[]);
        if self.spelling == Spelling::Traced {
            let y = self.node("Mul", &[&half, &y], &[]);
            return self.node("Mul", &[x, &y], &[]);
        }
        let y = self.node("Mul", &[x, &y], &[]);
        self.node("Mul", &[&y, &half], &[])
    }

    fn layer(&mut self, x: &str, input: &str, mask: &str) -> String {
        let attended = self.attention(x, input, mask);
        let sum = self.node("Add", &[&attended, x], &[]);
        let middle = self.norm(&sum);
        let mut inner = self.linear(&middle, WIDTH, FFN);
        if self.defect != Defect::ActivationMissing {
            inner = self.gelu(&inner);
        }
        let down = self.linear(&inner, FFN, WIDTH);
        let sum = match self.defect {
            Defect::ResidualMissing => down,
            Defect::ResidualOfInput => self.node("Add", &[&down, x], &[]),
            _ => self.node("Add", &[&down, &middle], &[]),
        };
        self.norm(&sum)
    }

    fn embeddings(&mut self) -> String {
        let table = self.weight(VOCAB, WIDTH);
        let tokens = self.node("Gather", &[&table, "input_ids"], &[]);
        let segments = self.noise(2 * WIDTH, 0.3);
        let segments = self.constant(&[2, WIDTH], &segments);
        let segments = self.node("Gather", &[&segments, "token_type_ids"], &[]);
        let positions = self.weight(POSITIONS, WIDTH);
        let ids = self.name();
        let raw: Vec<u8> = (0..POSITIONS as i64).flat_map(i64::to_le_bytes).collect();
        self.m.raw_tensor(&ids, INT64, &[1, POSITIONS as i64], &raw);
        let (zero, one) = (self.integers(&[0]), self.integers(&[1]));
        let length = self.node("Shape", &["input_ids"], &[("start", Attr::Int(1)), ("end", Attr::Int(2))]);
        let ids = self.node("Slice", &[&ids, &zero, &length, &one, &one], &[]);
        let positions = self.node("Gather", &[&positions, &ids], &[]);
        let sum = self.node("Add", &[&tokens, &segments], &[]);
        let sum = self.node("Add", &[&sum, &positions], &[]);
        self.norm(&sum)
    }

    /// The mean over the tokens, and its direction.
    fn pooled(&mut self, x: &str, pooling: Pooling) -> String {
        if pooling == Pooling::None {
            return x.into();
        }
        let axes = self.integers(&[-1]);
        let mask = self.node("Unsqueeze", &["attention_mask", &axes], &[]);
        let mask = self.node("Cast", &[&mask], &[("to", Attr::Int(1))]);
        let shape = self.node("Shape", &[x], &[]);
        let mask = self.node("Expand", &[&mask, &shape], &[]);
        let masked = self.node("Mul", &[x, &mask], &[]);
        let tokens = self.integers(&[1]);
        let sum = self.node("ReduceSum", &[&masked, &tokens], &[("keepdims", Attr::Int(0))]);
        let count = self.node("ReduceSum", &[&mask, &tokens], &[("keepdims", Attr::Int(0))]);
        let least = self.number(1e-9);
        let count = self.node("Clip", &[&count, &least], &[]);
        let mean = self.node("Div", &[&sum, &count], &[]);
        if pooling == Pooling::Mean {
            return mean;
        }
        let square = self.node("Mul", &[&mean, &mean], &[]);
        let sum = self.node("ReduceSum", &[&square, &tokens], &[]);
        let length = self.node("Sqrt", &[&sum], &[]);
        let tiny = self.number(1e-12);
        let length = self.node("Clip", &[&length, &tiny], &[]);
        self.node("Div", &[&mean, &length], &[])
    }
}

/// A whole model.
fn model(spelling: Spelling, defect: Defect, pooling: Pooling) -> Vec<u8> {
    let mut model = Model { m: OnnxWriter::new(17), spelling, defect, state: 5, names: 0 };
    let dims = [Dim::Symbol("batch"), Dim::Symbol("sequence")];
    for name in ["input_ids", "attention_mask", "token_type_ids"] {
        model.m.typed_input(name, INT64, &dims);
    }
    let mask = model.mask();
    let input = model.embeddings();
    let mut x = input.clone();
    for _ in 0..2 {
        x = model.layer(&x, &input, &mask);
    }
    if defect == Defect::MoreAtTheEnd {
        x = model.node("Tanh", &[&x], &[]);
    }
    let x = model.pooled(&x, pooling);
    model.m.node("Identity", &[&x], &["y"], &[]);
    model.m.output("y", &[]);
    model.m.to_bytes()
}

fn reason(spelling: Spelling, defect: Defect) -> String {
    match read(&model(spelling, defect, Pooling::None), "small") {
        Ok(_) => panic!("{defect:?} is not noticed"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn both_spellings_are_the_same_encoder() {
    let read = |spelling| read(&model(spelling, Defect::None, Pooling::None), "small").unwrap();
    let (traced, scripted): (Recognised, Recognised) = (read(Spelling::Traced), read(Spelling::Scripted));
    let config = traced.weights.config();
    assert_eq!((config.heads, config.width, config.layers, config.ffn), (HEADS, WIDTH, 2, FFN));
    assert_eq!((config.vocab, config.positions), (VOCAB, POSITIONS));
    assert_eq!(config, scripted.weights.config());
    // The same random numbers are drawn for both, so all weights are the same.
    for (weight, _, _) in config.weights() {
        assert_eq!(traced.weights.get(weight), scripted.weights.get(weight), "{weight:?}");
    }
    assert!(traced.weights.get(EncoderWeight::TypeEmbedding).iter().any(|&x| x != 0.0));
}

#[test]
fn pooling_is_recognised() {
    for spelling in [Spelling::Traced, Spelling::Scripted] {
        for pooling in [Pooling::Mean, Pooling::UnitMean] {
            let encoder = read(&model(spelling, Defect::None, pooling), "small").unwrap();
            assert_eq!(encoder.pooling, pooling);
        }
    }
}

/// Only running it shows what a mask does to padding.
#[test]
fn masks_that_do_nothing_are_noticed() {
    for spelling in [Spelling::Traced, Spelling::Scripted] {
        let text = reason(spelling, Defect::MaskDropped);
        assert!(text.contains("attention_mask does something else"), "{text}");
    }
    let text = reason(Spelling::Traced, Defect::MaskInverted);
    assert!(text.contains("attention_mask does something else"), "{text}");
    let text = reason(Spelling::Scripted, Defect::MaskInverted);
    assert!(text.contains("scores of a text without padding"), "{text}");
}

#[test]
fn what_is_almost_an_encoder_is_refused_by_name() {
    let cases = [
        (Defect::ScaleMissing, "(MatMul): scales scores by 1,"),
        (Defect::HeadsInterleaved, "(Transpose): cuts"),
        (Defect::HeadsSwapped, "(Reshape): puts heads together in another order"),
        (Defect::ResidualMissing, "(Add): stands where an encoder adds the feed-forward block"),
        (Defect::ResidualOfInput, "added to something else than it reads"),
        (Defect::ValuesOfInput, "makes values of something else"),
        (Defect::ActivationMissing, "(Add): stands where an encoder has GELU or SiLU"),
        (Defect::MoreAtTheEnd, "(Tanh): stands where an encoder has a LayerNorm"),
        (Defect::Biased, "(Add): adds numbers to the scores"),
    ];
    for spelling in [Spelling::Traced, Spelling::Scripted] {
        for (defect, expected) in cases {
            let text = reason(spelling, defect);
            assert!(text.contains(expected) && text.contains("node \""), "{defect:?}: {text}");
        }
    }
}

#[test]
fn other_models_are_not_taken_for_encoders() {
    assert!(recognizes(&model(Spelling::Traced, Defect::None, Pooling::None)));
    let mut m = OnnxWriter::new(17);
    m.input("x", &[Dim::Fixed(2)]);
    m.output("y", &[]);
    m.node("Relu", &["x"], &["y"], &[]);
    assert!(!recognizes(&m.to_bytes()));
    assert!(!recognizes(&[1, 2, 3]));
    let text = read(&m.to_bytes(), "small").unwrap_err().to_string();
    assert!(text.contains("mean over the tokens"), "{text}");
}
