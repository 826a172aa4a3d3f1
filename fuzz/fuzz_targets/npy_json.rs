//! Fuzzes [`circlet_fuzz::npy_json()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(npy_json);
