//! Compiles the emulator and all kernels for it, if the emulator is asked for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "emulate")]
    emulator::build();
}

#[cfg(feature = "emulate")]
mod emulator {
    use std::path::{Path, PathBuf};

    /// A sanitizer that watches kernels.
    struct Sanitizer {
        /// What compilers call it.
        flag: &'static str,
        /// Says to the emulator that it is there.
        definition: &'static str,
        /// GCC's libraries of it.
        libraries: &'static [&'static str],
    }

    /// Reports accesses that no barrier orders.
    const THREADS: Sanitizer =
        Sanitizer { flag: "-fsanitize=thread", definition: "EMULATE_THREADS", libraries: &["tsan"] };

    /// Reports accesses beyond allocations and arrays or at places that their types do not allow, and shifts that a GPU
    /// defines otherwise.
    const ADDRESSES: Sanitizer = Sanitizer {
        flag: "-fsanitize=address,bounds,alignment,shift-exponent",
        definition: "EMULATE_ADDRESSES",
        libraries: &["asan", "ubsan"],
    };

    /// The sanitizer of a build. There can be one: with all features at once, as lints are run, the first.
    fn sanitizer() -> Option<Sanitizer> {
        if cfg!(feature = "emulate-threads") {
            Some(THREADS)
        } else if cfg!(feature = "emulate-addresses") {
            Some(ADDRESSES)
        } else {
            None
        }
    }

    /// The kernels' files, in order.
    fn kernels() -> Vec<PathBuf> {
        let entries = Path::new("kernels").read_dir().expect("the folder of kernels is there");
        let paths = entries.map(|entry| entry.expect("the folder of kernels can be read").path());
        let mut files: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|e| e == "cu")).collect();
        files.sort();
        files
    }

    pub fn build() {
        println!("cargo::rerun-if-changed=kernels");
        println!("cargo::rerun-if-changed=emulator");
        let mut emulator = cc::Build::new();
        emulator.cpp(true).std("c++17").opt_level(2).include("emulator");
        let mut kernels = emulator.clone();
        // `#pragma unroll` is for nvcc.
        kernels.flag_if_supported("-Wno-unknown-pragmas").flags(["-x", "c++"]);
        if let Some(Sanitizer { flag, definition, libraries }) = sanitizer() {
            // The emulator itself is not watched: it tells the sanitizer what the kernels' threads are.
            emulator.define(definition, None);
            kernels.flags([flag, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]).debug(true);
            for library in libraries {
                println!("cargo::rustc-link-lib=dylib={library}");
            }
        }
        let objects = kernels.files(self::kernels()).compile_intermediates();
        // Kernels make themselves known when the program starts: nothing calls them by name, and all are kept.
        emulator
            .file("emulator/emulator.cpp")
            .objects(objects)
            .link_lib_modifier("+whole-archive")
            .compile("circlet_emulator");
    }
}
