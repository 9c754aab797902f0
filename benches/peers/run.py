#!/usr/bin/env python3
"""This project beside its peers on this machine. See README.md here."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy
import onnx
import onnxruntime
import openvino
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SIZES = {"256×256": (256, 256), "1080p": (1920, 1080), "4K": (3840, 2160)}
PEERS = {
    "PaDiM (resnet18)": ("padim", "resnet18"),
    "PatchCore (resnet18)": ("patchcore", "resnet18"),
}


def spread(times: list[float]) -> dict:
    """Median, quartiles, and the fastest tenth, which other work on the machine disturbs least."""
    fast, low, middle, high = numpy.percentile(times, [10, 25, 50, 75])
    return {"median": middle, "quartiles": [low, high], "fast": fast, "runs": len(times)}


def show(value: dict | None) -> str:
    """Median (quartiles; fastest tenth)."""
    if value is None:
        return "–"
    if "failed" in value:
        return f"failed: {value['failed']}"
    low, high = value["quartiles"]
    digits = 2 if value["median"] < 10 else 1 if value["median"] < 100 else 0
    low, middle, high, fast = (
        f"{number:.{digits}f}" for number in (low, value["median"], high, value["fast"])
    )
    return f"{middle} ({low}–{high}; {fast})"


def table(head: list[str], rows: list[list[str]]) -> None:
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |")
    print()


def ran(command: list) -> tuple[str, float, float, float]:
    """Standard output, seconds, peak memory in MiB and CPU seconds of a whole process."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as messages:
        command = list(map(str, command))
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, text=True)
        out = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if status:
            messages.seek(0)
            raise RuntimeError(messages.read().strip()[-300:] or f"{command[0]}: {status}")
    seconds = time.perf_counter() - began
    return out, seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def peer(*arguments) -> dict:
    return json.loads(ran([sys.executable, HERE / "peer.py", *arguments])[0])


def in_turn(contestants: dict, rounds: int) -> dict:
    """Each contestant gives the times of one round; all of a round run one after the other."""
    times = {name: [] for name in contestants}
    failed = {}
    for _ in range(rounds):
        for name, run in contestants.items():
            if name in failed:
                continue
            try:
                times[name] += run()
            except Exception as error:
                failed[name] = str(error).splitlines()[-1][:160]
    return {
        name: {"failed": failed[name]} if name in failed else spread(values)
        for name, values in times.items()
    }


def repeated(run, seconds: float) -> list[float]:
    """Milliseconds of CPU of each run, which other work on the machine changes least."""
    run()
    times, began = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        start = time.process_time()
        run()
        times.append(1000 * (time.process_time() - start))
    return times


def frame_of_ours(options, backend: str, folder: Path) -> list[float]:
    """Milliseconds of CPU of a normal frame: more frames in the same program, less its start."""
    command = [options.edge_vae, "bench", "--quiet", "--json", "--model", folder]
    command += ["--backend", backend, "--device", "cpu", "--threads", 1, "--jobs", 1, "--seconds"]
    (few, _, _, less), (many, _, _, more) = (
        ran([*command, seconds]) for seconds in (options.seconds, 4 * options.seconds)
    )
    frames = json.loads(many)["frames"] - json.loads(few)["frames"]
    return [1000 * (more - less) / frames] if frames > 0 else []


def bench(options, backend: str, frames=(), model=None) -> dict:
    """A line of `edge-vae bench` on one thread."""
    command = [options.edge_vae, "bench", "--quiet", "--json", "--model", model or options.model[0]]
    command += ["--backend", backend, "--device", "cpu", "--threads", 1, "--jobs", 1]
    return json.loads(ran([*command, "--seconds", options.seconds, *frames])[0])


