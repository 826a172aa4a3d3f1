//! Fuzzes [`circlet_fuzz::frames()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(frames);
