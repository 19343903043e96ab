"""Compares tokens and vectors with those of the model's own libraries, text by text.

    referee.py FOLDER EMBED

FOLDER is the model, EMBED the built example `embed`.
"""

import json
import os
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["USE_TORCH"] = "0"
os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import FlaxBertModel  # noqa: E402

from texts import FIXED, many  # noqa: E402

RANDOM = 3000
EMBEDDED = 60
LEAST = 0.9999


def main(folder, embed):
    random = list(many(RANDOM))
    asked = FIXED + random
    lines = "".join(json.dumps(text) + "\n" for text in asked[: len(FIXED) + EMBEDDED])
    rest = "".join(json.dumps(text) + "\n" for text in asked[len(FIXED) + EMBEDDED :])
    run = lambda text, *more: [  # noqa: E731
        json.loads(line)
        for line in subprocess.run(
            [embed, folder, *more], input=text.encode(), stdout=subprocess.PIPE, check=True
        ).stdout.splitlines()
    ]
    ours = run(lines) + run(rest, "--tokens")

    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    # Text is never a control token here.
    tokenizer.encode_special_tokens = True
    model = FlaxBertModel.from_pretrained(folder)

    wrong, worst, vectors = 0, 1.0, 0
    for text, mine in zip(asked, ours, strict=True):
        tokens = tokenizer.encode(text).ids
        if mine["tokens"] != tokens:
            wrong += 1
            if wrong <= 20:
                print("TOKENS DIFFER", ascii(text)[:200], mine["tokens"][:12], tokens[:12])
        if "vector" not in mine:
            continue
        # One length for all, so that it is compiled once: the mask takes the padding out.
        padded = np.array([tokens + [0] * (256 - len(tokens))])
        mask = np.array([[1] * len(tokens) + [0] * (256 - len(tokens))])
        states = np.asarray(model(padded, attention_mask=mask)[0][0], dtype=np.float64)
        theirs = (states * mask[0][:, None]).sum(0) / max(mask.sum(), 1e-9)
        theirs /= np.linalg.norm(theirs)
        got = np.array(mine["vector"], dtype=np.float64)
        cosine = float(got @ theirs / np.linalg.norm(got))
        vectors += 1
        worst = min(worst, cosine)
        if cosine < LEAST or abs(np.linalg.norm(got) - 1) > 1e-5:
            wrong += 1
            print(f"VECTOR DIFFERS {cosine:.7f}", ascii(text)[:200])
    print(f"{len(asked)} texts have the same tokens but {wrong}; {vectors} vectors, worst cosine {worst:.9f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
