//! The line as a device has it: a port, a clock, and frames that may or may not come.

use embedded_io::{Read, ReadReady, Write};

use crate::frame::{Decoder, Frame, LONGEST};

/// Milliseconds since some time; goes on from zero after `u32::MAX`.
pub trait Clock {
    /// What time it is.
    fn millis(&mut self) -> u32;
}

/// Silence, in milliseconds, after which nothing more is expected.
pub const SILENCE: u32 = 500;

/// Bytes without a frame in them after which a frame is not expected either.
const NOISE: usize = 4 * LONGEST;

/// A port with frames.
///
/// Errors of the port are losses: what was lost is asked for again, or the transfer fails.
#[derive(Debug)]
pub struct Line<P, C> {
    port: P,
    clock: C,
    decoder: Decoder,
}

impl<P: Read + ReadReady + Write, C: Clock> Line<P, C> {
    /// A line over a port.
    pub fn new(port: P, clock: C) -> Self {
        Self { port, clock, decoder: Decoder::default() }
    }

    /// The time.
    pub fn millis(&mut self) -> u32 {
        self.clock.millis()
    }

    /// What has come over the line.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame<'_>) {
        if let Some((head, data, tail)) = frame.parts() {
            for part in [&head[..], data, &tail[..]] {
                if self.port.write_all(part).is_err() {
                    return;
                }
            }
            let _ = self.port.flush();
        }
    }

    /// The next frame; nothing if there is silence or noise instead.
    pub fn hear(&mut self) -> Option<Frame<'_>> {
        let mut last = self.clock.millis();
        for _ in 0..NOISE {
            if self.decoder.has_frame() {
                return self.decoder.frame();
            }
            while let Ok(false) = self.port.read_ready() {
                if self.clock.millis().wrapping_sub(last) >= SILENCE {
                    return self.decoder.frame_after_silence();
                }
            }
            let mut byte = [0];
            if let Ok(1) = self.port.read(&mut byte) {
                self.decoder.push(byte[0]);
            }
            last = self.clock.millis();
        }
        None
    }
}
