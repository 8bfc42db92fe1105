"""docs/API.md: every public name with its signature and its whole docstring; and what docstrings lack."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 100
LISTED = ("Args", "Attributes", "Keys", "Raises")
SECTION = re.compile(r"^(Args|Attributes|Keys|Returns|Yields|Raises):\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
ITEM = re.compile(r"^\*{0,2}([\w.]+): ", re.MULTILINE)
SAYS_WHAT_IT_RETURNS = re.compile(r"Return |Tell whether |Whether |95% ")
"""How a docstring of one line begins that needs no `Returns:` beside it."""

UNSAID = {"AssertionError", "AttributeError", "NotImplementedError", "StopIteration", "TypeError"}
"""Raised where code is wrong, not where what it is given is."""


@dataclass(frozen=True)
class Documented:
    """A docstring, taken apart.

    Attributes:
        text: Everything outside the sections.
        items: By section, what it says of each name.
        prose: By section, all of it.
    """

    text: str
    items: dict[str, dict[str, str]]
    prose: dict[str, str]

    @staticmethod
    def of(item: object) -> Documented:
        """Take an object's docstring apart."""
        whole = (inspect.getdoc(item) or "") + "\n"
        prose = {name: textwrap.dedent(said).strip() for name, said in SECTION.findall(whole)}
        items = {name: dict(_items(prose[name])) for name in LISTED if name in prose}
        return Documented(SECTION.sub("", whole).strip(), items, prose)

    def named(self) -> set[str]:
        """Return the parameters and fields that are explained."""
        return {name for section in ("Args", "Attributes", "Keys") for name in self.items.get(section, {})}


def _items(said: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"\n(?=\S)", said):
        if found := ITEM.match(part):
            yield found[1], " ".join(part[found.end() :].split())


def page(modules: Sequence[str], escaped: Callable[[str], str]) -> Iterator[str]:
    """Describe the public names of modules, in parts of a page."""
    for name in modules:
        module = importlib.import_module(name)
        titles = {public: _title(name, public, getattr(module, public)) for public in module.__all__}
        links = ", ".join(f"[`{public}`](#{_anchor(title)})" for public, title in titles.items())
        yield f"\n## `{name}`\n\n{_first_line(module)}\n\n{links}\n"
        for public in module.__all__:
            item = getattr(module, public)
            yield f"\n### {titles[public]}\n\n"
            if isinstance(item, type):
                yield _signature(public, item) + _described(item, escaped)
                for attribute, text in attributes(item).items():
                    if text:
                        yield f"\n**`{public}.{attribute}`** (`{_annotations(item)[attribute]}`): {escaped(text)}\n"
                for member, found in members(item):
                    yield f"\n**`{public}.{member}`**\n\n{_signature(member, found)}{_described(found, escaped)}"
            elif inspect.isfunction(item):
                yield _signature(public, item) + _described(item, escaped)
            else:
                yield f"    {public} = {_constant(item)}\n\n{escaped(constant_said(name, public))}\n"


