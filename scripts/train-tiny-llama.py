"""Trains the tiny language model and writes models/tiny-llama.

Run from the repository root:

    python3 -m venv /tmp/tiny-llama
    /tmp/tiny-llama/bin/pip install numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.3 torch==2.15.0
    /tmp/tiny-llama/bin/python scripts/train-tiny-llama.py

The text comes from the source package of brotli 1.2.0 on PyPI, which is downloaded with pip and checked
against its SHA-256: tests/testdata/alice29.txt and tests/testdata/lcet10.txt. One thread, fixed seed: the
same versions on the same kind of processor give the same files.

Chapter XII of Alice is held out and chooses nothing. The first half of chapter XI is not trained on either:
its loss is printed during training, and it is the calibration text. README.md in models/tiny-llama is written
by hand from what this script prints.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional as F

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models", "tiny-llama")
BROTLI = "brotli==1.2.0"
BROTLI_SHA256 = "e310f77e41941c13340a95976fe66a8a95b01e783d430eeaf7a2f87e0a57dd0a"

BOS = "<|begin_of_text|>"
VOCAB = 512
LAYERS = 4
WIDTH = 64
HEADS = 4
KV_HEADS = 2
HEAD_DIM = 16
FFN = 192
CONTEXT = 256
THETA = 10000.0
EPSILON = 1e-5

SEED = 20
STEPS = 2400
BATCH = 8
WARMUP = 100
RATE = 4e-3
DECAY = 0.1
DROPOUT = 0.1
ALICE_SHARE = 0.6  # of the training windows; the rest are from lcet10

PROMPTS = ["Alice was very", "The Queen"]
VECTORS = [
    "",
    "Alice",
    " Alice",
    "`Oh dear!  Oh dear!  I shall be late!'",
    "don't we'll I'm they've he'd it's YOU'RE",
    "1865, 3.14 and 42nd",
    "one\ntwo\n\nthree \n four\t\ttabs   spaces   ",
    "caf\u00e9 na\u00efve \u2014 \u65e5\u672c\u8a9e \U0001f407 \u00a0nbsp",
    "x_y = f(a)[0]; // !?",
]


# Text


def fetch():
    """The two texts, from the pinned source package."""
    with tempfile.TemporaryDirectory() as tmp:
        pins = os.path.join(tmp, "pins.txt")
        with open(pins, "w") as f:
            f.write(f"{BROTLI} --hash=sha256:{BROTLI_SHA256}\n")
        # pip refuses a package whose hash differs before it looks inside.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run(pip + ["--no-build-isolation", "--require-hashes", "-r", pins, "-d", tmp], check=True)
        (package,) = [n for n in os.listdir(tmp) if n.endswith(".tar.gz")]
        with tarfile.open(os.path.join(tmp, package)) as tar:
            raw = lambda n: tar.extractfile(f"brotli-1.2.0/tests/testdata/{n}").read().decode("ascii")
            read = lambda n: raw(n).translate({13: None, 26: None})  # carriage return, end of file
            return read("alice29.txt"), read("lcet10.txt")


def paragraphs(text):
    """Every paragraph as one line with single spaces; those without a letter (rows of asterisks) are dropped."""
    lines = (re.sub(r"\s+", " ", p).strip() for p in re.split(r"\n\s*\n", text))
    return [p for p in lines if re.search(r"[A-Za-z]", p)]


def split(alice, lcet):
    """Training text of both books, calibration text and held-out text, as lists of paragraphs."""
    head, rest = alice.split("CHAPTER XI\n")
    eleven, twelve = rest.split("CHAPTER XII\n")
    head = head[head.index("CHAPTER I\n") :]
    head, eleven, twelve = paragraphs(head), paragraphs(eleven), paragraphs(twelve)
    twelve = [p for p in twelve if p not in ("Alice's Evidence", "THE END")]
    half, seen = 1, 0
    while seen < sum(map(len, eleven)) / 2:
        seen += len(eleven[half])
        half += 1
    # The proceedings only: no table of contents before, no programme and addresses after.
    lcet = lcet[lcet.index("INTRODUCTION\n") : lcet.index("Appendix I:  PROGRAM\n")]
    return head + eleven[half:], paragraphs(lcet), eleven[1:half], twelve


# Tokenizer


def make_tokenizer(lines):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[BOS], initial_alphabet=alphabet, show_progress=False
    )
    tok.train_from_iterator(["\n".join(lines)], trainer)
    assert tok.get_vocab_size() == VOCAB and tok.token_to_id(BOS) == 0
    tok.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, 0)]
    )
    return tok


def encode(tok, text):
    return tok.encode(text, add_special_tokens=False).ids


# Model; names are those of Hugging Face's LlamaForCausalLM


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON))


def linear(rows, cols):
    return nn.Linear(cols, rows, bias=False)


def turn(x, cos, sin):
    """Rotates channels i and i + HEAD_DIM / 2."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = linear(HEADS * HEAD_DIM, WIDTH)
        self.k_proj = linear(KV_HEADS * HEAD_DIM, WIDTH)
        self.v_proj = linear(KV_HEADS * HEAD_DIM, WIDTH)
        self.o_proj = linear(WIDTH, HEADS * HEAD_DIM)

    def forward(self, x, cos, sin):
        n, t, _ = x.shape
        heads = lambda y: y.view(n, t, -1, HEAD_DIM).transpose(1, 2)
        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(x)), heads(self.v_proj(x))
        q, k = turn(q, cos, sin), turn(k, cos, sin)
        k, v = (y.repeat_interleave(HEADS // KV_HEADS, 1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(n, t, -1))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = linear(FFN, WIDTH)
        self.up_proj = linear(FFN, WIDTH)
        self.down_proj = linear(WIDTH, FFN)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm = Norm()
        self.self_attn = Attention()
        self.post_attention_layernorm = Norm()
        self.mlp = FeedForward()

    def forward(self, x, cos, sin):
        p = DROPOUT if self.training else 0.0
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), cos, sin), p)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), p)


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = Norm()


