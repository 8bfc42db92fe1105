"""Commands of every kind that takes long, on models small enough for seconds."""

from __future__ import annotations

FEW = ["--max-documents", "150", "--out", "out"]
DYCK = ["--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--map", "procrustes", *FEW]
READ = ["--dictionary", "own", "--features", "4", "--positions", "4", "--encoder", "lsa"]
COMMANDS = {
    "fit": ["fit", *DYCK],
    "run": ["run", "--src", "tiny-qwen", "--dst", "tiny-gemma", *READ, *FEW],
    "audit": ["audit", *DYCK],
    "train": ["verbalizer", "train", "--model", "tiny-gemma", "--steps", "4", "--batch", "2", "--rank", "2", *FEW],
    "sweep": ["sweep", "--src", "dyck:seed0@*", "--dst", "dyck:seed1@*", "--map", "procrustes", *FEW],
}