def members(kind: type) -> list[tuple[str, Any]]:
    """Return the public methods and properties of a class that are its own, or come from no public class."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base is kind or (base.__module__.startswith("bridge") and not _is_public(base)):
            found |= {name: item for name, item in vars(base).items() if _is_member(name, item)}
    fields = [one.name for one in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    return sorted((name, item) for name, item in found.items() if name not in fields)


def _is_member(name: str, item: object) -> bool:
    if name.startswith("_") and name != "__call__":
        return False
    return isinstance(item, property | staticmethod | classmethod) or inspect.isfunction(item)


def _is_public(kind: type) -> bool:
    package = ".".join(kind.__module__.split(".")[:2])
    return any(kind.__name__ in getattr(importlib.import_module(place), "__all__", ()) for place in ("bridge", package))


def _described(item: object, escaped: Callable[[str], str]) -> str:
    said, types = Documented.of(_plain(item)), _annotations(item)
    parts = [_paragraphs(said.text, escaped)]
    for section in ("Args", "Attributes", "Keys", "Returns", "Yields", "Raises"):
        if section in said.items:
            lines = [
                f"- `{name}`{f' (`{types[name]}`)' if name in types else ''}: {escaped(text)}"
                for name, text in said.items[section].items()
            ]
            parts.append(f"{section}:\n\n" + "\n".join(lines))
        elif section in said.prose:
            parts.append(f"{section}: {_paragraphs(said.prose[section], escaped)}")
    return "\n\n".join(filter(None, parts)) + "\n"


def _paragraphs(text: str, escaped: Callable[[str], str]) -> str:
    found = []
    for part in re.split(r"\n\s*\n(?=.)", text):
        if all(line.startswith("    ") for line in part.split("\n")):
            found.append(part)
            continue
        head, *listed = re.split(r"\n\s*- ", part)
        lines = [escaped(" ".join(line.split())) for line in listed]
        found += [escaped(" ".join(head.split())), "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(filter(None, found))


def _signature(name: str, item: Any) -> str:
    plain = _plain(item)
    if isinstance(plain, type) and not dataclasses.is_dataclass(plain) and "__init__" not in vars(plain):
        bases = ", ".join(base.__name__ for base in plain.__bases__ if base is not object)
        return f"    class {name}{f'({bases})' if bases else ''}\n\n"
    if isinstance(item, property):
        return f"    {name}: {_annotation(inspect.signature(plain).return_annotation)}\n\n"
    signature = inspect.signature(plain)
    given = list(signature.parameters.values())
    given = [one for one in given if one.name not in ("self", "cls")]
    written, kinds = [], inspect.Parameter
    for at, one in enumerate(given):
        if one.kind is kinds.KEYWORD_ONLY and not any(
            before.kind in (kinds.KEYWORD_ONLY, kinds.VAR_POSITIONAL) for before in given[:at]
        ):
            written.append("*")
        written.append(_parameter(one))
    back = "" if isinstance(plain, type) else f" -> {_annotation(signature.return_annotation)}"
    whole = f"{name}({', '.join(written)}){back}"
    if len(whole) > WIDTH:
        whole = "\n".join([f"{name}(", *(f"    {one}," for one in written), f"){back}"])
    return textwrap.indent(whole, "    ") + "\n\n"


def _parameter(one: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(one.kind, "")
    said = f"{stars}{one.name}"
    if one.annotation is not inspect.Parameter.empty:
        said += f": {_annotation(one.annotation)}"
    if one.default is inspect.Parameter.empty:
        return said
    default = repr(one.default)
    return f"{said} = {'...' if default.startswith('<') else default}"


def _annotations(item: Any) -> dict[str, str]:
    plain = _plain(item)
    if isinstance(plain, type):
        found: dict[str, Any] = {}
        for base in reversed(plain.__mro__):
            if base.__module__.startswith("bridge"):
                found |= inspect.get_annotations(base)
        if "__init__" in vars(plain) and not dataclasses.is_dataclass(plain):
            found |= inspect.get_annotations(plain.__init__)
    else:
        found = inspect.get_annotations(plain)
    return {name: _annotation(said) for name, said in found.items()}


def _annotation(said: Any) -> str:
    if said is inspect.Signature.empty:
        return "Any"
    return said if isinstance(said, str) else inspect.formatannotation(said)


def _plain(item: Any) -> Any:
    if isinstance(item, property):
        return item.fget
    return item.__func__ if isinstance(item, staticmethod | classmethod) else item


def _constant(item: object) -> str:
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(item))
    return textwrap.shorten(shown, WIDTH, placeholder=" ...")


def attributes(kind: type) -> dict[str, str]:
    """Return what is written below the annotated attributes of a class; of one without, an empty text."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
            value = after.value if isinstance(after, ast.Expr) else None
            said = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
            found[node.target.id] = " ".join(said.split())
    return found


