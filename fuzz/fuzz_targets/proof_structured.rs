//! Fuzzes [`circlet_fuzz::proof_structured()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(proof_structured);