def graphs(options, folder: Path, scratch: Path) -> dict:
    """CPU time of each graph of a bundle, and of a whole normal frame by this project."""
    found = {}
    for path in sorted(folder.glob("*.onnx")):
        graph = onnx.load(path)
        weights = {weight.name for weight in graph.graph.initializer}
        inputs, random = {}, numpy.random.default_rng(1)
        for value in graph.graph.input:
            if value.name not in weights:
                shape = [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
                inputs[value.name] = random.standard_normal(shape, numpy.float32)
                inputs[value.name].tofile(scratch / f"{value.name}.f32")

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.add_free_dimension_override_by_name("N", 1)
        session = onnxruntime.InferenceSession(path, settings, ["CPUExecutionProvider"])
        expected = session.run(None, inputs)

        network = openvino.Core().read_model(path)
        network.reshape({name: list(value.shape) for name, value in inputs.items()})
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        settings["PERFORMANCE_HINT"] = "LATENCY"
        request = openvino.Core().compile_model(network, "CPU", settings).create_infer_request()

        # Written anew: rten 0.27 takes no packed lists in attributes, which the bundle has.
        onnx.save(graph, scratch / "rten.onnx")

        def run_rten() -> list[float]:
            out = ran([options.rten, scratch / "rten.onnx", scratch, options.seconds])[0]
            for output, value in zip(graph.graph.output, expected, strict=True):
                ours = numpy.fromfile(scratch / f"{output.name}.rten.f32", numpy.float32)
                if not numpy.allclose(ours, value.ravel(), rtol=1e-2, atol=1e-2):
                    worst = numpy.abs(ours - value.ravel()).max()
                    raise RuntimeError(f"{output.name} differs by {worst:.2g}")
            return list(map(float, out.split()))

        contestants = {
            "ONNX Runtime": lambda: repeated(lambda: session.run(None, inputs), options.seconds),
            "OpenVINO": lambda: repeated(lambda: request.infer(inputs), options.seconds),
        }
        if options.rten.exists():
            contestants["rten"] = run_rten
        found[path.name] = in_turn(contestants, options.rounds)
    whole = {
        backend: (lambda backend=backend: frame_of_ours(options, backend, folder))
        for backend in ("tract", "ort")
    }
    found["edge-vae, a normal frame"] = in_turn(whole, options.rounds)
    return found


def drawn(source: list[Path], scratch: Path, count: int) -> dict[str, list[Path]]:
    """JPEG files of each size, of photographs (or drawn frames) enlarged."""
    files = {}
    for name, size in SIZES.items():
        folder = scratch / "frames" / f"{size[0]}x{size[1]}"
        folder.mkdir(parents=True, exist_ok=True)
        files[name] = [folder / f"{place:03}.jpg" for place in range(count)]
        for path, original in zip(files[name], source, strict=False):
            if not path.exists():
                Image.open(original).convert("RGB").resize(size).save(path, quality=90)
    return files


def fitted(source: list[Path], scratch: Path, few: int) -> tuple[dict, dict]:
    """anomalib's models, fitted to few frames and exported for each size, where not done before."""
    frames = scratch / "few"
    frames.mkdir(exist_ok=True)
    for path in source[:few]:
        shutil.copy(path, frames)
    models, failed = {}, {}
    for name, (kind, backbone) in PEERS.items():
        out = scratch / f"{kind}-{backbone}"
        if not (out / "fitted.json").exists():
            sizes = [f"{width}x{height}" for width, height in SIZES.values()]
            result = peer("fit", kind, backbone, frames, out, 2, *sizes)
            (out / "fitted.json").write_text(json.dumps(result))
        models[name] = out
        failed[name] = json.loads((out / "fitted.json").read_text())["not_exported"]
    return models, failed


def exported(out: Path, engine: str, size: tuple[int, int]) -> Path:
    below = out if engine == "torch" else out / f"{size[0]}x{size[1]}"
    pattern = "*.pt" if engine == "torch" else "*.xml"
    return next(iter(sorted(below.rglob(pattern))), below / "not exported")


def frames(options, models: dict, files: dict, fresh: bool) -> dict:
    """File → verdict, in one process or in a fresh one each time."""
    found = {}
    for size_name, size in SIZES.items():
        if fresh and size_name != "256×256":
            continue
        paths, peaks, cpu = files[size_name], {}, {}

        def ours(backend: str) -> list[float]:
            if fresh:
                command = [options.edge_vae, "score", "--quiet", "--model", options.model[-1]]
                command += ["--backend", backend, "--device", "cpu", "--threads", 1, paths[0]]
                _, seconds, peak, busy = ran(command)
                peaks[f"edge-vae, {backend}"] = peak
                cpu.setdefault(f"edge-vae, {backend}", []).append(1000 * busy)
                return [1000 * seconds]
            line = bench(options, backend, paths, options.model[-1])
            peaks[f"edge-vae, {backend}"] = line["peak_memory_bytes"] / 2**20
            return [line["latency_ms"]["p50"]]

        def theirs(label: str, out: Path, engine: str) -> list[float]:
            model = exported(out, engine, size)
            command = [sys.executable, HERE / "peer.py", "judge", engine, model, 1]
            out, seconds, peaks[label], busy = ran(
                [*command, 0 if fresh else options.seconds, *paths]
            )
            if fresh:
                cpu.setdefault(label, []).append(1000 * busy)
            return [1000 * seconds] if fresh else [statistics.median(json.loads(out)["ms"])]

        contestants = {
            f"edge-vae, {backend}": (lambda backend=backend: ours(backend))
            for backend in ("tract", "ort")
        }
        for name, out in models.items():
            for engine in ("torch", "openvino"):
                label = f"{name}, {engine}"
                contestants[label] = lambda label=label, out=out, engine=engine: theirs(
                    label, out, engine
                )
        results = in_turn(contestants, options.rounds)
        for name, value in results.items():
            value["peak_mib"] = peaks.get(name)
            value["cpu_ms"] = spread(cpu[name])["median"] if name in cpu else None
        found[size_name] = results
        print(size_name, json.dumps(results, ensure_ascii=False), file=sys.stderr)  # progress
    return found


def fits(options, source: list[Path], scratch: Path) -> dict:
    """Time to a working detector, once each, on two threads."""
    folder = scratch / f"fit-{len(source)}"
    folder.mkdir(exist_ok=True)
    for path in source:
        # All 256×256, whatever the photographs are.
        Image.open(path).convert("RGB").resize((256, 256)).save(folder / f"{path.stem}.png")
    out = scratch / "ours"
    for old in (out, out.with_name("ours.training")):
        shutil.rmtree(old, ignore_errors=True)
    command = [options.edge_vae_train, "fit", "--quiet", folder, "--out", out, "--vae", "off"]
    _, seconds, peak, _ = ran(command)
    found = {"edge-vae-train fit --vae off": {"seconds": seconds, "peak_mib": peak}}
    for name, (kind, backbone) in PEERS.items():
        began = time.perf_counter()
        line = peer("fit", kind, backbone, folder, scratch / f"fit-{kind}", 2)
        seconds = time.perf_counter() - began
        found[name] = {"seconds": seconds, "fit_s": line["fit_s"], "peak_mib": line["peak_mib"]}
    return found


def bytes_below(folder: Path, without: tuple[str, ...] = ()) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and not any(part in without for part in path.parts)
    )


