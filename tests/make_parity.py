"""Parity with transformers: makes tiny random networks of every model type with PyTorch, and compares ours with them.

    python tests/make_parity.py                                        the fixtures in tests/parity (needs torch)
    python tests/make_parity.py --fresh 7 --cases 3 --out DIR          settings drawn at random (needs torch)
    python tests/make_parity.py --compare DIR                          the table of differences (needs JAX)
    python tests/make_parity.py --round-trip DIR                       the same, of what we save (needs both)

A case is a folder: `config.json` and the weights as transformers writes them, and `expected.safetensors` with the
inputs (tokens, decoder_tokens, token_types, images, mask_<padding>) and the outputs (logits_<padding>,
hidden_<padding>) of `model(input_ids, attention_mask)` in float32 with eager attention. Padding is none, right or left.
No value counts where the mask is 0.
"""

import argparse
import copy
import importlib.metadata
import json
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from parity_cases import ARCHITECTURES, BASES, CASES, SIZES, Case, fresh

TOLERANCE = 5e-5  # of the largest logit, or of the largest hidden value
LENGTH, DECODER_LENGTH = 12, 11
PADDED = (0, 4)  # tokens of padding in each row of the batch
SPREAD, SHIFT = 0.4, 0.3  # deviation of the kernels, and by how much norms and biases leave their first values
T5_SPREAD = 0.25  # its scores are not divided by the root of the width: at 0.4 float32 itself is off by up to 4e-5

# Networks and their folders, by transformers.


def write(case: Case, out: Path) -> None:
    """The folder of a case. What is expected comes from the network that transformers reads from that folder."""
    directory = out / f"{case.kind}_{case.name}"
    shutil.rmtree(directory, ignore_errors=True)
    rng = np.random.default_rng(zlib.crc32(directory.name.encode()))
    model = network(case, rng)
    model.save_pretrained(directory, max_shard_size="8KB" if case.form == "sharded" else "1GB")
    (directory / "generation_config.json").unlink(missing_ok=True)
    if case.form == "older":
        as_in_transformers_4(directory)
    given = inputs(model.config, rng)
    save_arrays(directory / "expected.safetensors", {**given, **theirs(read(directory), given)})


def network(case: Case, rng: np.random.Generator) -> Any:
    """A network with weights at which every tensor and every setting matters."""
    import torch
    import transformers

    settings = copy.deepcopy({**SIZES[case.kind], **case.settings})  # transformers fills in what a dictionary lacks
    config = transformers.AutoConfig.for_model(case.kind, **settings)
    model = getattr(transformers, ARCHITECTURES[case.kind])(config)
    if case.kind == "t5" and not config.scale_decoder_outputs:
        # T5 1.1 has an output layer of its own, which transformers ties unless a file holds another.
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    spread = T5_SPREAD if case.kind == "t5" else SPREAD
    for parameter in model.parameters():
        noise = torch.from_numpy(rng.normal(size=tuple(parameter.shape)).astype(np.float32))
        parameter.data = parameter.data + SHIFT * noise if parameter.ndim < 2 else spread * noise
    return model.to(getattr(torch, case.form)) if case.form.endswith("16") else model


