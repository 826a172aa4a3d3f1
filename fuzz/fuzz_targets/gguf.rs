//! Fuzzes [`circlet_fuzz::gguf()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(gguf);
