#!/usr/bin/env python3
"""Writes a program's bill of materials: CycloneDX 1.5, JSON.

    packaging/sbom.py PACKAGE TRIPLE OUT

Every crate that is linked, with version, licence and the SHA-256 of its source, and what else the
program carries: the weights of the backbone. Build scripts and procedural macros stay out: nothing
of them runs on the box. The time is that of SOURCE_DATE_EPOCH.
"""

import datetime
import hashlib
import json
import os
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BACKBONE = ROOT / "train/backbone/efficientnet-lite0.safetensors"


def metadata(triple):
    text = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", triple],
        cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(text)


def linked(nodes, root, macros):
    """The packages that `root` links, each with those that it links itself."""
    found, waiting = {}, [root]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        # A dependency for building or testing has a kind; one that is linked has none.
        found[package] = sorted(
            dependency["pkg"] for dependency in nodes[package]["deps"]
            if dependency["pkg"] not in macros and any(kind["kind"] is None for kind in dependency["dep_kinds"]))
        waiting += found[package]
    return found


def main():
    name, triple, out = sys.argv[1:]
    data = metadata(triple)
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    macros = {identity for identity, package in packages.items()
              if any("proc-macro" in target["kind"] for target in package["targets"])}
    root = next(identity for identity in data["workspace_members"]
                if packages[identity]["name"] == name)
    graph = linked(nodes, root, macros)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    sums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in lock["package"]}

    def reference(identity):
        return f"pkg:cargo/{packages[identity]['name']}@{packages[identity]['version']}"

    def component(identity):
        package = packages[identity]
        entry = {
            "type": "application" if identity == root else "library",
            "bom-ref": reference(identity),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(identity),
        }
        if package["license"]:
            entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if digest := sums.get((package["name"], package["version"])):
            entry["hashes"] = [{"alg": "SHA-256", "content": digest}]
        return entry

    kept = sorted(graph, key=reference)
    components = [component(identity) for identity in kept if identity != root]
    dependencies = [
        {"ref": reference(identity), "dependsOn": sorted(map(reference, graph[identity]))}
        for identity in kept]
    if name == "edge-vae-train":
        digest = hashlib.sha256(BACKBONE.read_bytes()).hexdigest()
        components.append({
            "type": "machine-learning-model",
            "bom-ref": "backbone",
            "name": "efficientnet-lite0",
            "description": "Weights of the frozen backbone; train/backbone/README.md",
            "licenses": [{"expression": "Apache-2.0"}],
            "hashes": [{"alg": "SHA-256", "content": digest}],
        })
    time = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.UTC)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(root),
            "properties": [{"name": "target", "value": triple}],
        },
        "components": components,
        "dependencies": dependencies,
    }
    # The same content, the same number.
    digest = hashlib.sha256(json.dumps(bill, sort_keys=True).encode()).hexdigest()
    bill["serialNumber"] = f"urn:uuid:{uuid.UUID(digest[:32])}"
    Path(out).write_text(json.dumps(bill, indent=2) + "\n")
    print(f"{name}: {len(components)} components in {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
