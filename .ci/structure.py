#!/usr/bin/env python3
"""The rules of ARCHITECTURE.md that a compiler does not check.

    .ci/structure.py            prints what breaks a rule; exit code 1 if anything does
    .ci/structure.py --count    prints sizes of the code, to compare two states of it

1. No file and no room imports itself by way of others.
2. A room imports only what the tables of ARCHITECTURE.md let it import.
3. No source file of `src/` or `train/src/` has more than 500 lines.
4. No line of Rust or Markdown has more than 100 characters.

A file imports another when its code outside tests names an item that is defined there. Names are
followed through `use` and `pub use` to the definition, so a facade that only re-exports imports
nothing. A module and the modules inside it are one subject: that a child names what its parent
defines is no import. A room is a file or a folder right below `src/` or `train/src/`.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

MAX_LINES = 500
MAX_WIDTH = 100

RESERVED = {"crate", "self", "super", "Self"}
IDENT = r"(?:r#)?[A-Za-z_][A-Za-z0-9_]*"
VISIBILITY = r"(?:pub\s*(?:\(\s*(?:in\s+)?[\w:\s]+\))?\s*)?"
ITEM = re.compile(
    rf"{VISIBILITY}(?:default\s+|const\s+|async\s+|unsafe\s+|extern\s*(?:\"\"\s*)?)*"
    rf"(?:fn|struct|enum|trait|type|const|static(?:\s+mut)?|union|macro_rules\s*!)\s+({IDENT})"
)
MOD = re.compile(rf"{VISIBILITY}mod\s+({IDENT})\s*([;{{])")
USE = re.compile(rf"({VISIBILITY})use\s+([^;]+);")
TEST = re.compile(r"#\s*\[\s*(?:test|cfg\s*\((?![^\]]*\bnot\b)[^\]]*\btest\b[^\]]*\))\s*\]")
PATH = re.compile(rf"(?<![\w:.])((?:{IDENT})(?:\s*::\s*(?:{IDENT}))*)")


def blank(text):
    """`text` without comments and the contents of literals; lines and positions stay."""
    token = re.compile(
        r"//[^\n]*|/\*|(?:b|c)?r(#*)\"|(?:b|c)?\"|b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^\\'])'"
    )
    out, at = [], 0
    spaces = lambda piece: re.sub(r"[^\n]", " ", piece)
    while found := token.search(text, at):
        start, piece = found.start(), found.group()
        out.append(text[at:start])
        if piece.startswith("//"):
            end = found.end()
        elif piece == "/*":
            depth, end = 1, found.end()
            while depth and (mark := re.compile(r"/\*|\*/").search(text, end)):
                depth += 1 if mark.group() == "/*" else -1
                end = mark.end()
        elif piece.endswith("'"):
            end = found.end()
        else:
            hashes = found.group(1)
            closing = '"' + hashes if hashes is not None else None
            if closing is not None:
                end = text.index(closing, found.end()) + len(closing)
            else:
                end = re.compile(r'(?:[^"\\]|\\.)*"', re.S).match(text, found.end()).end()
        body = text[start:end]
        out.append(spaces(body) if body[0] == "/" else '"' + spaces(body[1:-1]) + '"')
        at = end
    return "".join(out) + text[at:]


def closing(text, at):
    """Position behind the bracket that closes the one at `at`."""
    depth = 0
    for mark in re.compile(r"[{}()\[\]]").finditer(text, at):
        depth += 1 if mark.group() in "{([" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def item_end(text, at):
    """Position behind the item that starts at `at`, its attributes included."""
    while True:
        at = re.compile(r"\s*").match(text, at).end()
        if text.startswith("#", at):
            at = closing(text, text.index("[", at))
            continue
        break
    while mark := re.compile(r"[;{(\[,}]").search(text, at):
        if mark.group() in ";,}":
            return mark.end()
        end = closing(text, mark.start())
        if mark.group() == "{":
            return end
        at = end
    return len(text)


def without_tests(text):
    """`text` (blanked) without items under `#[cfg(test)]` and `#[test]`, and how many lines they
    were."""
    lines = 0
    while found := TEST.search(text):
        end = item_end(text, found.end())
        removed = text[found.start():end]
        lines += removed.count("\n") + 1
        text = text[:found.start()] + re.sub(r"[^\n]", " ", removed) + text[end:]
    return text, lines


def expand(tree, prefix=()):
    """Paths and names of a `use` tree: ((`a`, `b`), name or `*`)."""
    tree = tree.strip()
    if tree.startswith("{"):
        parts, depth, start = [], 0, 1
        for at, letter in enumerate(tree):
            depth += (letter == "{") - (letter == "}")
            if (letter == "," and depth == 1) or (letter == "}" and depth == 0):
                parts.append(tree[start:at])
                start = at + 1
        for part in parts:
            if part.strip():
                yield from expand(part, prefix)
        return
    if found := re.match(rf"(?:::)?\s*({IDENT})\s*::\s*(?=\S)", tree):
        yield from expand(tree[found.end():], prefix + (found.group(1),))
        return
    words = tree.split()
    if words == ["*"]:
        yield prefix, "*"
    elif len(words) == 3 and words[1] == "as":
        yield prefix + ((words[0],) if words[0] != "self" or not prefix else ()), words[2]
    elif words == ["self"]:
        yield prefix, prefix[-1]
    else:
        yield prefix + (words[0],), words[0]


class Module:
    """A module: the file it is in, what it defines, and what it brings into scope."""

    def __init__(self, file, parent, root):
        self.file, self.parent, self.root = file, parent, root or self
        self.items, self.children, self.aliases, self.globs = set(), {}, {}, []
        self.paths = []  # what its code names
        self.private = []  # paths of its `use`, without re-exports


class Tree:
    """All modules of one package's library and program."""

    def __init__(self, folder, crates):
        self.folder, self.crates = folder, crates
        self.files = {}  # file → its code without tests, literals and comments
        self.test_lines = 0

    def read(self, path, parent, root, beside):
        text, test_lines = without_tests(blank(path.read_text()))
        self.files[path] = text
        self.test_lines += test_lines
        module = Module(path, parent, root)
        self.fill(module, text, beside)
        return module

    def fill(self, module, text, beside):
        """Reads `text`, whose child modules are files of the folder `beside`."""
        flat = list(text)
        at = 0
        while found := re.compile(rf"{MOD.pattern}|[{{]").search(text, at):
            if found.group() == "{":
                at = closing(text, found.start())
                continue
            name, end = found.group(1), found.end()
            if found.group(2) == ";":
                for path, folder in (
                    (beside / f"{name}.rs", beside / name),
                    (beside / name / "mod.rs", beside / name),
                ):
                    if path.exists():
                        module.children[name] = self.read(path, module, module.root, folder)
            else:
                end = closing(text, found.end() - 1)
                inner = Module(module.file, module, module.root)
                self.fill(inner, text[found.end():end - 1], beside / name)
                module.children[name] = inner
            flat[found.start():end] = " " * (end - found.start())
            at = end
        text = "".join(flat)
        for found in USE.finditer(text):
            for path, name in expand(found.group(2)):
                exported = found.group(1).strip() != ""
                if name == "*":
                    module.globs.append(path)
                else:
                    module.aliases[name] = path
                if not exported:
                    module.private.append(path)
            flat[found.start():found.end()] = " " * (found.end() - found.start())
        text = "".join(flat)
        top, at = list(text), 0
        while (at := text.find("{", at)) >= 0:
            end = closing(text, at)
            top[at:end] = " " * (end - at)
            at = end
        module.items = {found.group(1) for found in ITEM.finditer("".join(top))}
        for found in PATH.finditer(text):
            path = tuple(re.split(r"\s*::\s*", found.group(1)))
            if path[-1] not in RESERVED:  # `pub(crate)`
                module.paths.append(path)

    def resolve(self, module, path, seen=()):
        """The file where what `path` names inside `module` is defined, if it is of ours."""
        if not path or (id(module), path) in seen:
            return None
        seen = seen + ((id(module), path),)
        first, rest = path[0], path[1:]
        if first == "crate":
            return self.inside(module.root, rest, seen)
        if first == "self":
            return self.inside(module, rest, seen)
        if first == "super":
            return self.inside(module.parent, rest, seen) if module.parent else None
        if first in self.crates and first not in module.items:
            return self.inside(self.crates[first], rest, seen)
        return self.inside(module, path, seen, only=True)

    def inside(self, module, path, seen, only=False):
        """As `resolve`, for a path that starts inside `module`; `only`: nothing if it does not."""
        if not path:
            return module.file
        first, rest = path[0], path[1:]
        if first == "super" and module.parent:
            return self.inside(module.parent, rest, seen)
        if first in module.children:
            return self.inside(module.children[first], rest, seen)
        if first in module.items:
            return module.file
        if first in module.aliases:
            target = module.aliases[first]
            if target[0] == first:  # a crate's name, brought in by itself
                return None
            return self.resolve(module, target + rest, seen)
        for glob in module.globs:
            if glob[0] not in RESERVED and glob[0] not in module.children:
                continue  # another crate's
            found = self.resolve(module, glob + path, seen)
            if found:
                return found
        return None if only else module.file

    def imports(self):
        """file → files whose items its code names."""
        edges = defaultdict(set)

        def visit(module):
            for path in module.private + module.paths:
                found = self.resolve(module, path)
                if found and found != module.file:
                    edges[module.file].add(found)
            for child in module.children.values():
                visit(child)

        for root in set(self.crates.values()):
            visit(root)
        return edges