class Llama(nn.Module):
    """The head is the embedding."""

    def __init__(self):
        super().__init__()
        self.model = Inner()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = 0.06 if "embed" in name else p.shape[1] ** -0.5
                if "o_proj" in name or "down_proj" in name:
                    std /= math.sqrt(2 * LAYERS)
                nn.init.normal_(p, 0.0, std)

    def forward(self, ids):
        m = self.model
        table = m.embed_tokens.weight
        speed = THETA ** (-torch.arange(0, HEAD_DIM, 2, dtype=torch.float64) / HEAD_DIM)
        angle = torch.arange(ids.shape[1], dtype=torch.float64)[:, None] * speed
        cos, sin = angle.cos().to(table.dtype), angle.sin().to(table.dtype)
        x = m.embed_tokens(ids)
        for layer in m.layers:
            x = layer(x, cos, sin)
        return m.norm(x) @ table.T


# Training and measurement


def windows(ids):
    """Every token once: rows of the begin-of-text token and up to CONTEXT - 1 tokens."""
    return [[0] + ids[i : i + CONTEXT - 1] for i in range(0, len(ids), CONTEXT - 1)]


@torch.no_grad()
def loss_of(net, ids):
    """Sum over all tokens of the negative log-likelihood, in nats."""
    net.eval()
    total = 0.0
    for row in windows(ids):
        row = torch.tensor([row])
        total += F.cross_entropy(net(row)[0, :-1], row[0, 1:], reduction="sum").item()
    net.train()
    return total


class Source:
    """Windows of one text: half of them begin at a paragraph, half anywhere."""

    def __init__(self, tok, lines):
        parts = [encode(tok, p + "\n") for p in lines]
        self.ids = torch.tensor([i for p in parts for i in p])
        starts = np.cumsum([0] + [len(p) for p in parts])
        self.last = len(self.ids) - (CONTEXT - 1)
        self.starts = starts[starts <= self.last]

    def draw(self, rng):
        at = rng.choice(self.starts) if rng.random() < 0.5 else rng.integers(self.last + 1)
        return torch.cat((torch.zeros(1, dtype=torch.long), self.ids[at : at + CONTEXT - 1]))


