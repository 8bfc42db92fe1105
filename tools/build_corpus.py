"""Build the bundled English corpus from Debian packages whose text is public domain or permissively licensed.

Downloads the packages with `apt-get download` (nothing is installed), unpacks them, takes paragraphs of clean
prose, and writes JSON Lines of `{"source", "text"}`. Package versions and the seed are pinned, so every run
writes the same bytes. Licences and notices stand in LICENSES.md beside the corpus.
"""

from __future__ import annotations

import argparse
import gzip
import html
import json
import random
import re
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

SHORTEST, LONGEST, TARGET, SEED = 200, 1500, 900, 20260
OUTPUT = Path(__file__).resolve().parents[1] / "core" / "bridge" / "data" / "english.jsonl"
QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "—": "--", "–": "-"})
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]* (?=[A-Z\"'(])")
# Leftovers of markup, tables, code, links, figures and cross-references: one of them spoils a paragraph.
JUNK = re.compile(
    r"[{}|\\<>=~^@#*_\[\]`\u2190-\u25ff]|https?:|www\.|\.html|::|\(\)|-{3}|\d{6}|\?{2}|[.!?]\.(?!\w)"
    r"|(?i:see also|crunchly saga|\b(figure|listing|fig\.) \d)"
)
# Licence texts, obscenity, and what dictionaries of 1911 and 2006 record about peoples and sex do not belong
# in a default corpus. Coarse on purpose: losing a harmless paragraph costs nothing.
UNWANTED = re.compile(
    r"(?i)hereby granted|warrant(y|ies) of|obscene|\bvulgar|offensive|ethnic|slur\b|negro|nig+er|squaw"
    r"|savages|\bjews?\b|intercourse|genital|\bsex\b|\bsexual|\brape|\bpubic|fuck|\bshit|faggot|whore"
)
COMMON = frozenset(re.findall(r"\w+", "the of and to a in is that it for on as with was by be are or not this"))


def clean(text: str) -> str:
    """One line of text with plain quotes, single spaces and composed characters."""
    text = unicodedata.normalize("NFC", text.translate(QUOTES)).replace("--", " - ")
    return re.sub(r" (?=[,.;:!?)])", "", " ".join(text.split())).replace("( ", "(")


def is_prose(text: str) -> bool:
    """Whether a cleaned paragraph reads as whole sentences of running English of an allowed length."""
    words = re.findall(r"[A-Za-z']+", text)
    letters = sum(char.isalpha() or char == " " for char in text)
    return (
        SHORTEST <= len(text) <= LONGEST
        and text[0] in "\"'(" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        and text.rstrip("\"')")[-1] in ".!?"
        and letters >= 0.93 * len(text)
        and sum(word.lower() in COMMON for word in words) >= 0.16 * len(words)
        and not JUNK.search(text)
        and not UNWANTED.search(text)
    )


def packed(paragraphs: Iterable[str], least: int = 400) -> Iterator[str]:
    """Join neighbours until they have `least` characters, and cut what is too long between two sentences."""
    held = ""
    for paragraph in map(clean, paragraphs):
        held = f"{held} {paragraph}".strip()
        while len(held) > LONGEST:
            cuts = [match.end() for match in SENTENCE_END.finditer(held, SHORTEST, TARGET)]
            cut = cuts[-1] if cuts else len(held)
            yield held[:cut].strip()
            held = held[cut:].strip()
        if len(held) >= least:
            yield held
            held = ""
    yield held


def blocks(text: str) -> list[str]:
    """Paragraphs of a plain text: what blank lines separate."""
    return re.split(r"\n\s*?\n", text)


def html_paragraphs(root: Path, pattern: str) -> Iterator[str]:
    """Paragraphs of HTML pages; those that lead into a list or a listing end in a colon and are left out."""
    for page in sorted(root.glob(pattern)):
        source = page.read_text(encoding="utf-8", errors="replace")
        source = re.sub(r"(?s)<(script|style|pre|table|dl|ul|ol)\b.*?</\1>|<!--.*?-->", "<p>", source)
        for part in re.split(r"(?i)</?(?:p|h\d|div|blockquote|center|hr|body)\b[^>]*>", source):
            yield from packed([html.unescape(re.sub(r"<[^>]*>", "", part))])


def read_jargon(root: Path) -> Iterator[str]:
    """Entries of the Jargon File, headword first, without pronunciations and cross-reference braces."""
    path = root / "usr/share/doc/jargon-text/jargon.txt.gz"
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    text = re.sub(r"\{([^{}]*)\}", r"\1", text)
    for entry in re.split(r"\n +(?=:[^:\n]+:)", text):
        head = re.match(r":([^:\n]+):([^\n]*)\n", entry)
        if not head:
            continue
        body = re.sub(r"\[[^\]]*\] ?|\(senses? [^)]*\) ?", "", entry[head.end() :].strip())
        body = re.sub(r"(?m)^ *((\d|n|v|vt|vi|adj|adv|excl|imp|interj|pl|prov|obs|quant)\.,?\s+)*", "", body)
        body = re.sub(r"(?:^|\s)(See( also)?|Compare|Cf\.|Syn\.|Contrast)\s[^.]*\.", " ", body)
        yield from packed([f"{head[1][0].upper()}{head[1][1:]}: {clean(body)}"])


def read_devil(root: Path) -> Iterator[str]:
    """Entries of The Devil's Dictionary, without the verses, which lose their form on one line."""
    text = gzip.decompress((root / "usr/share/dictd/devil.dict.dz").read_bytes()).decode("latin-1")
    text = re.sub(r"\{([^{}]*)\}", r"\1", text)
    for entry in re.split(r"\n(?=[A-Z][A-Z' -]+, [a-z.]+)", text)[1:]:
        yield from packed(part for part in blocks(entry) if not part.startswith(" "))


def read_austen(root: Path) -> Iterator[str]:
    """Paragraphs of the novels: an R lazy-load file is zlib records, each the lines of one book."""
    data = (root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    while data:
        inflater = zlib.decompressobj()
        book, data = inflater.decompress(data[4:]), inflater.unused_data
        count, at, lines = *struct.unpack_from(">I", book, 27), 31, []
        for _ in range(count):
            size = struct.unpack_from(">i", book, at + 4)[0]
            lines.append(book[at + 8 : at + 8 + size].decode("utf-8").replace("_", ""))
            at += 8 + size
        yield from packed(part for part in blocks("\n".join(lines)) if not part.isupper() and len(part) > 25)


def read_founding(root: Path) -> Iterator[str]:
    """Paragraphs of the Constitution of the United States and of the Declaration of Independence."""
    for path in sorted((root / "usr/share/state").glob("us-*.gz")):
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
        yield from packed(part for part in blocks(text) if len(part) > 100)


def senses(root: Path) -> Iterator[tuple[str, int, str, list[str], str]]:
    """Synsets of WordNet as (key, subject file, word, keys of its kinds, gloss sentences)."""
    for name in ("noun", "verb", "adj", "adv"):
        for line in (root / f"usr/share/wordnet/data.{name}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue
            fields, _, gloss = line.partition(" | ")
            field = fields.split(" ")
            word = re.sub(r"\(\w+\)$", "", field[4]).replace("_", " ")
            kinds = [name + field[i + 1] for i, part in enumerate(field) if part in ("~", "~i")]
            definition, *examples = [part.strip(' ";') for part in re.split(r'; (?=")|", "', gloss)]
            told = [f"{word}: {definition}", *(example[:1].upper() + example[1:] for example in examples)]
            ended = " ".join(re.sub(r"[^.!?]$", r"\g<0>.", sentence) for sentence in told)
            yield name + field[0], int(field[1]), word, kinds, ended


def read_wordnet(root: Path) -> Iterator[str]:
    """A thing and its kinds, or the senses of a word, in one paragraph; the subject files take turns."""
    synsets = {key: (subject, word, kinds, told) for key, subject, word, kinds, told in senses(root)}
    by_word: dict[str, list[str]] = defaultdict(list)
    for key, (_, word, _, _) in synsets.items():
        by_word[word].append(key)
    families = [[key, *kinds[:5]] for key, (_, _, kinds, _) in synsets.items()]
    by_subject: dict[int, list[list[str]]] = defaultdict(list)
    for group in (*families, *(keys[:5] for keys in by_word.values())):
        if len(group) >= 2:
            by_subject[synsets[group[0]][0]].append(group)
    for groups in by_subject.values():
        random.Random(SEED).shuffle(groups)
    used: set[str] = set()
    for turn in range(60):
        for _, groups in sorted(by_subject.items()):
            # No entry serves twice: folds are split by document, and a shared gloss would leak across them.
            if turn < len(groups) and used.isdisjoint(groups[turn]):
                used.update(groups[turn])
                prefix = synsets[groups[turn][0]][1] + ": "
                first, *rest = (synsets[key][3] for key in groups[turn])
                parts = (first, *(told.removeprefix(prefix) for told in rest))
                yield " ".join(part[0].upper() + part[1:] for part in parts)


@dataclass(frozen=True)
class Source:
    """A package at a pinned version, the reader of its prose, and how many paragraphs to take."""

    name: str
    package: str
    version: str
    take: int
    read: Callable[[Path], Iterator[str]]


SOURCES = (
    Source("wordnet", "wordnet-base", "1:3.0-37", 950, read_wordnet),
    Source("jargon", "jargon-text", "4.4.7-4.1", 450, read_jargon),
    Source("devil", "dict-devil", "1.0-13.1", 250, read_devil),
    Source("austen", "r-cran-janeaustenr", "1.0.0-1", 400, read_austen),
    Source("founding", "miscfiles", "1.5+dfsg-4", 80, read_founding),
    Source("sqlite", "sqlite3-doc", "3.40.1-2+deb12u2", 200,
           partial(html_paragraphs, pattern="usr/share/doc/sqlite3/[!r]*.html")),
    Source("rust-book", "rust-doc", "1.63.0+dfsg1-2", 200,
           partial(html_paragraphs, pattern="usr/share/doc/rust-doc/html/book/ch*.html")),
    Source("puzzles", "sgt-puzzles", "20230122.806ae71-2", 120,
           partial(html_paragraphs, pattern="usr/share/sgt-puzzles/help/en/*.html")),
)  # fmt: skip


def unpack(source: Source, scratch: Path, debs: Path) -> Path:
    """Unpack a source's package, which is downloaded only where `debs` does not hold it already."""
    pattern = f"{source.package}_{source.version.replace(':', '%3a')}_*.deb"
    if not list(debs.glob(pattern)):
        command = ["apt-get", "download", "-qq", f"{source.package}={source.version}"]
        subprocess.run(command, cwd=debs, check=True)
    root = scratch / source.package
    subprocess.run(["dpkg-deb", "-x", str(next(debs.glob(pattern))), str(root)], check=True)
    return root


def collect(source: Source, root: Path) -> list[dict[str, str]]:
    """The paragraphs to take from one unpacked source: clean, no two with one beginning, a seeded draw."""
    first: dict[str, str] = {}
    for text in map(clean, source.read(root)):
        if is_prose(text):
            first.setdefault(text[:100].lower(), text)
    kept = list(first.values())
    drawn = random.Random(SEED).sample(kept, min(source.take, len(kept)))
    return [{"source": source.name, "text": text} for text in drawn]


def main(argv: Sequence[str] | None = None) -> int:
    """Build the corpus and report what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUTPUT, help="file to write (default: %(default)s)")
    parser.add_argument("--debs", type=Path, help="folder that keeps the packages (default: a temporary one)")
    args = parser.parse_args(argv)
    rows: dict[str, dict[str, str]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="bridge-corpus-") as scratch:
            debs = (args.debs or Path(scratch) / "debs").resolve()
            debs.mkdir(parents=True, exist_ok=True)
            for source in SOURCES:
                for row in collect(source, unpack(source, Path(scratch), debs)):
                    rows.setdefault(row["text"][:100].lower(), row)
    except (OSError, subprocess.CalledProcessError) as problem:
        message = f"The corpus was not built ({problem}). Most likely this is not Debian 12 with a fresh `apt-get "
        message += "update`, or a pinned version has left the archive: then put its .deb from "
        print(message + "https://snapshot.debian.org into a folder and name that with --debs.", file=sys.stderr)
        return 1
    shuffled = list(rows.values())
    random.Random(SEED).shuffle(shuffled)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in shuffled)
    args.out.write_text(text, encoding="utf-8")
    counts = Counter(row["source"] for row in shuffled)
    print(f"{args.out}: {len(shuffled)} paragraphs, {len(text.encode())} bytes; {dict(counts.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
