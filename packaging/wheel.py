#!/usr/bin/env python3
"""Makes a Python wheel that carries a program and nothing of Python: `pip install` puts the
program beside `python`, manual pages, completions and models below the same prefix.

    packaging/wheel.py STAGED ARCH OUT        (packaging/wheel.sh does it for both programs)

STAGED is a folder of `packaging/stage.sh`, and so the program is that of the other packages, byte
for byte. maturin can only build one of its own, with other features of the dependencies than the
tested one.
"""

import base64
import csv
import hashlib
import io
import os
import stat
import sys
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The oldest glibc that the program runs with; `packaging/build.sh` checks it.
PLATFORM = "manylinux_2_28"


def package(name):
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())
    manifest = ROOT / ("Cargo.toml" if name == "edge-vae" else "train/Cargo.toml")
    own = tomllib.loads(manifest.read_text())["package"]
    return workspace["workspace"]["package"]["version"], own["description"]


def metadata(name, version, summary):
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        f"Version: {version}",
        f"Summary: {summary}",
        "License-Expression: MIT OR Apache-2.0",
        "License-File: LICENSE-APACHE",
        "License-File: LICENSE-MIT",
        "Requires-Python: >=3.8",
        "Classifier: Operating System :: POSIX :: Linux",
        "Classifier: Programming Language :: Rust",
        "Classifier: Topic :: Scientific/Engineering :: Image Recognition",
        "Description-Content-Type: text/markdown",
    ]
    # An engine that is often faster, where somebody wants it.
    if name == "edge-vae":
        lines += ["Provides-Extra: ort", "Requires-Dist: onnxruntime>=1.23; extra == 'ort'"]
    return "\n".join(lines) + "\n\n" + (ROOT / "README.md").read_text()


def main():
    staged, arch, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    name = staged.name
    version, summary = package(name)
    stem = f"{name.replace('-', '_')}-{version}"
    tag = f"py3-none-{PLATFORM}_{arch}"
    info, data = f"{stem}.dist-info", f"{stem}.data"
    files = {}
    for path in sorted(staged.rglob("*")):
        below = path.relative_to(staged)
        if not path.is_file() or below.parts[0] not in ("bin", "share"):
            continue
        # In a wheel it is where tools look for it: PEP 770.
        if path.name.endswith(".cdx.json"):
            files[f"{info}/sboms/{path.name}"] = path.read_bytes()
            continue
        # `scripts` goes beside python and is made executable, `data` goes below the prefix.
        to = f"scripts/{path.name}" if below.parts[0] == "bin" else f"data/{below}"
        files[f"{data}/{to}"] = path.read_bytes()
    for licence in ("LICENSE-APACHE", "LICENSE-MIT"):
        files[f"{info}/licenses/{licence}"] = (ROOT / licence).read_bytes()
    files[f"{info}/METADATA"] = metadata(name, version, summary).encode()
    files[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: edge-vae packaging/wheel.py\n"
        f"Root-Is-Purelib: false\nTag: {tag}\n").encode()
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={digest}", len(content)])
    rows.writerow([f"{info}/RECORD", "", ""])
    files[f"{info}/RECORD"] = record.getvalue().encode()

    out.mkdir(parents=True, exist_ok=True)
    wheel = out / f"{stem}-{tag}.whl"
    moment = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, moment)
            mode = 0o755 if path.startswith(f"{data}/scripts/") else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    print(wheel)


if __name__ == "__main__":
    main()
