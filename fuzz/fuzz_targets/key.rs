//! Fuzzes [`circlet_fuzz::key()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(key);
