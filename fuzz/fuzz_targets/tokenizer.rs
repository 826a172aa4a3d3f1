//! Fuzzes [`circlet_fuzz::tokenizer()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(tokenizer);
