"""One measurement of anomalib in a process of its own; `run.py` starts it. Prints a JSON object.

    peer.py fit KIND BACKBONE FRAMES OUT THREADS [WIDTHxHEIGHT…]   fits; exports once for each size
    peer.py judge torch|openvino MODEL THREADS SECONDS FRAMES…     0 seconds: the first frame, once
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ["TRUST_REMOTE_CODE"] = "1"  # the file was written by `fit` here


def fit(kind, backbone, frames, out, threads, *sizes):
    began = time.perf_counter()
    import torch

    torch.set_num_threads(int(threads))
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Padim, Patchcore

    model = {"padim": Padim, "patchcore": Patchcore}[kind]
    # Random weights: the network is not there offline, and takes the same time.
    model = model(
        backbone=backbone,
        pre_trained=False,
        visualizer=False,
        pre_processor=model.configure_pre_processor(image_size=(256, 256)),
    )
    # A tenth of the frames is held out for the threshold.
    data = Folder(
        name="frames",
        normal_dir=Path(frames).resolve(),
        test_split_mode="none",
        val_split_mode="from_train",
        val_split_ratio=0.1,
        num_workers=0,
        seed=1,
    )
    engine = Engine(accelerator="cpu", devices=1, default_root_dir=out, logger=False)
    start = time.perf_counter()
    engine.fit(model, datamodule=data)
    end = time.perf_counter()
    engine.export(model, "torch", export_root=out)
    failed = {}
    for size in sizes:
        width, height = map(int, size.split("x"))
        try:
            engine.export(model, "openvino", export_root=f"{out}/{size}", input_size=(height, width))
        except Exception as error:  # whatever torch's exporter throws
            failed[size] = f"{type(error).__name__}: {error}"[:300]
    return {"fit_s": end - start, "with_imports_s": end - began, "not_exported": failed}


def judge(engine, model, threads, seconds, *frames):
    os.chdir(Path(model).parent)  # OpenVINOInferencer keeps compiled models below
    import torch

    torch.set_num_threads(int(threads))
    from anomalib.deploy import OpenVINOInferencer, TorchInferencer

    if engine == "torch":
        inferencer = TorchInferencer(model, device="cpu")
    else:
        config = {"INFERENCE_NUM_THREADS": int(threads), "INFERENCE_PRECISION_HINT": "f32"}
        inferencer = OpenVINOInferencer(model, device="CPU", config=config)
    times, first = [], None
    began = time.perf_counter()
    with torch.inference_mode():
        while first is None or time.perf_counter() - began < float(seconds):
            start = time.perf_counter()
            verdict = inferencer.predict(frames[len(times) % len(frames)])
            label = bool(verdict.pred_label.item())
            first = label if first is None else first
            times.append(1000 * (time.perf_counter() - start))
    return {"ms": times[1:] or times, "anomalous": first}


if __name__ == "__main__":
    kept, sys.stdout = sys.stdout, sys.stderr
    result = {"fit": fit, "judge": judge}[sys.argv[1]](*sys.argv[2:])
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result), file=kept)