def circles(edges):
    """Strongly connected parts of more than one node."""
    order, low, index, stack, found = [], {}, {}, [], []
    sys.setrecursionlimit(10_000)

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def packages():
    """folder → tree of modules, for both packages."""
    trees = {}
    for name, folder in (("edge_vae", Path("src")), ("edge_vae_train", Path("train/src"))):
        crates = {}
        tree = Tree(folder, crates)
        crates[name] = tree.read(folder / "lib.rs", None, None, folder)
        crates["the program"] = tree.read(folder / "main.rs", None, None, folder)
        trees[folder] = tree
    return trees


def is_inside(file, other):
    """Whether `file` is a module inside the module `other`."""
    roots = ("mod.rs", "lib.rs", "main.rs")
    return (other.parent if other.name in roots else other.with_suffix("")) in file.parents


def imports_of_files(tree):
    """file → files it imports, its parents left out."""
    return {
        file: {other for other in imports if not is_inside(file, other)}
        for file, imports in tree.imports().items()
    }


def room_of(folder, file):
    return file.relative_to(folder).parts[0].removesuffix(".rs")


def allowed_imports(document):
    """Rooms and what they may import: the rows of `| room | … | may import |`, table by table.

    A room can be imported by those in later rows only.
    """
    tables, columns = [], None
    for line in document.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = cells
            if cells[0].startswith("room") and cells[-1].startswith("may import"):
                tables.append({})
        elif columns[-1].startswith("may import") and not cells[0].startswith("-"):
            above = set(tables[-1])
            named = above.intersection(re.findall(r"\w+", cells[-1]))
            for room in re.findall(r"`(\w+)(?:/|\.rs)?`", cells[0]):
                tables[-1][room] = above if "everything" in cells[-1] else named
    return tables


