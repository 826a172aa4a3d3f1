//! Fuzzes [`circlet_fuzz::stream()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(stream);
