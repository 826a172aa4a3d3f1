use std::path::Path;

use super::{SampleError, parse_inputs, read_inputs};

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}    \n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    parse_inputs(bytes).unwrap_err().to_string()
}

#[test]
fn json_forms() {
    let plain = parse_inputs(b"[[1, 2.5, -3e2], [4, 5, 6]]").unwrap();
    assert_eq!(plain.inputs.shape(), [2, 3]);
    assert_eq!(plain.inputs.data(), [1.0, 2.5, -300.0, 4.0, 5.0, 6.0]);
    assert_eq!(plain.outputs, None);
    let object = parse_inputs(b" {\"inputs\": [[1], [2]], \"outputs\": [0, 1], \"note\": \"x\"}").unwrap();
    assert_eq!(object.inputs.shape(), [2, 1]);
    assert_eq!(object.outputs.unwrap().shape(), [2]);
    assert_eq!(parse_inputs(b"7").unwrap().inputs.shape(), [0usize; 0]);
}

#[test]
fn json_refusals() {
    let cases: [(&[u8], &str); 12] = [
        (b"", "not valid JSON"),
        (b"[1, 2", "not valid JSON"),
        (b"[NaN]", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[[1, 2], [3]]", "input[1] has shape [1], but its neighbours have [2]"),
        (b"[1, [2]]", "input[1] has shape [1], but its neighbours have []"),
        (b"[]", "input is empty"),
        (b"[[1], []]", "input[1] is empty"),
        (b"[1, 1e39]", "element 1 of the input is"),
        (b"{\"inputs\": [1, [\"a\"]]}", "inputs[1][0] is a string"),
        (b"{\"input\": [1]}", "has no \"inputs\""),
        (b"{\"inputs\": [1], \"outputs\": null}", "outputs is null"),
    ];
    for (bytes, text) in cases {
        let found = refusal(bytes);
        assert!(found.contains(text), "{text:?} is not in {found:?}");
    }
    assert!(refusal("[".repeat(100_000).as_bytes()).contains("not valid JSON"));
    let deep = ["[".repeat(20), "1".into(), "]".repeat(20)].concat();
    assert!(refusal(deep.as_bytes()).contains("20 dimensions"));
}

#[test]
fn npy_forms() {
    let floats: Vec<u8> = [1.5f32, -2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let read = parse_inputs(&npy("<f4", "False", "(2, 2)", &floats)).unwrap().inputs;
    assert_eq!((read.shape(), read.data()), (&[2, 2][..], &[1.5, -2.0, 3.0, 4.0][..]));
    let doubles: Vec<u8> = [0.5f64, 8.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(parse_inputs(&npy("<f8", "True", "(2,)", &doubles)).unwrap().inputs.data(), [0.5, 8.0]);
    assert_eq!(
        parse_inputs(&npy("|u1", "False", "(1, 3)", &[0, 7, 255])).unwrap().inputs.data(),
        [0.0, 7.0, 255.0]
    );
    assert_eq!(
        parse_inputs(&npy("<i8", "False", "()", &(-9i64).to_le_bytes())).unwrap().inputs.data(),
        [-9.0]
    );
}

#[test]
fn npy_refusals() {
    let one = 1f32.to_le_bytes();
    assert!(refusal(&npy("<f4", "False", "(2,)", &one)).contains("needs 8 bytes of data, but there are 4"));
    assert!(refusal(&npy(">f4", "False", "(1,)", &one)).contains(">f4"));
    assert!(refusal(&npy("|O", "False", "(1,)", &one)).contains("|O"));
    assert!(refusal(&npy("<f4", "True", "(2, 2)", &one.repeat(4))).contains("Fortran"));
    assert!(refusal(&npy("<f4", "False", "(0,)", &[])).contains("empty"));
    assert!(refusal(&npy("<f4", "False", "(4294967296, 4294967296)", &one)).contains("2^31"));
    assert!(refusal(&npy("<f4", "False", "(99999999999999999999,)", &one)).contains("NumPy's form"));
    assert!(refusal(&npy("<f4", "Maybe", "(1,)", &one)).contains("NumPy's form"));
    assert!(refusal(&npy("<f4", "False", "(-1,)", &one)).contains("NumPy's form"));
    assert!(refusal(&npy("<f4", "False", "(1,)", &f32::NAN.to_le_bytes())).contains("NaN"));
    assert!(refusal(b"\x93NUMPY\x07\0\0\0").contains("version"));

    let whole = npy("<f4", "False", "(2,)", &one.repeat(2));
    for len in 0..whole.len() {
        assert!(parse_inputs(&whole[..len]).is_err(), "{len}");
    }
    for i in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[i] ^= change;
            let _ = parse_inputs(&changed);
        }
    }
}

#[test]
fn samples_for_a_model() {
    let array =
        |shape: &str, count: usize| parse_inputs(&npy("|u1", "False", shape, &vec![1; count])).unwrap();
    let counts = [
        ("(1, 1, 8, 8)", 64, 1),
        ("(8, 8)", 64, 1),
        ("(64,)", 64, 1),
        ("(3, 64)", 192, 3),
        ("(3, 8, 8)", 192, 3),
        ("(64, 1, 8, 8)", 4096, 64),
        ("(3, 1, 1, 8, 8)", 192, 3),
    ];
    for (shape, size, count) in counts {
        let samples = array(shape, size).for_input(&[1, 1, 8, 8]).unwrap();
        assert_eq!(samples.len(), count, "{shape}");
        assert!(samples.iter().all(|s| s.shape() == [1, 1, 8, 8]));
    }
    for (shape, size) in [("(63,)", 63), ("(4, 16)", 64), ("(64, 3)", 192), ("(2, 4, 8)", 64)] {
        let error = array(shape, size).for_input(&[1, 1, 8, 8]).unwrap_err();
        assert!(matches!(&error, SampleError::WrongShape { expected, .. } if *expected == [1, 1, 8, 8]));
        assert!(error.to_string().contains("[1, 1, 8, 8]"));
    }
    // A batch of two takes an even number of rows.
    assert_eq!(array("(6, 4)", 24).for_input(&[2, 4]).unwrap().len(), 3);
    assert_eq!(array("(3, 2, 4)", 24).for_input(&[2, 4]).unwrap().len(), 3);
    assert!(array("(5, 4)", 20).for_input(&[2, 4]).is_err());
    assert_eq!(array("(5,)", 5).for_input(&[1, 1]).unwrap().len(), 5);
}

#[test]
fn unreadable_file() {
    let error = read_inputs(Path::new("/nonexistent/x.json")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/x.json") && error.contains("check the path"));
}
