#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, small and valid, to `fuzz/corpus/TARGET/`.

Needs numpy, pillow and onnx. A finding that was mended is added to a corpus by hand.
"""

import base64
import hashlib
import io
import json
import pathlib
import struct

import numpy
import onnx
import onnx.helper as helper
from PIL import Image

ROOT = pathlib.Path(__file__).parent


def seed(target, name, content):
    path = ROOT / "corpus" / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def gradient(mode, size=(12, 9)):
    columns, rows = numpy.meshgrid(numpy.arange(size[0]), numpy.arange(size[1]))
    samples = (columns * 19 + rows * 7) % 256
    if mode == "I;16":
        return Image.fromarray((samples * 257).astype(numpy.uint16))
    return Image.fromarray(samples.astype(numpy.uint8)).convert(mode)


def encoded(format, mode, **options):
    file = io.BytesIO()
    gradient(mode).save(file, format, **options)
    return file.getvalue()


def pictures():
    jpeg = encoded("JPEG", "RGB", quality=60)
    png = encoded("PNG", "RGB")
    files = {
        "grey.jpg": encoded("JPEG", "L"),
        "colour.jpg": jpeg,
        "progressive.jpg": encoded("JPEG", "RGB", progressive=True),
        "colour.png": png,
        "grey16.png": encoded("PNG", "I;16"),
        "palette.png": encoded("PNG", "P"),
        "alpha.png": encoded("PNG", "RGBA"),
        "colour.bmp": encoded("BMP", "RGB"),
        "palette.gif": encoded("GIF", "P"),
        "colour.webp": encoded("WEBP", "RGB"),
        "lossless.webp": encoded("WEBP", "RGB", lossless=True),
        "colour.tif": encoded("TIFF", "RGB"),
        "packed.tif": encoded("TIFF", "L", compression="tiff_lzw"),
        "grey16.tif": encoded("TIFF", "I;16"),
        "grey.pgm": encoded("PPM", "L"),
        "colour.ppm": encoded("PPM", "RGB"),
        "text.pgm": b"P2\n# a comment\n3 2 255\n0 1 2\n3 4 255\n",
        "colour.qoi": b"qoif" + struct.pack(">IIBB", 2, 1, 3, 0)
        + bytes([0xFE, 9, 8, 7, 0xC0, 0, 0, 0, 0, 0, 0, 0, 1]),
    }
    frames = [gradient("P"), gradient("P").transpose(Image.Transpose.ROTATE_180)]
    animation = io.BytesIO()
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    files["animation.gif"] = animation.getvalue()
    for name, content in files.items():
        seed("picture", name, content)
    return jpeg, png


def raw_frames():
    for number in range(19):
        header = bytes([number, 6, 4, number % 5, number % 2])
        seed("raw_frame", f"format-{number:02}", header + bytes(range(6 * 4 * 8)))
    seed("raw_frame", "odd-size", bytes([15, 5, 3, 0, 0]) + bytes(range(64)))


def picture_streams(jpeg, png):
    part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
    ppm = b"P6 4 2 255\n" + bytes(24)
    y4m = b"YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420jpeg\n" + 2 * (b"FRAME\n" + bytes(12))
    pam = b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes(12)
    streams = {
        "jpeg": b"\x00" + jpeg + b"\x00\xff" + jpeg,
        "jpeg-recognised": b"\x1d" + 2 * jpeg,
        "multipart": b"\x41" + part + jpeg + b"\r\n" + part + jpeg + b"\r\n--frame--",
        "png": b"\x05" + 2 * png,
        "ppm": b"\x11" + 3 * ppm,
        "bitmap": b"\x03P4 9 2\n" + bytes(4),
        "pam": b"\x21" + 2 * pam,
        "y4m": b"\x39" + y4m,
    }
    for name, content in streams.items():
        seed("picture_stream", name, content)


def arrays():
    def npy(array):
        file = io.BytesIO()
        numpy.save(file, array)
        return file.getvalue()

    def npz(save, **named):
        file = io.BytesIO()
        save(file, **named)
        return file.getvalue()

    row = numpy.linspace(-1, 1, 6, dtype=numpy.float32)
    seed("npy", "row.npy", npy(row))
    seed("npy", "map.npy", npy(row.reshape(1, 2, 3)))
    seed("npy", "double.npy", npy(row.astype(numpy.float64)))
    seed("npy", "columns.npy", npy(numpy.asfortranarray(row.reshape(2, 3))))
    seed("npy", "integers.npy", npy(numpy.arange(3)))
    seed("npy", "infinite.npy", npy(numpy.array([numpy.inf], dtype=numpy.float32)))
    seed("npy", "arrays.npz", npz(numpy.savez, mean=row, latent=row[None]))
    seed("npy", "packed.npz", npz(numpy.savez_compressed, mean=row))


def graphs():
    def model(nodes, weights=(), shape=("N", 1, 4, 4)):
        value = lambda name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], list(weights))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])

    weight = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1, 1, 3, 3], [0.1] * 9)
    convolution = model(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], [weight]
    )
    helper.set_model_props(convolution, {"edge_vae": "{}"})
    seed("onnx", "convolution.onnx", convolution.SerializeToString())
    identity = model([helper.make_node("Identity", ["x"], ["y"])])
    seed("onnx", "identity.onnx", identity.SerializeToString())
    fixed = model([helper.make_node("Relu", ["x"], ["y"])], shape=(1, 3))
    seed("onnx", "fixed-batch.onnx", fixed.SerializeToString())
    dangling = model([helper.make_node("Add", ["x", "z"], ["y"])])
    seed("onnx", "dangling.onnx", dangling.SerializeToString())
    ints = lambda name, values: helper.make_tensor(
        name, onnx.TensorProto.INT64, [len(values)], numpy.int64(values).tobytes(), raw=True
    )
    # Sizes that are computed, and operators that make tensors larger.
    sizes = model(
        [
            helper.make_node("Shape", ["x"], ["all"]),
            helper.make_node("Slice", ["all", "two", "four"], ["sides"]),
            helper.make_node("Mul", ["sides", "pair"], ["larger"]),
            helper.make_node("Concat", ["one", "one", "larger"], ["size"], axis=0),
            helper.make_node("Resize", ["x", "", "", "size"], ["a"]),
            helper.make_node("Pad", ["a", "pads"], ["b"]),
            helper.make_node("Tile", ["b", "times"], ["c"]),
            helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("ConvTranspose", ["d", "w"], ["e"], strides=[2, 2]),
            helper.make_node("Reshape", ["e", "flat"], ["f"]),
            helper.make_node("Transpose", ["f"], ["g"], perm=[1, 0]),
            helper.make_node("MatMul", ["f", "g"], ["h"]),
            helper.make_node("ReduceMean", ["h"], ["i"], axes=[1]),
            helper.make_node("Expand", ["i", "size"], ["y"]),
        ],
        [
            weight,
            ints("one", [1]),
            ints("two", [2]),
            ints("four", [4]),
            ints("pair", [2, 2]),
            ints("pads", [0, 0, 1, 1, 0, 0, 1, 1]),
            ints("times", [1, 1, 2, 1]),
            ints("flat", [1, -1]),
        ],
    )
    seed("onnx", "sizes.onnx", sizes.SerializeToString())


def addresses():
    for number, text in enumerate([
        "/dev/video0?width=640&height=480&fps=30",
        "v4l2:///dev/video1",
        "csi://0",
        "rtsp://user:secret@camera:554/stream?channel=1#transport=udp&timeout=5s",
        "udp://:5000",
        "file://clip%20one.mp4?realtime=true",
        "folder:///data/line1?new=true",
        "-?format=gray8&width=64&height=48",
        "pipe:?format=rgb24&width=8&height=8 cat frames",
        "synth://surface?fps=10&defects=0.05&seed=7",
        "clip.mp4",
    ]):
        seed("source_address", f"address-{number:02}", text)


def configurations():
    example = (ROOT.parent / "examples/watch/edge-vae.toml").read_text()
    seed("configuration", "every-key.toml", example)
    seed("configuration", "one-source.toml", 'model = "m"\n[[source]]\nuri = "/dev/video0"\n')
    seed("configuration", "sinks.toml", '[[log]]\npath = "a"\n[[webhook]]\nurl = "http://h/"\n'
         '[[mqtt]]\nurl = "mqtt://user:secret@broker/line"\n')


def manifests():
    for model in sorted((ROOT.parent / "models").glob("*/manifest.toml")):
        seed("manifest", f"{model.parent.name}.toml", model.read_text())
    seed("manifest", "newer.toml", "schema_version = 99\n")


def score_lines():
    for name, values in {
        "normal": {"pred_label": "normal", "pred_score": 1.25, "map_max": 3e-2},
        "accepted": {"pred_label": "anomalous", "pred_score": 9.5, "map_max": 4, "accepted": True},
        "invalid": {"pred_label": "invalid", "pred_score": None, "map_max": None},
        "no-score": {"pred_label": "normal", "pred_score": None, "map_max": 1},
        "more-keys": {"pred_label": "normal", "pred_score": -1, "map_max": 0, "regions": [[1, 2]]},
    }.items():
        line = {"schema_version": 1, "model_id": "part-0123abcd", "path": "frames/1.png"}
        seed("score_line", name, json.dumps(line | values))


def signatures():
    digest = hashlib.sha256(b"a").hexdigest()
    root = hashlib.sha256(bytes.fromhex(digest)).hexdigest()
    annotation = {"edge-vae": {"version": 3, "expires": "2027-12-31T00:00:00Z"}}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "part", "digest": {"sha256": root}, "annotations": annotation}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": [{"name": "manifest.toml", "algorithm": "sha256", "digest": digest}],
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": ["calibration", "model.sig"],
            },
        },
    }
    seed("signature", "statement", json.dumps(statement))
    plain = statement | {"subject": [{"name": "part", "digest": {"sha256": root}}]}
    seed("signature", "plain-statement", json.dumps(plain))
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": root}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": payload,
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(bytes(70)).decode(), "keyid": ""}],
        },
    }
    seed("signature", "bundle", json.dumps(bundle))


def control_requests():
    for name, text in {
        "status": '{"command":"status","id":[1]}',
        "pause": '{"command":"pause","source":"cam"}',
        "threshold": '{"command":"threshold","false_alarm_rate":0.01}',
        "snapshot": '{"command":"snapshot","overlay":true}',
        "unknown": '{"command":"stop"}',
    }.items():
        seed("control_request", name, text)


def outbox_messages():
    for name, address, body in [
        ("event", "edge-vae/line/events", b'{"event":"opened"}'),
        ("empty", "", b""),
        ("binary", "http://server/hook", bytes(range(40))),
    ]:
        digest = hashlib.sha256(address.encode() + b"\n" + body).hexdigest()
        header = {"schema_version": 1, "address": address, "bytes": len(body), "sha256": digest}
        seed("outbox_message", name, json.dumps(header).encode() + b"\n" + body)


if __name__ == "__main__":
    jpeg, png = pictures()
    raw_frames()
    picture_streams(jpeg, png)
    arrays()
    graphs()
    addresses()
    configurations()
    manifests()
    score_lines()
    signatures()
    control_requests()
    outbox_messages()
