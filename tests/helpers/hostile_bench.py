"""Drives the command that meets a hostile plugin, and looks at how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import final

from dictionary_files import saelens
from forked_cli import Ended, Server
from hostile_plugins import PRINTED
from small_plugins import Package

NAME = "hostile-one"


@final
class Bench:
    """Installs a hostile plugin, and drives the command that meets it."""

    def __init__(self, server: Server, package: Package, experiment: list[str], folder: Path) -> None:
        self.server, self.package, self.experiment, self.folder = server, package, experiment, folder
        self.sites = [folder / "site-packages"]
        self.variables: dict[str, str] = {}

    def install(self, kind: str, source: str) -> str:
        """Install the plugin; gives the name that messages use."""
        self.package(NAME, source, f"{kind}.hostile")
        return f"{NAME}:{kind}.hostile"

    def replace(self, kind: str, source: str) -> None:
        """Install the plugin, or replace the one that is installed."""
        module = self.sites[0] / f"{NAME.replace('-', '_')}.py"
        if module.exists():
            module.write_text(source)
        else:
            self.install(kind, source)

    def bridge(self, *arguments: object, interrupts: tuple[float, ...] = ()) -> Ended:
        """Run a command, which must not hang, show a traceback or send escape sequences of its own."""
        ended = self.server.bridge(arguments, self.folder, self.variables, self.sites, interrupts)
        assert ended.code != "it hung", ended
        assert "Traceback" not in ended.err, ended.err
        assert "\x1b" not in ended.err.replace(PRINTED, ""), ended.err
        return ended

    def drive(self, kind: str, interrupts: tuple[float, ...] = ()) -> Ended:
        """Let a plugin of a kind work; results go to `out`."""
        out = self.folder / "out"
        base = ["--out", out]
        if kind in ("engines", "activation_sources"):
            self.variables["BRIDGE_CACHE_DIR"] = str(self.folder / "cache")  # else there is nothing to collect
        if kind == "dictionary_formats":
            fitted = self.bridge("fit", *self.experiment, *base)
            if fitted.code:  # formats are made when the plugin registers them
                return fitted
            sae = saelens(self.folder / "sae")
            rows = ["--dictionary", sae, "--features", "1", "--out", self.folder / "rows.safetensors"]
            return self.bridge("transfer", "directions", out, *rows, interrupts=interrupts)
        if kind in ("verbalizers", "reader_formats"):
            (self.folder / "reader").mkdir(exist_ok=True)
            named = "hostile" if kind == "verbalizers" else self.folder / "reader"
            dst = self.experiment[self.experiment.index("--dst") + 1]
            corpus = self.experiment[self.experiment.index("--corpus") :]
            reading = ["--verbalizer", named, "--text", "Paris is in France", "--every", "3"]
            return self.bridge("explain", "--src", dst, "--via", dst, *corpus, *reading, interrupts=interrupts)
        flag = {"maps": "--map", "engines": "--engine", "activation_sources": "--src-activations"}.get(kind)
        command = "run" if kind == "scorers" else "fit"
        named = [flag, "hostile"] if flag else []
        return self.bridge(command, *self.experiment, *named, *base, interrupts=interrupts)

    def next(self) -> str:
        """What the next command says, and that the one after it says nothing more."""
        said = [self.server.bridge(["models"], self.folder, self.variables).said for _ in range(2)]
        assert "did not end normally" not in said[1]
        return said[0]

    def results(self) -> tuple[dict[str, bytes], list[dict[str, object]]]:
        """Return the arrays of the bridge as bytes, and the numbers of the other scorers."""
        out = self.folder / "out"
        arrays = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
        file = out / "metrics.json"
        found = json.loads(file.read_text())["metrics"] if file.exists() else []
        return arrays, [metric for metric in found if metric["scorer"] != "hostile"]
