//! Fuzzes [`circlet_fuzz::program_file()`].
#![cfg_attr(fuzzing, no_main)]

circlet_fuzz::target!(program_file);
