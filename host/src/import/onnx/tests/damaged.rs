use super::{Attr, Dim, N, batch, import_bytes};
use crate::import::ImportError;
use crate::import::onnx_writer::OnnxWriter;

/// One node of most kinds.
fn sample() -> Vec<u8> {
    let mut m = OnnxWriter::new(20);
    m.input("x", &[N, Dim::Fixed(1), Dim::Fixed(2)]);
    m.output("y", &[N, Dim::Fixed(2)]);
    m.weights("w", &[2, 2], &[0.5, -1.0, 2.0, 0.25]);
    m.weights("b", &[2], &[1.0, -1.0]);
    m.integers("s", &[-1, 2]);
    m.raw_tensor("h", 10, &[1], &[0, 0x3c]);
    m.node("Flatten", &["x"], &["f"], &[("axis", Attr::Int(1))]);
    m.node("Gemm", &["f", "w", "b"], &["g"], &[("transB", Attr::Int(1)), ("alpha", Attr::Float(2.0))]);
    m.node("Transpose", &["g"], &["t"], &[("perm", Attr::Ints(&[1, 0]))]);
    m.node("Reshape", &["t", "s"], &["r"], &[]);
    m.node("LayerNormalization", &["r", "b", "b"], &["n"], &[]);
    m.node("Gelu", &["n"], &["a"], &[("approximate", Attr::Text("tanh"))]);
    m.node("Constant", &[], &["c"], &[("value", Attr::Tensor(&[1], &[3.0]))]);
    m.node("Add", &["a", "c"], &["p"], &[]);
    m.node("Mul", &["p", "h"], &["y"], &[]);
    m.to_bytes()
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sample();
    assert!(import_bytes(&bytes, batch(3)).is_ok());
    for len in 0..bytes.len() {
        assert!(import_bytes(&bytes[..len], batch(3)).is_err(), "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn changed_bytes_never_panic() {
    let bytes = sample();
    let mut refused = 0;
    for i in 0..bytes.len() {
        for change in [0x01, 0x08, 0x40, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[i] ^= change;
            // The graph may be another one, but then it runs.
            match import_bytes(&changed, batch(3)) {
                Err(_) => refused += 1,
                Ok(graph) => {
                    let inputs: Vec<_> = (graph.inputs().iter())
                        .map(|port| graph.shape(port.value).to_vec())
                        .filter(|shape| shape.iter().product::<usize>() < 1 << 16)
                        .map(|shape| {
                            let size = shape.iter().product();
                            crate::graph::Tensor::new(shape, vec![0.5; size]).unwrap()
                        })
                        .collect();
                    let _ = crate::float::run(&graph, &inputs);
                }
            }
        }
    }
    assert!(refused > bytes.len(), "only {refused} changes were noticed");
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut state = 1u64;
    for len in 0..600 {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let _ = import_bytes(&bytes, batch(1));
        let _ = import_bytes(&bytes.iter().map(|b| b & 0x3f).collect::<Vec<_>>(), batch(1));
    }
}

fn field(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut len = payload.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend(payload);
    bytes
}

fn malformed(bytes: &[u8]) -> String {
    match import_bytes(bytes, batch(1)).unwrap_err() {
        ImportError::Malformed { detail, .. } => detail,
        other => panic!("{other}"),
    }
}

#[test]
fn traps_for_decoders() {
    // A varint that never ends, alone and packed in a tensor.
    let endless = [0x80; 64];
    assert!(malformed(&endless).contains("64 bits"));
    let packed = field(7, &field(5, &field(5, &endless)));
    assert!(malformed(&packed).contains("64 bits"));
    // Lengths far beyond the file: a string, a message, raw data.
    let long = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(malformed(&long).contains("cut off"));
    let raw = field(7, &field(5, &[0x4a, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]));
    assert!(malformed(&raw).contains("cut off"));
    // A graph in an attribute of a node of a graph, and so on.
    let mut nested = Vec::new();
    for _ in 0..20_000 {
        nested = field(1, &field(5, &field(6, &nested)));
        if nested.len() > 1 << 17 {
            break;
        }
    }
    assert!(malformed(&field(7, &nested)).contains("nested too deeply"));
    // Two graphs, and floods of empty nodes.
    assert!(malformed(&[field(7, &[]), field(7, &[])].concat()).contains("more than one graph"));
    assert!(malformed(&field(7, &[0x0a, 0x00].repeat(1 << 20))).contains("half a million"));
    // Groups have no use here.
    assert!(malformed(&[0x0b, 0x0c]).contains("wrong type"));
    assert!(matches!(import_bytes(b"", batch(1)), Err(ImportError::NoGraph)));
    assert!(import_bytes(b"GGUF\x03\0\0\0", batch(1)).is_err());
    assert!(import_bytes(b"{\"not\": \"onnx\"}", batch(1)).is_err());
}
