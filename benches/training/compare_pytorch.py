"""Times one training step on edge_vae_train::ops and on PyTorch, in turn. See README.md here."""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

BATCH, SIDE, CHANNELS, LATENT = 16, 128, [1, 32, 64, 128, 256], 128
FLAT = (SIDE // 16) ** 2 * CHANNELS[-1]


def our_program(device: str) -> str:
    """Builds the Rust side and gives the path of its program."""
    command = ["cargo", "bench", "--profile", "dev", "-p", "edge-vae-train", "--bench", "step"]
    if device == "cuda":
        command += ["--features", "cuda"]
    out = subprocess.run(
        command + ["--no-run", "--message-format", "json"],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    messages = (json.loads(line) for line in out.splitlines())
    programs = [m["executable"] for m in messages if m.get("target", {}).get("name") == "step"]
    return programs[-1]


class Ours:
    def __init__(self, program: str, threads: int, device: str):
        self.child = subprocess.Popen(
            [program, "--in-turn"] + ["--cuda"] * (device == "cuda"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "RAYON_NUM_THREADS": str(threads)},
        )

    def cpu(self) -> float:
        """CPU time of the child so far, in seconds (Linux, in ticks of 10 ms)."""
        stat = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def step(self) -> tuple[float, float]:
        before = self.cpu()
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        wall = float(self.child.stdout.readline())
        return wall, 1000 * (self.cpu() - before)


class PyTorch:
    def __init__(self, threads: int, channels_last: bool, device: str):
        import torch
        from torch import nn

        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.torch, self.device = torch, device
        # As the other side: full 32-bit floats.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                encoder, decoder = [], []
                for few, many in zip(CHANNELS, CHANNELS[1:]):
                    encoder += [nn.Conv2d(few, many, 4, 2, 1), nn.BatchNorm2d(many), nn.ReLU()]
                for many, few in zip(CHANNELS[:0:-1], CHANNELS[-2::-1]):
                    decoder.append(nn.ConvTranspose2d(many, few, 4, 2, 1))
                    if few > 1:
                        decoder += [nn.BatchNorm2d(few), nn.ReLU()]
                self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
                self.mean, self.log_variance = nn.Linear(FLAT, LATENT), nn.Linear(FLAT, LATENT)
                self.expand = nn.Linear(LATENT, FLAT)

            def forward(self, x, noise):
                h = self.encoder(x).flatten(1)
                mean, log_variance = self.mean(h), self.log_variance(h)
                z = mean + torch.exp(0.5 * log_variance) * noise
                h = self.expand(z).view(-1, CHANNELS[-1], SIDE // 16, SIDE // 16)
                y = self.decoder(h)
                variance = torch.ones_like(y)
                nll = nn.functional.gaussian_nll_loss(y, x, variance, full=True, reduction="sum")
                kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
                return (nll + kl) / BATCH

        self.network = Network().to(device)
        self.x = torch.randn(BATCH, 1, SIDE, SIDE, device=device)
        if channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
            self.x = self.x.to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), 1e-3, fused=True)

    def step(self) -> tuple[float, float]:
        noise = self.torch.randn(BATCH, LATENT, device=self.device)
        wall, cpu = time.perf_counter(), time.process_time()
        self.optimiser.zero_grad(set_to_none=True)
        self.network(self.x, noise).backward()
        self.optimiser.step()
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--program", help="the built Rust side; default: build it")
    parser.add_argument(
        "--channels-last", action="store_true", help="PyTorch in N×H×W×C, if faster on your CPU"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    device = options.device
    program = options.program or our_program(device)
    sides = {
        "edge-vae-train": Ours(program, options.threads, device),
        "PyTorch": PyTorch(options.threads, options.channels_last, device),
    }
    times = {name: [] for name in sides}
    for turn in range(options.steps + 2):
        for name, side in sides.items():
            measured = side.step()
            if turn >= 2:  # the first steps allocate
                times[name].append(measured)
    medians = {}
    for name, measured in times.items():
        wall, cpu = zip(*measured)
        low, middle, high = statistics.quantiles(wall, n=4)
        medians[name] = middle, statistics.mean(cpu)
        print(
            f"{name}: {middle:.0f} ms a step (quartiles {low:.0f} to {high:.0f}, "
            f"least {min(wall):.0f}); CPU time {statistics.mean(cpu):.0f} ms"
        )
    ours, theirs = medians["edge-vae-train"], medians["PyTorch"]
    print(f"ours/theirs: {ours[0] / theirs[0]:.2f} wall, {ours[1] / theirs[1]:.2f} CPU")


if __name__ == "__main__":
    main()