def broken_rules():
    """A line of text for each."""
    document = Path("ARCHITECTURE.md")
    tables = allowed_imports(document.read_text()) if document.exists() else []
    if len(tables) != 2:
        yield f"{document}: {len(tables)} tables of rooms and what they may import, not 2"
        tables = [{}, {}]
    for (folder, tree), allowed in zip(packages().items(), tables, strict=True):
        if not any(imports_of_files(tree).values()):
            yield f"{folder}: no import found, so this script is broken"
        for circle in circles(imports_of_files(tree)):
            yield f"{circle[0]}: imports itself by way of {', '.join(map(str, circle[1:]))}"
        rooms, first = defaultdict(set), {}
        for file, imports in sorted(tree.imports().items()):
            for other in sorted(imports):
                pair = room_of(folder, file), room_of(folder, other)
                if pair[0] != pair[1]:
                    rooms[pair[0]].add(pair[1])
                    first.setdefault(pair, (file, other))
        for circle in circles(rooms):
            yield f"{folder}: the rooms {', '.join(circle)} import each other"
        for room in sorted({room_of(folder, file) for file in tree.files} - {"lib", "main"}):
            if room not in allowed:
                yield f"{folder}: the room {room} is missing in ARCHITECTURE.md"
        for room in allowed:
            if not (folder / room).is_dir() and not (folder / f"{room}.rs").exists():
                yield f"ARCHITECTURE.md: there is no room {room} in {folder}"
        for (room, other), (file, imported) in sorted(first.items()):
            if room in allowed and other not in allowed[room]:
                yield f"{file}: imports {imported}, but {room} may not import {other}"
        for file in sorted(folder.rglob("*.rs")):
            lines = len(file.read_text().splitlines())
            if lines > MAX_LINES:
                yield f"{file}: {lines} lines; at most {MAX_LINES}"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.rs", "*.md"],
        check=True, capture_output=True, text=True,
    )
    for file in sorted(filter(Path.exists, map(Path, listed.stdout.splitlines()))):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if len(line) > MAX_WIDTH:
                yield f"{file}:{number}: {len(line)} characters; at most {MAX_WIDTH}"


def count():
    """Sizes of both packages."""
    for folder, tree in packages().items():
        lines = {file: len(file.read_text().splitlines()) for file in folder.rglob("*.rs")}
        longest = max(lines, key=lines.get)
        outside_tests = sum(map(lines.get, tree.files)) - tree.test_lines
        found = lambda pattern: sum(len(re.findall(pattern, text)) for text in tree.files.values())
        enums = found(r"\benum\s+\w")
        numbers = found(rf"(?m)^{VISIBILITY}(?:const|static)\s+\w+\s*:\s*[iuf]\w+\s*=")
        in_circles = circles(imports_of_files(tree))
        print(
            f"{folder}: {sum(lines.values())} lines, {outside_tests} of them outside tests, "
            f"the longest file {longest} of {lines[longest]}; {enums} enums; {numbers} loose "
            f"numbers; {len(in_circles)} circles of {sum(map(len, in_circles))} files"
        )


def main():
    if sys.argv[1:] == ["--count"]:
        count()
        return
    broken = list(broken_rules())
    print("\n".join(broken + [f"rules of the structure: {len(broken)} times broken"]))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
