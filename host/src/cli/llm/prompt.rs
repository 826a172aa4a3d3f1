//! From what a user writes to tokens.

use std::path::{Path, PathBuf};

use circlet::llm::Tokenizer;
use circlet_core::decoder::Decoder;
use clap::Args;

use crate::cli::failure::{Failure, OrFail};
use crate::cli::text;

/// How a text is written as tokens.
#[derive(Clone, Debug, Default, Args)]
pub struct Form {
    /// Put the prompt into the form of a conversation (ChatML), for models whose vocabulary has <|im_start|>
    #[arg(long, help_heading = "Language models")]
    pub chat: bool,
    /// What the system says first in the conversation
    #[arg(long, value_name = "TEXT", requires = "chat", help_heading = "Language models")]
    pub system: Option<String>,
    /// Let the prompt name special tokens, such as <|im_end|>
    #[arg(long, help_heading = "Language models")]
    pub special: bool,
}

impl Form {
    /// Whether anything is said.
    pub fn is_given(&self) -> bool {
        self.chat || self.special
    }
}

/// A prompt on the command line.
#[derive(Clone, Debug, Default, Args)]
pub struct Prompt {
    /// The text to continue
    #[arg(long = "prompt", value_name = "TEXT", group = "given", help_heading = "Language models")]
    pub text: Option<String>,
    /// A file with the text to continue
    #[arg(long, value_name = "FILE", group = "given", help_heading = "Language models")]
    pub text_file: Option<PathBuf>,
    /// The tokens to continue, as numbers with commas
    #[arg(long, value_name = "IDS", group = "given", help_heading = "Language models")]
    pub ids: Option<String>,
    /// How the text is written
    #[command(flatten)]
    pub form: Form,
}

impl Prompt {
    /// The file that is read.
    pub fn path(&self) -> Option<&Path> {
        self.text_file.as_deref()
    }

    /// Its tokens, those before the text included.
    pub fn tokens(&self, decoder: &Decoder, tokenizer: Option<&Tokenizer>) -> Result<Vec<u32>, Failure> {
        match self.read(decoder, tokenizer)? {
            Read::Tokens(ids) => begin(decoder, None, ids),
            Read::Text(text, tokenizer) => encode(decoder, tokenizer, &text, &self.form),
        }
    }

    /// Its tokens as part of a conversation that has come to `last`; maybe none.
    pub fn following(
        &self,
        decoder: &Decoder,
        tokenizer: Option<&Tokenizer>,
        last: u32,
    ) -> Result<Vec<u32>, Failure> {
        if self.form.system.is_some() {
            return Err(Failure::usage("--system begins a conversation; leave it out with --continue"));
        }
        match self.read(decoder, tokenizer)? {
            Read::Tokens(ids) => Ok(ids),
            Read::Text(text, tokenizer) => {
                covered(tokenizer, &text)?;
                if !self.form.chat {
                    return Ok(tokenizer.encode(&text, self.form.special));
                }
                let end = marker(tokenizer, "<|im_end|>")?;
                // The model's turn may have been cut short.
                let mut out: Vec<u32> = (last != end).then_some(end).into_iter().collect();
                out.extend(tokenizer.encode("\n", false));
                out.extend(dialog(tokenizer, &text, &self.form)?);
                Ok(out)
            }
        }
    }

    fn read<'a>(&self, decoder: &Decoder, tokenizer: Option<&'a Tokenizer>) -> Result<Read<'a>, Failure> {
        if let Some(ids) = &self.ids {
            if self.form.is_given() {
                return Err(Failure::usage("--ids are tokens already; leave out --chat and --special"));
            }
            return Ok(Read::Tokens(parse_ids(ids, decoder.vocab).or_usage("cannot use --ids")?));
        }
        let text = match (&self.text, &self.text_file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => read_text(path)?,
            (None, None) => return Err(Failure::usage("there is no prompt; give --prompt TEXT")),
        };
        let Some(tokenizer) = tokenizer else {
            return Err(Failure::usage(
                "this model was compiled without a tokenizer; give the prompt as token numbers with --ids",
            ));
        };
        Ok(Read::Text(text, tokenizer))
    }
}

/// What a user has given.
enum Read<'a> {
    Tokens(Vec<u32>),
    Text(String, &'a Tokenizer),
}