def sizes(options) -> dict:
    venv = Path(sys.prefix)
    bundle = bytes_below(options.model[-1])
    return {
        "edge-vae": options.edge_vae.stat().st_size,
        "bundle": bundle,
        "environment of the peers": bytes_below(venv),
        "the same without CUDA and triton": bytes_below(venv, ("nvidia", "triton")),
    }


def machine() -> dict:
    cpu = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "?"
    )
    names = ("anomalib", "openvino", "onnxruntime", "torch", "torchvision", "onnx")
    git = ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "commit": subprocess.run(git, capture_output=True, text=True).stdout.strip(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = [ROOT / "models/surface"]
    parser.add_argument("parts", nargs="*", help="graphs, frames, start, fit, size [all]")
    parser.add_argument("--model", type=Path, nargs="+", default=default, help="the last judges")
    parser.add_argument("--edge-vae", type=Path, default=ROOT / "target/dist/edge-vae")
    parser.add_argument("--edge-vae-train", type=Path, default=ROOT / "target/dist/edge-vae-train")
    parser.add_argument("--rten", type=Path, default=ROOT / "target/peers/rten/release/rten-graph")
    parser.add_argument("--frames", type=Path, default=ROOT / "../shared/data/mtd/train/good")
    parser.add_argument("--fit-frames", type=int, default=762)
    parser.add_argument("--few", type=int, default=32, help="frames that the peers judge by")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--scratch", type=Path, default=ROOT / "target/peers/scratch")
    parser.add_argument("--json", type=Path, help="write all results to this file too")
    parser.add_argument("--peers", nargs="+", default=["padim", "patchcore"])
    options = parser.parse_args()
    for name, (kind, _) in list(PEERS.items()):
        if kind not in options.peers:
            del PEERS[name]
    parts = options.parts or ["graphs", "frames", "start", "fit", "size"]
    options.scratch.mkdir(parents=True, exist_ok=True)
    options.scratch = options.scratch.resolve()
    os.environ["OMP_NUM_THREADS"] = "1"

    if not options.frames.is_dir():
        options.frames = options.scratch / "synth/train/good"
        if not options.frames.is_dir():
            command = [options.edge_vae_train, "synth", "--quiet", "--out"]
            ran([*command, options.scratch / "synth", "--train", options.fit_frames])
    source = sorted(path for path in options.frames.iterdir() if path.is_file())
    results = {"machine": machine()}
    print(", ".join(f"{name} {value}" for name, value in results["machine"].items()), "\n")

    if "graphs" in parts:
        for folder in options.model:
            found = results.setdefault("graphs", {})[folder.name] = graphs(
                options, folder.resolve(), options.scratch
            )
            whole = found.pop("edge-vae, a normal frame")
            engines = ["ONNX Runtime", "OpenVINO", "rten"]
            rows = [[name, *(show(row.get(e)) for e in engines)] for name, row in found.items()]
            print(f"Graphs of `{folder.name}`, milliseconds of CPU, one thread:\n")
            table(["graph", *engines], rows)
            print(f"edge-vae, a whole normal frame: tract {show(whole['tract'])}, ort {show(whole['ort'])}\n")
            found["whole"] = whole
    if "frames" in parts or "start" in parts:
        files = drawn(source, options.scratch, 8)
        models, results["not_exported"] = fitted(source, options.scratch, options.few)
        for part, fresh in (("frames", False), ("start", True)):
            if part not in parts:
                continue
            found = results[part] = frames(options, models, files, fresh)
            print(f"{'Process start' if fresh else 'JPEG file'} → verdict, milliseconds:\n")
            rows = []
            for size, row in found.items():
                base = row["edge-vae, tract"].get("median")
                for name, value in row.items():
                    middle = value.get("median")
                    ratio = f"{middle / base:.1f}×" if middle and base else "–"
                    peak = f"{value['peak_mib']:.0f}" if value.get("peak_mib") else "–"
                    busy = f"{value['cpu_ms']:.0f}" if value.get("cpu_ms") else "–"
                    rows.append([size, name, show(value), ratio, busy, peak])
            table(["frame", "program", "ms", "against tract", "CPU ms", "peak MiB"], rows)
    if "fit" in parts:
        found = results["fit"] = fits(options, source[: options.fit_frames], options.scratch)
        count = len(source[: options.fit_frames])
        print(f"Time to a detector from {count} frames of 256×256, two threads, once:\n")
        rows = [
            [name, f"{row['seconds']:.0f}", f"{row.get('fit_s', row['seconds']):.0f}"]
            + [f"{row['peak_mib']:.0f}"]
            for name, row in found.items()
        ]
        table(["program", "seconds", "of it fitting", "peak MiB"], rows)
    if "size" in parts:
        found = results["size"] = sizes(options)
        table(["to install", "MB"], [[n, f"{value / 1e6:.1f}"] for n, value in found.items()])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