def constant_said(module: str, name: str) -> str:
    """Return the docstring below a constant's assignment, here or where the module has it from; empty without one."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if name in [getattr(target, "id", "") for target in targets]:
            value = after.value if isinstance(after, ast.Expr) else None
            said = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
            return " ".join(said.split())
        if isinstance(node, ast.ImportFrom) and name in [alias.asname or alias.name for alias in node.names]:
            return constant_said(str(node.module), name)
    return ""


def faults(modules: Sequence[str]) -> Iterator[str]:
    """Say of every public name what its docstring lacks."""
    for name in modules:
        module = importlib.import_module(name)
        for public in module.__all__:
            item = getattr(module, public)
            if isinstance(item, type):
                yield from _faults_of_class(f"{name}.{public}", item)
                for member, found in members(item):
                    if not isinstance(found, property):
                        contract = _inherited(item, member)
                        yield from faults_of_function(f"{name}.{public}.{member}", _plain(found), contract)
                    elif not found.__doc__:
                        yield f"{name}.{public}.{member}: no docstring"
            elif inspect.isfunction(item):
                yield from faults_of_function(f"{name}.{public}", item, Documented("", {}, {}))
            elif not constant_said(name, public):
                yield f"{name}.{public}: no docstring below it"


def _inherited(kind: type, member: str) -> Documented:
    """Return what the class whose method this overrides says of it: its contract."""
    above = [vars(base)[member] for base in kind.__mro__[1:] if member in vars(base)]
    return Documented.of(_plain(above[-1])) if above else Documented("", {}, {})


def _faults_of_class(name: str, kind: type) -> Iterator[str]:
    said = Documented.of(kind)
    if not kind.__doc__:
        yield f"{name}: no docstring"
    fields = [one.name for one in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    below = attributes(kind)
    fields += below
    if "__init__" in vars(kind) and not getattr(kind, "_is_protocol", False):
        fields += inspect.signature(kind).parameters
    for field in dict.fromkeys(fields):
        if not field.startswith("_") and field not in said.named() and not below.get(field):
            yield f"{name}: {field} is not explained"


def faults_of_function(name: str, function: Any, contract: Documented) -> Iterator[str]:
    """Say what a function's docstring lacks, where neither it nor that of its contract has it."""
    said = Documented.of(function)
    if not function.__doc__:
        yield f"{name}: no docstring"
        return
    signature = inspect.signature(function)
    for one in signature.parameters:
        if one not in ("self", "cls") and one not in said.named() | contract.named():
            yield f"{name}: {one} is not under Args"
    returns = _annotation(signature.return_annotation) not in ("None", "Never")
    told = {*said.prose, *contract.prose} & {"Returns", "Yields"}
    if returns and not told and not any(map(SAYS_WHAT_IT_RETURNS.match, (said.text, contract.text))):
        yield f"{name}: what it returns is not said"
    for error in sorted(_raised(function) - UNSAID):
        listed = {key.rpartition(".")[2] for key in said.items.get("Raises", {}) | contract.items.get("Raises", {})}
        if error not in listed:
            yield f"{name}: {error} is not under Raises"


def _raised(function: Any) -> set[str]:
    own = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    inner = {
        id(node)
        for one in ast.walk(own)
        if isinstance(one, ast.FunctionDef) and one is not own
        for node in ast.walk(one)
    }
    raised = [node.exc for node in ast.walk(own) if isinstance(node, ast.Raise) and id(node) not in inner]
    names = {exc.func.id for exc in raised if isinstance(exc, ast.Call) and isinstance(exc.func, ast.Name)}
    return {name for name in names if name[0].isupper()}


def _anchor(title: str) -> str:
    return re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))


def _title(module: str, name: str, item: object) -> str:
    # Classes are told apart in words: the anchors of `Audit` and `audit` would be the same.
    return f"{'class ' if isinstance(item, type) else ''}`{module}.{name}`"


def _first_line(item: object) -> str:
    return (inspect.getdoc(item) or "").partition("\n")[0]