def inputs(config: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A batch of two, and the masks with which it is padded."""
    rows = len(PADDED)
    if config.model_type == "vit":
        size = config.image_size if isinstance(config.image_size, list | tuple) else [config.image_size] * 2
        return {"images": rng.normal(size=(rows, *size, config.num_channels)).astype(np.float32)}
    given = {"tokens": rng.integers(config.vocab_size, size=(rows, LENGTH), dtype=np.int32)}
    if config.model_type == "t5":
        given["decoder_tokens"] = rng.integers(config.vocab_size, size=(rows, DECODER_LENGTH), dtype=np.int32)
    if config.model_type == "roberta":  # the number 1 is padding
        given["tokens"] = np.where(given["tokens"] == 1, 5, given["tokens"])
    if config.model_type in ("bert", "roberta"):
        given["token_types"] = rng.integers(config.type_vocab_size, size=(rows, LENGTH), dtype=np.int32)
    right = np.arange(LENGTH) < LENGTH - np.array(PADDED)[:, None]
    return given | {"mask_right": right.astype(np.int32), "mask_left": right[:, ::-1].astype(np.int32)}


def read(directory: Path) -> Any:
    """The network that transformers finds in a folder. Raises ValueError if it finds too little or too much."""
    import torch
    import transformers

    architecture = ARCHITECTURES[json.loads((directory / "config.json").read_text())["model_type"]]
    options = {"dtype": torch.float32, "attn_implementation": "eager", "output_loading_info": True}
    model, found = getattr(transformers, architecture).from_pretrained(directory, **options)
    if any(found.values()):
        raise ValueError(f"transformers reads {directory} with {found}")
    return model.eval()


def theirs(model: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a network of transformers, for each padding."""
    import torch

    names = {"tokens": "input_ids", "decoder_tokens": "decoder_input_ids", "token_types": "token_type_ids"}
    tensors = {names[key]: torch.from_numpy(given[key]).long() for key in names if key in given}
    if "images" in given:
        tensors["pixel_values"] = torch.from_numpy(given["images"]).permute(0, 3, 1, 2)
    base = model.get_submodule(BASES.get(model.config.model_type, model.base_model_prefix))
    hidden: list[Any] = []
    hook = base.register_forward_hook(lambda module, args, output: hidden.append(output.last_hidden_state))
    outputs = {}
    for padding, mask in masks(given).items():
        with torch.no_grad():
            given_mask = {} if mask is None else {"attention_mask": torch.from_numpy(mask).long()}
            if mask is not None and model.config.model_type == "roberta":  # it takes positions from the tokens
                given_mask["input_ids"] = torch.where(given_mask["attention_mask"] == 0, 1, tensors["input_ids"])
            output = model(**{**tensors, **given_mask})
            last = hidden.pop()
            # A tower without an output layer has that of its embedding here.
            logits = output.logits if "logits" in output else last @ model.get_input_embeddings().weight.T
        outputs[f"logits_{padding}"], outputs[f"hidden_{padding}"] = logits.numpy(), last.numpy()
    hook.remove()
    return outputs


def masks(given: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """Padding -> mask."""
    return {"none": None} | {p: given[f"mask_{p}"] for p in ("right", "left") if f"mask_{p}" in given}


# Names of tensors as the Hub has them: without the prefix of the base model, norms in the words of 2018.
OLD_NAMES = {
    "gpt2": ((r"^transformer\.", ""),),
    "bloom": ((r"^transformer\.", ""),),
    "opt": ((r"^model\.", ""),),
    "gptj": ((r"^transformer\.", ""),),
    "falcon": ((r"^transformer\.", ""),),
    "clip_text_model": ((r"^(text_model\.)?", "text_model."),),
    "bert": ((r"LayerNorm\.weight$", "LayerNorm.gamma"), (r"LayerNorm\.bias$", "LayerNorm.beta")),
}


def as_in_transformers_4(directory: Path) -> None:
    """Rewrites a folder in the words of transformers 4 and of the files on the Hub."""
    from safetensors.numpy import load_file

    path = directory / "config.json"
    config = json.loads(path.read_text())
    kind = config["model_type"]
    path.write_text(json.dumps(old_config(config), indent=2) + "\n")
    tensors = load_file(directory / "model.safetensors")
    for pattern, new in OLD_NAMES.get(kind, ()):
        tensors = {re.sub(pattern, new, name): tensor for name, tensor in tensors.items()}
    save_arrays(directory / "model.safetensors", tensors)


def old_config(config: dict[str, Any]) -> dict[str, Any]:
    """A config of transformers 5 in the keys of transformers 4."""
    config = config | {"torch_dtype": config.pop("dtype"), "transformers_version": "4.40.0"}
    if "scale_decoder_outputs" in config:  # T5 1.1 said it by not tying its output layer
        config["tie_word_embeddings"] = config.pop("scale_decoder_outputs")
    if config["model_type"] == "gemma":
        config["hidden_act"] = "gelu"  # the first files said so and meant the tanh approximation
    if "rope_parameters" not in config:
        return config
    if config["model_type"] == "gemma3_text":
        full, sliding = (config["rope_parameters"][f"{kind}_attention"] for kind in ("full", "sliding"))
        del config["rope_parameters"], config["layer_types"]
        config |= {"rope_theta": full.pop("rope_theta"), "rope_local_base_freq": sliding["rope_theta"]}
        return config | {"rope_scaling": full}
    if config["model_type"] == "apertus" and config["rope_parameters"]["rope_type"] == "default":
        return config  # transformers 5 reads rope_scaling null as Apertus's own scaling, 4 wrote it for none
    parameters = config.pop("rope_parameters")
    theta, kind = parameters.pop("rope_theta"), parameters.pop("rope_type")
    fraction = parameters.pop("partial_rotary_factor", None)
    named = {"linear": "type"}.get(kind, "rope_type")  # `type` until 4.43
    config["rope_scaling"] = None if kind == "default" else {named: kind, **parameters}
    if config["model_type"] == "gpt_neox":
        return config | {"rotary_emb_base": theta, "rotary_pct": fraction}
    return config | {"rope_theta": theta} | ({} if fraction is None else {"partial_rotary_factor": fraction})


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.array(array, order="C") for name, array in arrays.items()}, path, {"format": "pt"})


# The comparison.