def train(tok, alice, lcet, watch, steps):
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    net = Llama()
    print(f"{sum(p.numel() for p in net.parameters())} parameters", flush=True)
    sources = Source(tok, alice), Source(tok, lcet)
    print(f"training tokens: {len(sources[0].ids)} of Alice, {len(sources[1].ids)} of lcet10")
    watched = encode(tok, watch)
    matrices = [p for p in net.parameters() if p.dim() == 2]
    vectors = [p for p in net.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    opt = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    began, mean = time.time(), 0.0
    for step in range(steps):
        done = step / steps
        rate = RATE * min((step + 1) / WARMUP, 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        for g in opt.param_groups:
            g["lr"] = rate
        batch = torch.stack([sources[rng.random() >= ALICE_SHARE].draw(rng) for _ in range(BATCH)])
        logits = net(batch)[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), batch[:, 1:].reshape(-1))
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        mean = loss.item() if step == 0 else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            w = loss_of(net, watched) / len(watched)
            print(f"{step + 1}: train {mean:.3f}, calibration {w:.3f}, {time.time() - began:.0f} s", flush=True)
    return net.eval()


@torch.no_grad()
def greedy(net, ids, count):
    """Continues ids; also the smallest lead of a chosen token's logit over the next best."""
    ids, lead = list(ids), math.inf
    for _ in range(count):
        top = net(torch.tensor([ids]))[0, -1].topk(2)
        lead = min(lead, (top.values[0] - top.values[1]).item())
        ids.append(top.indices[0].item())
    return ids[-count:], lead


@torch.no_grad()
def ranges(net, ids):
    """Prints the largest magnitude and the root mean square of every kind of activation, first position apart."""
    seen = {}

    def hook(name):
        def f(_, inputs, output):
            for kind, t in (("in ", inputs[0]), ("out", output)):
                for where, u in (("first", t[:, :1]), ("other", t[:, 1:])):
                    seen.setdefault((name + " " + kind, where), []).append(u.abs().flatten())

        return f

    hooks = [m.register_forward_hook(hook(re.sub(r"^model\.|layers\.\d+\.", "", n)))
             for n, m in net.named_modules() if n.endswith(("_proj", "norm"))]
    for row in windows(ids):
        net(torch.tensor([row]))
    for h in hooks:
        h.remove()
    for (name, where), t in sorted(seen.items()):
        t = torch.cat(t)
        print(f"  {name:40} {where}: max {t.max():9.2f}, rms {t.pow(2).mean().sqrt():8.3f}")


# Files


def write(name, text):
    with open(os.path.join(OUT, name), "w", encoding="utf-8", newline="\n") as f:
        f.write(text)


def write_json(name, fields):
    rows = [json.dumps(k) + ": " + json.dumps(v) for k, v in fields.items()]
    write(name, "{\n  " + ",\n  ".join(rows) + "\n}\n")


def config():
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "rope_scaling": None,
        "max_position_embeddings": CONTEXT,
        "vocab_size": VOCAB,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 0,
        "eos_token_id": None,
        "pad_token_id": None,
        "initializer_range": 0.06,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


@torch.no_grad()
def golden(net, tok, heldout):
    """What the stored weights give in double precision."""
    continuations = []
    for prompt in PROMPTS:
        ids = [0] + encode(tok, prompt)
        more, lead = greedy(net, ids, 24)
        text, lead = tok.decode(more), round(lead, 4)
        fields = {"prompt": prompt, "ids": ids, "continuation": more, "text": text, "smallest_lead": lead}
        continuations.append(fields)
        print(f"{prompt!r} -> {text!r}, smallest lead {lead}")
    ids = [0] + encode(tok, heldout)[:64]
    logits = net(torch.tensor([ids]))[0]
    top = logits.topk(2).values
    nll = F.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    return {
        "note": "double precision on the stored weights; ids begin with the begin-of-text token, id 0",
        "greedy": continuations,
        "heldout": {
            "ids": ids,
            "argmax": logits.argmax(-1).tolist(),
            "max_logit": [round(v, 6) for v in top[:, 0].tolist()],
            "second_logit": [round(v, 6) for v in top[:, 1].tolist()],
            "mean_nll_of_64": round(nll.mean().item(), 6),
        },
        "tokenizer": [{"text": t, "ids": encode(tok, t)} for t in VECTORS],
    }


def main():
    parser = argparse.ArgumentParser(description="Trains the tiny language model and writes models/tiny-llama.")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps; the model kept here: %(default)s")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    os.makedirs(OUT, exist_ok=True)

    alice, lcet, calibration, heldout = split(*fetch())
    tok = make_tokenizer(alice)
    tok.save(os.path.join(OUT, "tokenizer.json"))
    calibration, heldout = "\n".join(calibration) + "\n", "\n".join(heldout) + "\n"
    write("calibration.txt", calibration)
    write("heldout.txt", heldout)
    write_json("config.json", config())

    net = train(tok, alice, lcet, calibration, steps)
    file = os.path.join(OUT, "model.safetensors")
    weights = {n: p.detach().to(torch.bfloat16).contiguous() for n, p in net.named_parameters()}
    save_file(weights, file, metadata={"format": "pt"})
    os.chmod(file, 0o644)

    with safe_open(file, "pt") as f:
        net.load_state_dict({n: f.get_tensor(n) for n in f.keys()})
    net.double()
    for name, text in ("training", "\n".join(alice) + "\n"), ("calibration", calibration), ("held out", heldout):
        ids = encode(tok, text)
        nats, size = loss_of(net, ids), len(text.encode())
        print(f"Alice, {name}: {size} bytes, {len(ids)} tokens, {nats / len(ids):.4f} nats a token, "
              f"{nats / size / math.log(2):.4f} bits a byte")
    net.eval()
    ranges(net, encode(tok, calibration))
    write_json("golden.json", golden(net, tok, heldout))


if __name__ == "__main__":
    main()
