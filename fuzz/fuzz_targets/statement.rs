//! Fuzzes [`circlet_fuzz::statement()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(statement);