def folders(directory: Path) -> list[Path]:
    """The cases in a directory. Raises FileNotFoundError if there are none."""
    found = sorted(path.parent for path in directory.glob("*/expected.safetensors"))
    if not found:
        raise FileNotFoundError(f"{directory} holds no folder with expected.safetensors")
    return found


def expected(directory: Path) -> dict[str, np.ndarray]:
    """Inputs and expected outputs of a case."""
    from safetensors.numpy import load_file

    return load_file(directory / "expected.safetensors")


def ours(directory: Path) -> dict[str, np.ndarray]:
    """The outputs of our network for the inputs of a case, for each padding."""
    import jax.numpy as jnp

    from models import pretrained

    given = expected(directory)
    model, params = pretrained.load(directory)
    batch: list[Any] = [jnp.asarray(given[name]) for name in ("images", "tokens", "decoder_tokens") if name in given]
    types: dict[str, Any] = {name: jnp.asarray(given[name]) for name in ("token_types",) if name in given}
    outputs = {}
    for padding, mask in masks(given).items():
        masked: dict[str, Any] = {} if mask is None else {"mask": jnp.asarray(mask)}
        logits, state = model.apply({"params": params}, *batch, **types, **masked, mutable=["intermediates"])
        outputs[f"logits_{padding}"] = np.asarray(logits)
        outputs[f"hidden_{padding}"] = np.asarray(state["intermediates"]["last_hidden_state"][0])
    return outputs


def saved_by_us(directory: Path) -> dict[str, np.ndarray]:
    """The outputs of transformers for the inputs of a case, from the network as we save it."""
    from models import pretrained

    with tempfile.TemporaryDirectory() as copy:
        pretrained.save(copy, *pretrained.load(directory))
        return theirs(read(Path(copy)), expected(directory))


def differences(wanted: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest difference of logits and of last hidden states, each over the largest value that is expected.

    Rows of padding do not count; a decoder that reads an encoder has none.
    """
    largest = dict.fromkeys(("logits", "hidden"), 0.0)
    for output in largest:
        for padding, mask in masks(wanted).items():
            a, b = wanted[f"{output}_{padding}"], found[f"{output}_{padding}"]
            real = ... if mask is None or "decoder_tokens" in wanted else mask.astype(bool)
            relative = np.abs(a - b)[real].max() / np.abs(a[real]).max()
            largest[output] = float(np.maximum(largest[output], relative))  # keeps NaN
    return largest


def table(directory: Path, outputs: Callable[[Path], dict[str, np.ndarray]]) -> tuple[str, bool]:
    """Markdown of the largest differences of every model type, and whether all are within TOLERANCE."""
    found: dict[str, list[tuple[float, float]]] = {}
    for case in folders(directory):
        kind = json.loads((case / "config.json").read_text())["model_type"]
        logits, hidden = differences(expected(case), outputs(case)).values()
        found.setdefault(kind, []).append((logits, hidden))
        if not (logits <= TOLERANCE and hidden <= TOLERANCE):  # so that NaN is told as well
            print(f"{case}: logits {logits:.1e}, last hidden state {hidden:.1e}", file=sys.stderr)
    largest = {kind: np.max(found[kind], axis=0) for kind in ARCHITECTURES if kind in found}
    lines = ["| model type | cases | logits | last hidden state |", "|---|---:|---:|---:|"]
    lines += [f"| {kind} | {len(found[kind])} | {each[0]:.1e} | {each[1]:.1e} |" for kind, each in largest.items()]
    versions = ", ".join(installed("transformers", "torch", "jax", "flax"))
    lines.append(f"\nLargest difference over the largest value, float32; {versions}.")
    return "\n".join(lines), all((values <= TOLERANCE).all() for values in largest.values())


def installed(*packages: str) -> Iterator[str]:
    """The versions of those packages that are there."""
    for package in packages:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where cases are written; tests/parity for those of the fixtures")
    parser.add_argument("--fresh", type=int, metavar="SEED", help="settings drawn at random, not those of the fixtures")
    parser.add_argument("--cases", type=int, default=3, help="fresh ones of every model type")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="compare our networks with the cases in DIR")
    parser.add_argument("--round-trip", type=Path, metavar="DIR", help="compare what transformers reads from our files")
    options = parser.parse_args()
    if options.fresh is not None and options.out is None:
        parser.error("--fresh needs --out: tests/parity is for the fixtures")
    # transformers tells of ties that T5 breaks and of vocabularies that are tiny on purpose.
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    if directory := options.compare or options.round_trip:
        text, within = table(directory, ours if options.compare else saved_by_us)
        print(text)
        return 0 if within else 1
    for case in CASES if options.fresh is None else fresh(options.fresh, options.cases):
        write(case, options.out or Path(__file__).parent / "parity")
    return 0


if __name__ == "__main__":
    sys.exit(main())
