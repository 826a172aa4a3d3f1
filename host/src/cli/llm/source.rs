//! Language models as they come: opening them, texts for calibration, and the way to integers.

use std::path::Path;

use circlet::estimate::{MODEL_COSTS, model_times};
use circlet::files::{PartialFile, PrefixOrigin};
use circlet::llm::float::FloatModel;
use circlet::llm::quantize::{Calibrating, Calibration, Options, Quantized, quantize};
use circlet::llm::report::{Accuracy, compare};
use circlet::llm::run::Runner;
use circlet::llm::{self, Config, Opened, Tokenizer};
use circlet::numbers::{Numbers, Spool};

use super::partial::Partial;
use super::prompt::{parse_ids, read_text};
use crate::cli::failure::{Failure, OrFail};
use crate::cli::{Context, text};
use crate::progress::Stage;

/// Longest piece of a calibration text.
const PIECE: usize = 256;
/// Tokens that begin a text or a turn in it, by what they are called.
const MARKERS: [&str; 2] = ["<|im_start|>", "<|begin_of_text|>"];

/// Opens a model.
pub fn open(path: &Path) -> Result<Opened, Failure> {
    tracing::info_span!("import")
        .in_scope(|| llm::open(path))
        .or_file(format!("cannot use the model {}", path.display()))
}

/// The constant first token and how it was chosen; `argument` is what the user says.
pub fn prefix(argument: Option<&str>, opened: &Opened) -> Result<(Option<u32>, PrefixOrigin), Failure> {
    let config = opened.checkpoint.config();
    let tokenizer = opened.tokenizer.as_ref();
    match argument {
        Some("none") => return Ok((None, PrefixOrigin::Given)),
        Some(token) => {
            let id = token.parse().ok().or_else(|| tokenizer?.id(token));
            let Some(id) = id.filter(|&id: &u32| (id as usize) < config.vocab) else {
                return Err(Failure::usage(format!(
                    "--prefix {}: no such token; give its number, from 0 to {}, its text, or none",
                    text::name(token),
                    config.vocab - 1
                )));
            };
            return Ok((Some(id), PrefixOrigin::Given));
        }
        None => {}
    }
    if let Some(bos) = config.bos {
        return Ok((Some(bos), PrefixOrigin::Begin));
    }
    let marker = MARKERS.into_iter().find_map(|name| {
        let tokenizer = tokenizer?;
        tokenizer.id(name).filter(|&id| tokenizer.is_special(id)).map(|id| (id, name))
    });
    Ok(match marker {
        Some((id, name)) => (Some(id), PrefixOrigin::Marker(name.to_owned())),
        None => (None, PrefixOrigin::None),
    })
}

/// The constant first token in words.
pub fn describe_prefix(prefix: Option<u32>, origin: &PrefixOrigin, tokenizer: Option<&Tokenizer>) -> String {
    let Some(id) = prefix else {
        return match origin {
            PrefixOrigin::Given => "none, as asked for".into(),
            _ => "none: the model asks for no first token (choose one with --prefix)".into(),
        };
    };
    let name = tokenizer
        .and_then(|t| t.token(id))
        .map(|bytes| format!(" ({})", text::name(&String::from_utf8_lossy(bytes))));
    let why = match origin {
        PrefixOrigin::Given => "as asked for".into(),
        PrefixOrigin::Begin => "the model wants it before every text".into(),
        PrefixOrigin::Marker(_) => "the vocabulary has it to begin a text or turn".to_owned(),
        PrefixOrigin::None => "unknown why".into(),
    };
    format!(
        "token {id}{}: {why}\nthe keys and values of the first token are model parameters, computed outside the proof",
        name.unwrap_or_default()
    )
}

/// The tokens of a text file, which holds token numbers if the model has no tokenizer.
pub fn read_tokens(path: &Path, opened: &Opened) -> Result<Vec<u32>, Failure> {
    let content = read_text(path)?;
    let vocab = opened.checkpoint.config().vocab as u32;
    let tokens = match &opened.tokenizer {
        Some(tokenizer) => tokenizer.encode(&content, false),
        None => parse_ids(&content, vocab).or_file(format!(
            "{} must hold token numbers, because the model's tokenizer is not usable: {}",
            path.display(),
            opened.tokenizer_error.as_deref().unwrap_or("there is none")
        ))?,
    };
    if tokens.len() < 2 {
        return Err(Failure::file(format!(
            "{} has {} tokens; give a text of some hundred words like those that will be proven",
            path.display(),
            tokens.len()
        )));
    }
    Ok(tokens)
}

/// The texts that a model is compiled with.
pub struct Texts {
    /// Calibrated on.
    pub calibration: Vec<Vec<u32>>,
    /// Compared on with the float model; none for no report.
    pub report: Vec<Vec<u32>>,
    /// Whether the report is on the rest of the calibration text.
    pub own: bool,
}

/// How much of texts is used.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Longest piece.
    pub piece: usize,
    /// Most tokens to calibrate with.
    pub calibration: usize,
    /// Most tokens of the report.
    pub report: usize,
}

impl Budget {
    /// For texts of at most so many positions.
    pub fn new(positions: u32, config: &Config, calibration: usize, report: usize) -> Self {
        let piece = PIECE.min(positions as usize).min(config.context.saturating_sub(1)).max(1);
        Self { piece, calibration, report }
    }

    /// Cuts a text into pieces.
    fn pieces(&self, tokens: &[u32], most: usize) -> Vec<Vec<u32>> {
        tokens[..tokens.len().min(most)].chunks(self.piece).map(<[u32]>::to_vec).collect()
    }

    /// The calibration text alone.
    pub fn calibration(&self, tokens: &[u32]) -> Vec<Vec<u32>> {
        self.pieces(tokens, self.calibration)
    }

