"""Everything that is to be known of a GPU, in one run. See README.md here."""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, shape_inference

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def gpu() -> str | None:
    """Name and driver of the first GPU."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True)
        if found.returncode == 0 and found.stdout.strip():
            return found.stdout.splitlines()[0]
    board = Path("/proc/device-tree/model")
    if board.is_file() and "Jetson" in (name := board.read_text().strip("\0\n")):
        return name
    return None


def built(kind: str, name: str, profile: str) -> str:
    """Builds a program of this project and gives its path."""
    command = ["cargo", "build", "--profile", profile, "--workspace", f"--{kind}", name]
    command += ["--message-format", "json"]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    for message in map(json.loads, out.splitlines()):
        if message.get("executable") and message["target"]["name"] == name:
            program = message["executable"]
    return program


class Model:
    """The graphs of a bundle, with the same random inputs for all who run them."""

    def __init__(self, folder: Path):
        self.folder = folder
        manifest = (folder / "manifest.toml").read_text()
        names = sorted(path.name for path in folder.glob("*.onnx") if path.name in manifest)
        self.graphs = {name: onnx.load(folder / name) for name in names}

    @staticmethod
    def shape(value, batch: int) -> list[int]:
        dims = value.type.tensor_type.shape.dim
        return [batch] + [dim.dim_value for dim in dims[1:]]

    def write_inputs(self, scratch: Path, batch: int) -> None:
        random = numpy.random.default_rng(1)
        for name, model in self.graphs.items():
            weights = {weight.name for weight in model.graph.initializer}
            for value in model.graph.input:
                if value.name not in weights:
                    values = random.standard_normal(self.shape(value, batch), numpy.float32)
                    values.tofile(scratch / f"{name}.{value.name}.{batch}.f32")

    def multiplications(self, name: str) -> float:
        """Multiply-adds of a graph for one frame, of convolutions and matrix products."""
        model = onnx.ModelProto()
        model.CopyFrom(self.graphs[name])
        for value in list(model.graph.input) + list(model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        model = shape_inference.infer_shapes(model, data_prop=True)
        shapes = {weight.name: list(weight.dims) for weight in model.graph.initializer}
        graph = model.graph
        for value in list(graph.value_info) + list(graph.input) + list(graph.output):
            dims = value.type.tensor_type.shape.dim
            shapes.setdefault(value.name, [dim.dim_value for dim in dims])
        total = 0.0
        for node in graph.node:
            size = lambda name: float(numpy.prod(shapes.get(name) or [0]))
            kernel = shapes.get(node.input[1], []) if len(node.input) > 1 else []
            if node.op_type == "Conv":
                total += size(node.output[0]) * float(numpy.prod(kernel[1:]))
            elif node.op_type == "ConvTranspose":
                total += size(node.input[0]) * float(numpy.prod(kernel[1:]))
            elif node.op_type in ("MatMul", "Gemm") and shapes.get(node.input[0]):
                total += size(node.output[0]) * shapes[node.input[0]][-1]
        return total


def python_session(onnx_bytes: bytes, device: str, batch_name: str | None, batch: int):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if batch_name:
        options.add_free_dimension_override_by_name(batch_name, batch)
    provider = PROVIDERS[device]
    settings = [{"use_tf32": "0"}] if device == "cuda" else [{}]
    session = onnxruntime.InferenceSession(onnx_bytes, options, [provider], settings)
    if session.get_providers()[0] != provider:
        sys.exit(f"Python's onnxruntime does not run on {provider}: install onnxruntime-gpu")
    return session


def timed(run, seconds: float) -> tuple[float, float]:
    """Least and median milliseconds."""
    run()
    times, began = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return min(times), statistics.median(times)


def peak(device: str, seconds: float) -> float:
    """Multiply-adds a second of a large matrix product: what the device can do in fp32."""
    side = 4096 if device == "cuda" else 1024
    info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side])
    # Sums come back in place of the product, whose way back would count.
    nodes = [
        helper.make_node("MatMul", ["a", "a"], ["b"]),
        helper.make_node("ReduceMax", ["b"], ["c"], keepdims=0),
    ]
    out = helper.make_tensor_value_info("c", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "peak", [info("a")], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = python_session(model.SerializeToString(), device, None, 1)
    values = numpy.ones([side, side], numpy.float32)
    on_device = onnxruntime.OrtValue.ortvalue_from_numpy(values, device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("a", on_device)
    binding.bind_output("c", "cpu")
    least, _ = timed(lambda: session.run_with_iobinding(binding), seconds)
    return side**3 / (least / 1000)


def inference(model: Model, program: str, device: str, batches: list[int], seconds: float) -> bool:
    top = peak(device, seconds)
    print(f"\n## Inference\n\nPeak of a matrix product in fp32: {2 * top / 1e12:.2f} TFLOP/s\n")
    print("| graph | batch | edge-vae, ms | onnxruntime, ms | ratio | frames/s | of peak | difference |")
    print("|---|---|---|---|---|---|---|---|")
    agrees = True
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for batch in batches:
            model.write_inputs(scratch, batch)

            def ours(which: str, runs: float) -> dict:
                command = [program, model.folder, scratch, which, batch, runs]
                command = list(map(str, command))
                out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
                return {(r := json.loads(line))["graph"]: r for line in out.stdout.splitlines()}

            ours("tract", 0.0)
            records = ours(device, seconds)
            for graph, record in records.items():
                proto = model.graphs[graph]
                dim = proto.graph.input[0].type.tensor_type.shape.dim[0]
                session = python_session(
                    proto.SerializeToString(), device, dim.dim_param or None, batch
                )
                read = lambda tensor, end: numpy.fromfile(
                    scratch / f"{graph}.{tensor.name}.{batch}{end}.f32", numpy.float32
                )
                inputs = {
                    value.name: read(value, "").reshape([batch] + value.shape[1:])
                    for value in session.get_inputs()
                }
                _, theirs = timed(lambda: session.run(None, inputs), seconds)
                difference = 0.0
                for output in session.get_outputs():
                    found, expected = read(output, f".{device}"), read(output, ".tract")
                    scale = numpy.maximum(1, numpy.abs(expected))
                    difference = max(difference, float(numpy.max(numpy.abs(found - expected) / scale)))
                # What golden checks allow of a tensor.
                agrees &= difference <= 1e-4
                rate = 1000 * batch / record["median"]
                share = rate * model.multiplications(graph) / top
                print(
                    f"| {graph} | {batch} | {record['median']:.3f} | {theirs:.3f} "
                    f"| {record['median'] / theirs:.2f} | {rate:.0f} | {100 * share:.1f} % "
                    f"| {difference:.1e} |",
                    flush=True,
                )
    print(f"\n{'All agree' if agrees else 'DISAGREES'} with tract on the CPU (1e-4 allowed).")
    return agrees


def engines(model: Model, program: str) -> None:
    print("\n## TensorRT engines\n")
    for precision in ["fp32", "fp16", "int8"]:
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "EDGE_VAE_CACHE": cache}
            for turn in ["first", "again"]:
                command = [program, "engine", "build", "--model", str(model.folder)]
                began = time.perf_counter()
                ran = subprocess.run(
                    command + ["--precision", precision],
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                took = time.perf_counter() - began
                last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
                print(f"- {precision}, {turn}: exit {ran.returncode}, {took:.1f} s; {last}", flush=True)
                if ran.returncode != 0:
                    break


def verdicts(model: Model, program: str, devices: list[str]) -> None:
    """The whole way of a frame, golden check included."""
    print("\n## Golden check\n")
    for device in devices:
        command = [program, "model", "verify", str(model.folder), "--device", device]
        ran = subprocess.run(command, capture_output=True, text=True)
        text = (ran.stdout if ran.returncode == 0 else ran.stderr).strip().splitlines()
        print(f"- {device}: {text[0] if text else 'no message'}", flush=True)


def training(device: str, steps: int) -> None:
    print("\n## Training\n")
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed here: `pip install torch` to compare a training step.")
        return
    script = ROOT / "benches/training/compare_pytorch.py"
    command = [sys.executable, str(script), "--device", device, "--steps", str(steps)]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(ran.stdout.strip() or "it failed, see above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models/surface")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each time")
    parser.add_argument("--steps", type=int, default=20, help="of training")
    parser.add_argument("--profile", default="release", help="Cargo profile of our side")
    parser.add_argument("--cpu", action="store_true", help="try all but the GPU's parts on the CPU")
    options = parser.parse_args()
    found = gpu()
    if not found and not options.cpu:
        sys.exit(
            "no NVIDIA GPU here: nvidia-smi finds none and the board is no Jetson; nothing was "
            "measured (--cpu tries the parts that need none)"
        )
    device = "cpu" if options.cpu else "cuda"
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = sorted(capi.glob("libonnxruntime.so*"))[0]
    os.environ.setdefault("ORT_DYLIB_PATH", str(library))
    print(f"# {found if device == 'cuda' else 'a dry run on the CPU: no figures of a GPU'}\n")
    print(f"{platform.machine()}, onnxruntime {onnxruntime.__version__}, model {options.model.name}")
    graphs = built("bench", "graphs", options.profile)
    program = built("bin", "edge-vae", options.profile)
    model = Model(options.model.resolve())
    agrees = inference(model, graphs, device, options.batches, options.seconds)
    verdicts(model, program, ["cpu"] if options.cpu else ["cpu", "cuda", "tensorrt"])
    if options.cpu:
        print("\n## TensorRT engines\n\nleft out: they need a GPU")
    else:
        engines(model, program)
    training(device, options.steps)
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
