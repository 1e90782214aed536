#!/usr/bin/env python3
"""Compiles src/template/restorer.c into one flat piece of position-independent code and writes it as a C array.

    embed-restorer.py SOURCE.C SCRIPT.LD INCLUDE_DIR OUTPUT.H COMPILER...

Fails when the piece needs relocations, has data of its own or is larger than a restorer may be.
"""
import pathlib
import subprocess
import sys
import tempfile

MAX_BYTES = 8192
FLAGS = ["-std=gnu17", "-Os", "-fPIC", "-fvisibility=hidden", "-ffreestanding", "-fno-builtin", "-fno-stack-protector",
         "-fcf-protection=none", "-mgeneral-regs-only", "-fno-asynchronous-unwind-tables", "-fno-jump-tables", "-nostdlib", "-static",
         "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none"]


def main():
    source, script, include, output, *compiler = sys.argv[1:]
    # Clang knows it by another name, and turns loops into calls of memset() only where there is one.
    more = ["-fno-tree-loop-distribute-patterns"] if "clang" not in " ".join(compiler) else []
    with tempfile.TemporaryDirectory() as folder:
        elf, flat = f"{folder}/restorer.elf", f"{folder}/restorer.bin"
        subprocess.run([*compiler, *FLAGS, *more, "-I", include, f"-Wl,-T,{script}", "-o", elf, source], check=True)
        left = subprocess.run(["readelf", "-rW", elf], check=True, capture_output=True, text=True).stdout
        if "There are no relocations" not in left:
            sys.exit(f"{source}: needs relocations:\n{left}")
        subprocess.run(["objcopy", "-O", "binary", elf, flat], check=True)
        code = pathlib.Path(flat).read_bytes()
    if not 0 < len(code) <= MAX_BYTES:
        sys.exit(f"{source}: {len(code)} bytes of code, {MAX_BYTES} are allowed")
    lines = ["/* Made by embed-restorer.py from restorer.c. */", f"static const unsigned char template_restorer[{len(code)}] = {{"]
    for at in range(0, len(code), 16):
        lines.append("    " + ", ".join(f"0x{byte:02x}" for byte in code[at:at + 16]) + ",")
    pathlib.Path(output).write_text("\n".join(lines) + "\n};\n")


if __name__ == "__main__":
    main()