/// Token numbers with commas or white space between them.
pub fn parse_ids(ids: &str, vocab: u32) -> anyhow::Result<Vec<u32>> {
    let parts = ids.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.parse() {
            Ok(id) if id < vocab => Ok(id),
            _ => anyhow::bail!(
                "{:?} is no token of this model; tokens are numbers from 0 to {}",
                text::name(part),
                vocab - 1
            ),
        })
        .collect()
}

/// Reads a text in UTF-8.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path)
        .or_file(format!("cannot read {}; check the path and its permissions", path.display()))?;
    String::from_utf8(bytes).or_file(format!("{} is no text in UTF-8; convert it", path.display()))
}

/// The tokens of a prompt. The constant first token comes before them unless they begin with it.
pub fn encode(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    prompt: &str,
    form: &Form,
) -> Result<Vec<u32>, Failure> {
    covered(tokenizer, prompt)?;
    let tokens =
        if form.chat { dialog(tokenizer, prompt, form)? } else { tokenizer.encode(prompt, form.special) };
    begin(decoder, Some(tokenizer), tokens)
}

/// Refuses a text that the model has no tokens for.
fn covered(tokenizer: &Tokenizer, prompt: &str) -> Result<(), Failure> {
    match tokenizer.uncovered(prompt).filter(|_| tokenizer.data().unknown.is_none()) {
        Some(c) => Err(Failure::usage(format!(
            "the model has no token for {:?}; leave it out",
            text::name(&c.to_string())
        ))),
        None => Ok(()),
    }
}

/// The token of this name.
fn marker(tokenizer: &Tokenizer, name: &str) -> Result<u32, Failure> {
    tokenizer.id(name).filter(|&id| tokenizer.is_special(id)).ok_or_else(|| {
        Failure::usage(format!(
            "--chat needs a model with the token {name}, which this one does not have; write the prompt in \
             the form that the model was trained with"
        ))
    })
}

/// A prompt as a turn of a conversation, up to where the model's begins.
fn dialog(tokenizer: &Tokenizer, prompt: &str, form: &Form) -> Result<Vec<u32>, Failure> {
    let ordinary = |text: &str| tokenizer.encode(text, form.special);
    let (start, end) = (marker(tokenizer, "<|im_start|>")?, marker(tokenizer, "<|im_end|>")?);
    let mut out = Vec::new();
    for (role, text) in form.system.iter().map(|text| ("system", text.as_str())).chain([("user", prompt)]) {
        out.push(start);
        out.extend(ordinary(&format!("{role}\n{text}")));
        out.push(end);
        out.extend(ordinary("\n"));
    }
    out.push(start);
    out.extend(ordinary("assistant\n"));
    Ok(out)
}

/// Puts the tokens that every text begins with before others, unless they are there.
fn begin(decoder: &Decoder, tokenizer: Option<&Tokenizer>, tokens: Vec<u32>) -> Result<Vec<u32>, Failure> {
    if tokens.is_empty() {
        return Err(Failure::usage("the prompt is empty; give at least one character, or one token"));
    }
    let first = decoder.prefix.or_else(|| tokenizer?.data().bos);
    let missing = first.filter(|first| tokens.first() != Some(first));
    let tokens: Vec<u32> = missing.into_iter().chain(tokens).collect();
    if tokens.len() == usize::from(decoder.prefix.is_some()) {
        return Err(Failure::usage(
            "the prompt has only the token that every text begins with; give at least one more",
        ));
    }
    Ok(tokens)
}

/// Refuses prompts that leave no room for the tokens that follow.
pub fn check_room(decoder: &Decoder, prompt: usize, tokens: u32) -> Result<(), Failure> {
    let skip = usize::from(decoder.prefix.is_some());
    let (given, room) = (prompt - skip, decoder.positions as usize + 1);
    if given + tokens as usize <= room {
        return Ok(());
    }
    let allowed = room.saturating_sub(tokens as usize);
    let counted = if skip == 1 { " (not counting the constant first one)" } else { "" };
    Err(Failure::usage(format!(
        "the prompt has {given} tokens{counted} and {tokens} are to follow, but the model was compiled for {} \
         positions: {}; or compile it with more --positions",
        decoder.positions,
        if allowed == 0 {
            format!("ask for at most {} with --tokens", room - 1)
        } else if given < room {
            format!(
                "shorten the prompt to {allowed} tokens, or ask for at most {} with --tokens",
                room - given
            )
        } else {
            format!("shorten the prompt to {allowed} tokens")
        }
    )))
}
