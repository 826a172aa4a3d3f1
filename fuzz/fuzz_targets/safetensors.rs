//! Fuzzes [`circlet_fuzz::safetensors()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(safetensors);
