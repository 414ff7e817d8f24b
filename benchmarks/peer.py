"""The PyTorch side: a plain GPT and its training loop, in a process that receives the number of steps to train.

`benchmarks.worker` starts it with a configuration and exchanges lines of JSON with it; see `serve`.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import torch
from torch import Tensor, nn
from torch.nn import functional

CLIP_NORM = 1.0  # the project's default, and nanoGPT's


@dataclass
class GPTConfig:
    """Sizes of a model, by the names that nanoGPT has for them, so that its model can stand in for this one."""

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0
    bias: bool = False


class Block(nn.Module):
    """Pre-norm causal attention, then a pre-norm feed-forward layer with the exact GELU, each added to its input."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        width, bias = config.n_embd, config.bias
        self.n_head = config.n_head
        self.attention_norm = nn.LayerNorm(width, bias=bias)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)
        self.feedforward_norm = nn.LayerNorm(width, bias=bias)
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.down = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [batch, length, width] after both layers."""
        x = x + self.output(self.attend(self.attention_norm(x)))
        return x + self.down(functional.gelu(self.up(self.feedforward_norm(x))))

    def attend(self, x: Tensor) -> Tensor:
        """Causal attention of each position to itself and earlier ones."""
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.n_head, -1).transpose(1, 2) for part in self.qkv(x).split(width, dim=2)
        )
        y = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return y.transpose(1, 2).reshape(batch, length, width)


class GPT(nn.Module):
    """A pre-norm decoder with learned positions whose output layer is the token embedding."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.final_norm = nn.LayerNorm(config.n_embd, bias=config.bias)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of each next token and their mean cross-entropy in nats; both arguments are [batch, length]."""
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.final_norm(x), self.token_embedding.weight)
        return logits, functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def adamw(model: nn.Module, learning_rate: float, fused: bool) -> torch.optim.Optimizer:
    """AdamW with the project's defaults: weight decay falls on matrices and embeddings alone."""
    decayed = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=fused)


def update(model: nn.Module, optimizer: torch.optim.Optimizer, windows: Tensor, precision: Any) -> Tensor:
    """One step on windows [batch, context + 1]; the loss before it, which nobody has waited for."""
    with precision:
        _, loss = model(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def trainer(config: dict[str, Any]) -> Callable[[int], float]:
    """A function that trains n more steps and returns the seconds; random text is stored on the device.

    `config` has the sizes (`model`, fields of GPTConfig), `batch_size`, `device`, `bfloat16` (autocast), `compile`,
    `fused` (AdamW as one kernel) and `source`, the path of a nanoGPT model.py or None.
    """
    torch.manual_seed(0)
    device = config["device"]
    kind, sizes = _kind(config["source"])
    model: Any = kind(sizes(**config["model"])).to(device)
    optimizer = adamw(model, 1e-3, config["fused"])
    if config["compile"]:
        model = torch.compile(model)
    vocabulary, context = config["model"]["vocab_size"], config["model"]["block_size"]
    text = torch.randint(vocabulary, (10**6,), device=device)
    within = torch.arange(context + 1, device=device)
    precision = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config["bfloat16"])

    def train(steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            starts = torch.randint(len(text) - context, (config["batch_size"], 1), device=device)
            loss = update(model, optimizer, text[starts + within], precision)
        loss.item()  # waits for the device
        return time.perf_counter() - begin

    return train


def matmul_rate(shapes: list[tuple[int, int, int]], device: str, bfloat16: bool) -> float:
    """FLOP/s of matrix products: the best of the shapes (m, k, n), each the best of three times."""
    best = 0.0
    for m, k, n in shapes:
        kind = torch.bfloat16 if bfloat16 else torch.float32
        left, right = torch.ones((m, k), device=device, dtype=kind), torch.ones((k, n), device=device, dtype=kind)
        for _ in range(4):
            begin = time.perf_counter()
            (left @ right)[0, 0].item()  # waits for the device
            best = max(best, 2 * m * k * n / (time.perf_counter() - begin))
    return best


def serve(config: dict[str, Any], requests: TextIO, replies: TextIO) -> None:
    """Says who it is, then answers {"train": steps} by seconds and {"matmul": shapes} by FLOP/s, a line each."""
    if config["cores"]:
        os.sched_setaffinity(0, config["cores"])
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs, as JAX has it; nothing on a CPU
    train = trainer(config)
    train(2)  # compiles
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), file=replies, flush=True)
    for line in requests:
        request = json.loads(line)
        if "train" in request:
            answer = train(request["train"])
        else:
            answer = matmul_rate(request["matmul"], config["device"], config["bfloat16"])
        print(json.dumps(answer), file=replies, flush=True)


def _kind(source: str | None) -> tuple[Any, Any]:
    """Classes of the model and of its sizes: those of a nanoGPT model.py, or the ones above."""
    if source is None:
        return GPT, GPTConfig
    spec = importlib.util.spec_from_file_location("nanogpt_model", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.GPT, module.GPTConfig


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # so that nothing a library prints is taken for an answer
    serve(json.loads(sys.argv[1]), sys.stdin, answers)
