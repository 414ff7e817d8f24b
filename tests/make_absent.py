"""The configs of the fixtures with each key left out in turn: what transformers takes in its place, and whether we do.

PYTHONPATH=. python tests/make_absent.py             writes tests/absent.json (needs torch and transformers)
PYTHONPATH=. python tests/make_absent.py --compare   runs both networks and counts those that differ (also JAX)
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from make_parity import TOLERANCE, differences, expected, ours, read, theirs

from models.pretrained.config import HARMLESS, Config
from models.pretrained.folder import modelled
from models.pretrained.format import function
from models.pretrained.registry import FORMATS

HERE = Path(__file__).parent
ROPE = ("rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor", "rotary_pct", "rotary_emb_base")


def cases() -> list[Path]:
    """Of every model type a folder of transformers 5, and one in the words of 4."""
    found: dict[tuple[str, bool], Path] = {}
    for path in sorted((HERE / "parity").iterdir()):
        if path.is_dir() and "16" not in path.name:
            kind = json.loads((path / "config.json").read_text())["model_type"]
            found.setdefault((kind, "older" in path.name), path)
    return list(found.values())


def without(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Key -> the config without it; of the rotary parameters also each key of theirs."""
    found = {key: {name: value for name, value in values.items() if name != key} for key in values}
    for outer in ("rope_parameters", "rope_scaling"):
        for key in values.get(outer) or {}:
            inner = {name: value for name, value in values[outer].items() if name != key}
            found[f"{outer}.{key}"] = {**values, outer: inner}
    del found["model_type"]
    return found


def function_of(values: dict[str, Any]) -> dict[str, Any] | None:
    """What the model of a config computes here; None if it is refused."""
    kind = values["model_type"]
    try:
        return function(modelled(FORMATS[kind], Config(values, "config.json", kind)))
    except ValueError:
        return None


def taken(values: dict[str, Any]) -> dict[str, Any]:
    """The keys of a config as transformers completes them."""
    from transformers import AutoConfig

    values = json.loads(json.dumps(values))
    return json.loads(AutoConfig.for_model(values.pop("model_type"), **values).to_json_string(use_diff=False))


def absent(values: dict[str, Any]) -> dict[str, dict[str, Any] | None]:
    """Key -> what transformers takes otherwise than with the whole config where it is absent; None: it refuses."""
    whole, found = taken(values), {}
    for key, rest in without(values).items():
        try:
            completed = taken(rest)
        except Exception:  # whatever a config class raises
            found[key] = None
            continue
        found[key] = {name: completed[name] for name in sorted(completed) if completed[name] != whole.get(name)}
    return found


def compared(case: Path, rest: dict[str, Any], otherwise: dict[str, Any] | None) -> str:
    """How the two networks of a config compare, on the weights of a case; `otherwise` is what `absent` says of it.

    Where neither side takes anything otherwise than with the whole config, both are as in the parity of the case.
    """
    whole, own = function_of(json.loads((case / "config.json").read_text())), function_of(rest)
    if own is None:
        return "refused here"
    if otherwise is not None and otherwise.keys() <= HARMLESS and own == whole:
        return "same"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / case.name
        shutil.copytree(case, copy)
        (copy / "config.json").write_text(json.dumps(rest))
        try:
            found = ours(copy)
        except (ValueError, FileNotFoundError):
            return "refused here"
        try:
            wanted = {**expected(case), **theirs(read(copy), expected(case))}
        except Exception:  # whatever transformers raises
            return "refused there alone"
        return "same" if max(differences(wanted, found).values()) <= TOLERANCE else "differs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help="run both networks")
    parser.add_argument("--only", nargs="*", default=[], help="these cases")
    options = parser.parse_args()
    os.environ |= {"TRANSFORMERS_VERBOSITY": "critical", "HF_HUB_OFFLINE": "1"}
    configs = {case: json.loads((case / "config.json").read_text()) for case in cases()}
    if not options.compare:
        table = {case.name: absent(values) for case, values in configs.items()}
        lines = json.dumps(table, sort_keys=True).replace('}, "', '},\n "').replace('null, "', 'null,\n "')
        (HERE / "absent.json").write_text(lines + "\n")
        return 0
    counts: Counter[str] = Counter()
    for case in [case for case in configs if not options.only or case.name in options.only]:
        own: Counter[str] = Counter()
        found = absent(configs[case])
        for key, rest in without(configs[case]).items():
            how = compared(case, rest, found[key])
            own[how] += 1
            if how in ("differs", "refused there alone"):
                print(f"{case.name} without {key}: {how}", flush=True)
        print(case.name, dict(own), flush=True)
        counts += own
    print(f"folders tried: {sum(counts.values())}; {dict(counts)}")
    return 1 if counts["differs"] else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())
