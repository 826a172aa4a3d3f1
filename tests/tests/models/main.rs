//! Models as they are published, whole.

mod bundled;
mod minilm;
mod minilm_onnx;
