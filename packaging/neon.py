#!/usr/bin/env python3
"""Shows that loops of our own are vectorised on arm64.

    packaging/neon.py OBJDUMP PROGRAM

Disassembles the operators of `src/backend/tract` and counts arithmetic on four floats at a time
(NEON) and on single ones. Fails where none of an operator is on four. The names are those of
functions; what is inlined counts for the caller.
"""

import re
import subprocess
import sys

# Functions that hold the inner loops. A closure or an instance of a generic function counts too.
LOOPS = {
    "direct convolution": r"tract::(direct_conv|weighted_sum)::",
    "matrix times vector": r"tract::matrix_vector::",
}
VECTOR = re.compile(r"\t(fmla|fmul|fadd|fmax|fmin|fmaxnm|fminnm)\tv\d+\.4s")
SCALAR = re.compile(r"\t(fmadd|fmul|fadd|fmax|fmin|fmaxnm|fminnm)\ts\d+,")


def main():
    objdump, program = sys.argv[1:]
    text = subprocess.run([objdump, "--disassemble", "--demangle", "--no-show-raw-insn", program],
                          check=True, stdout=subprocess.PIPE, text=True).stdout
    counts = {name: [0, 0, 0] for name in LOOPS}
    current = None
    for line in text.splitlines():
        if line.endswith(">:"):
            current = next((name for name, pattern in LOOPS.items()
                            if re.search(pattern, line)), None)
        elif current:
            counts[current][0] += "\tfmla\t" in line and ".4s" in line
            counts[current][1] += bool(VECTOR.search(line))
            counts[current][2] += bool(SCALAR.search(line))
    for name, (fused, vector, scalar) in counts.items():
        print(f"{name:22} {vector:5} on four floats ({fused} fused multiply-adds), "
              f"{scalar} on one")
    plain = [name for name, (_, vector, _) in counts.items() if vector == 0]
    if plain:
        sys.exit(f"not vectorised: {', '.join(plain)}")


if __name__ == "__main__":
    main()
