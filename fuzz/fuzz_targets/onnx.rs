//! Fuzzes [`circlet_fuzz::onnx()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(onnx);
