//! Many texts through a model, layer by layer.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::{FloatModel, Hook, Site, matmul, show};

/// Texts on their way through the layers of a model. It can be stored between two layers and continued later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// The layer that comes next.
    layer: usize,
    /// The residuals of all positions of every text.
    residuals: Vec<Vec<f32>>,
}

impl Sweep {
    /// Layers that are done.
    pub fn layers(&self) -> usize {
        self.layer
    }
}

impl FloatModel<'_> {
    /// Texts before the first layer.
    pub fn sweep(&self, texts: &[Vec<u32>]) -> anyhow::Result<Sweep> {
        let begin = |tokens: &Vec<u32>| {
            self.fits(tokens.len())?;
            self.embed(tokens)
        };
        Ok(Sweep { layer: 0, residuals: texts.iter().map(begin).collect::<Result<_, _>>()? })
    }

    /// Takes all texts through the next layer, one after the other; after the last layer there is the norm before
    /// the head. Says whether anything is left to be done.
    pub fn advance(&self, sweep: &mut Sweep, hook: &mut dyn Hook) -> anyhow::Result<bool> {
        let c = self.config;
        ensure!(sweep.layer <= c.layers, "the texts have left the model");
        if sweep.layer < c.layers {
            let layer = self.layer(sweep.layer)?;
            for residual in &mut sweep.residuals {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                self.block((sweep.layer, &layer), residual, 0, (&mut keys, &mut values), hook);
            }
        } else {
            for residual in &mut sweep.residuals {
                show(hook, Site::Residual, c.layers, 0, residual, c.width);
                *residual = self.norm(residual, &self.final_norm);
                show(hook, Site::FinalNorm, c.layers, 0, residual, c.width);
            }
        }
        sweep.layer += 1;
        Ok(sweep.layer <= c.layers)
    }

    /// The logits after every token from the `skip`-th on of every text that has been through all layers, text by
    /// text, handed to `show` one text at a time.
    pub fn logits(
        &self,
        sweep: &Sweep,
        skip: usize,
        mut show: impl FnMut(usize, Vec<Vec<f32>>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let c = self.config;
        ensure!(sweep.layer == c.layers + 1, "the texts are still in the model");
        let head = self.head()?;
        for (text, normalized) in sweep.residuals.iter().enumerate() {
            let logits = matmul(&head, normalized.get(skip * c.width..).unwrap_or_default());
            show(text, logits.chunks_exact(c.vocab).map(<[_]>::to_vec).collect())?;
        }
        Ok(())
    }
}
