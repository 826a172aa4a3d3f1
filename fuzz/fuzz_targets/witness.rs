//! Fuzzes [`circlet_fuzz::witness()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(witness);