    /// Splits a calibration text: the end is kept for the report.
    pub fn split(&self, tokens: &[u32]) -> Texts {
        let held = (tokens.len() / 5).min(self.report).max(1);
        let (calibration, report) = tokens.split_at(tokens.len() - held);
        Texts { calibration: self.calibration(calibration), report: self.pieces(report, held), own: true }
    }

    /// A calibration text and one for the report.
    pub fn both(&self, calibration: &[u32], report: &[u32]) -> Texts {
        let report = self.pieces(report, self.report);
        Texts { calibration: self.calibration(calibration), report, own: false }
    }
}

/// A decoder of integers that can be run.
pub struct Integers {
    /// Its numbers.
    pub numbers: Numbers,
    /// Runs it.
    pub runner: Runner,
    /// Fraction bits of its logits.
    pub logit_bits: i32,
    /// How close it is to the float model.
    pub accuracy: Option<Accuracy>,
}

/// The stages of [`integers`] with their estimated seconds.
pub fn plan(config: &Config, texts: &Texts) -> Vec<Stage> {
    let count = |pieces: &[Vec<u32>]| pieces.iter().map(Vec::len).sum::<usize>() as u64;
    let times = model_times(
        llm::parameters(config),
        [count(&texts.calibration), count(&texts.report)],
        rayon::current_num_threads(),
    );
    vec![("calibrate", times.calibrate), ("quantize", times.quantize), ("compare", times.compare)]
}

/// Memory for [`integers`]: a layer of floats, and the integers.
pub fn memory(config: &Config, room: Room<'_>) -> u64 {
    room.bytes(config) + MODEL_COSTS.quantize_bytes * llm::parameters(config) / config.layers.max(1) as u64
}

/// What the integers of a model take.
fn integer_bytes(config: &Config) -> u64 {
    2 * llm::parameters(config)
}

/// Where integers are put.
#[derive(Clone, Copy, Debug)]
pub enum Room<'a> {
    /// In memory.
    Memory,
    /// In memory, but nameless files in a folder hold what is not computed with.
    Beside(&'a Path),
    /// In nameless files in a folder.
    Folder(&'a Path),
}

impl<'a> Room<'a> {
    /// For a model: files in a folder if the integers would take more than a third of the memory there is.
    pub fn new(context: &Context, config: &Config, folder: &'a Path) -> Self {
        match context.memory() {
            Some(memory) if integer_bytes(config) > memory / 3 => Self::Folder(folder),
            _ => Self::Beside(folder),
        }
    }

    /// Memory that the integers take.
    pub fn bytes(self, config: &Config) -> u64 {
        if matches!(self, Self::Folder(_)) { 0 } else { integer_bytes(config) }
    }

    fn spool(self) -> Result<Spool, Failure> {
        match self {
            Self::Memory => Ok(Spool::memory()),
            Self::Beside(folder) | Self::Folder(folder) => {
                Spool::file(folder).or_file(format!("cannot write to the folder {}", folder.display()))
            }
        }
    }
}

/// Calibrates, quantizes and compares; goes on where a stopped compilation was.
pub fn integers(
    context: &Context,
    opened: &Opened,
    texts: &Texts,
    options: Options,
    room: Room<'_>,
    mut partial: Option<&mut Partial>,
) -> Result<Integers, Failure> {
    let checkpoint = &*opened.checkpoint;
    let config = checkpoint.config();
    let unusable = || format!("cannot compile the model {}", text::name(&config.name));
    let model = FloatModel::open(checkpoint).or_file(unusable())?;
    let found = partial.as_deref_mut().and_then(Partial::take);
    let (calibrating, known) = found.map_or((None, None), |f| (Some(f.calibrating), f.accuracy));
    let mut state = |calibrating: &Calibrating, accuracy: Option<Accuracy>| match partial.as_deref_mut() {
        Some(partial) if partial.is_due() => {
            let (inputs, calibrating) = (partial.inputs(), calibrating.clone());
            partial.store(&PartialFile { inputs, calibrating, accuracy })
        }
        _ => Ok(()),
    };
    let calibrating = tracing::info_span!("calibrate").in_scope(|| {
        let begin = || Calibrating::new(&model, options.prefix, &texts.calibration);
        let mut calibrating = calibrating.map_or_else(begin, Ok).or_file(unusable())?;
        while calibrating.layers() <= config.layers {
            calibrating.advance(&model, checkpoint).or_file(unusable())?;
            context.monitor.advance(calibrating.layers() as f64 / (config.layers + 1) as f64);
            state(&calibrating, None)?;
        }
        Ok::<_, Failure>(calibrating)
    })?;
    let Calibration { maxima, prefix } = calibrating.found();
    let spool = room.spool()?;
    let stage = tracing::info_span!("quantize").entered();
    let quantized = quantize(checkpoint, maxima, prefix, options, spool).or_file(unusable())?;
    let Quantized { decoder, numbers, logit_bits } = quantized;
    let runner = match room {
        Room::Folder(folder) => Runner::in_file(decoder, &numbers, folder),
        Room::Memory | Room::Beside(_) => Runner::new(decoder, &numbers),
    };
    let runner = runner.or_file(unusable())?;
    drop(stage);
    let accuracy = if texts.report.is_empty() || known.is_some() {
        known
    } else {
        let compared = tracing::info_span!("compare")
            .in_scope(|| {
                compare(&model, &runner, logit_bits, &texts.report, |done| context.monitor.advance(done))
            })
            .or_file("cannot compare the integer model with the float model")?;
        state(&calibrating, Some(compared))?;
        Some(compared)
    };
    Ok(Integers { numbers, runner, logit_bits, accuracy })
}
