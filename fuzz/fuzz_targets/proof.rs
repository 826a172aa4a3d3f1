//! Fuzzes [`circlet_fuzz::proof()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(proof);
