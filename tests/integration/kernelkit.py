"""A stock Debian kernel in QEMU, with the kernel's own I2C bus: one Python program run on it, and what it said.

The guest sees this machine's files read-only over 9p, so it runs this interpreter and this checkout. It is emulated
(TCG), because not every machine that runs tests lets them virtualise.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
_BOOT_S: Final = 240
# In the order in which they need each other; what a kernel has built in, or does not know, is left out.
_MODULES: Final = (
    *("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"),
    *("netfs", "fscache", "9pnet", "9pnet_virtio", "9p", "i2c-dev", "i2c-stub"),
)
_INIT: Final = """#!/busybox sh
/busybox mount -t proc proc /proc
/busybox mount -t devtmpfs dev /dev
for module in {modules}; do
  case $module in
    i2c-stub) options=chip_addr={addresses} ;;
    *) options= ;;
  esac
  [ ! -e /modules/$module.ko ] || /busybox insmod /modules/$module.ko $options
done
/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144 hostroot /host &&
/busybox mount -t proc proc /host/proc &&
/busybox mount -t sysfs sys /host/sys &&
/busybox mount -t devtmpfs dev /host/dev &&
/busybox mount -t tmpfs tmp /host/tmp.guest 2>/dev/null
/busybox chroot /host /usr/bin/env -i HOME=/ LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={path} \\
  {python} {program} >/dev/ttyS1 2>/dev/ttyS0
/busybox poweroff -f
"""


class NoKernelError(Exception):
    """There is no kernel here that the trial could boot; the text says how to come by one."""


def find_kernel() -> tuple[Path, Path]:
    """Return a kernel and its modules' directory, from $TOCSIN_KERNEL (a package's unpacked files) or this machine."""
    given = os.environ.get("TOCSIN_KERNEL")
    root = Path(given) if given else Path("/")
    for modules in sorted((root / "lib/modules").glob("*"), reverse=True):
        kernel = root / "boot" / f"vmlinuz-{modules.name}"
        if kernel.is_file() and os.access(kernel, os.R_OK) and any(modules.rglob("i2c-stub.ko*")):
            return kernel, modules
    raise NoKernelError(
        f"no kernel with i2c-stub in {root} (apt-get download the linux-image-…-amd64 that linux-image-amd64 names,"
        " not a cloud one; dpkg-deb -x it to a directory; set TOCSIN_KERNEL to that)"
    )


def run_in_guest(
    qemu: Path, busybox: Path, program: Path, addresses: tuple[int, ...], work: Path
) -> list[dict[str, Any]]:
    """Boot, run a Python program on the guest's I2C stub bus, and return the JSON objects it printed, one a line.

    Args:
        addresses: of the stub's chips.
        work: where the initial file system and the consoles go.
    """
    kernel, modules = find_kernel()
    image, console, said = work / "initramfs.gz", work / "console.log", work / "said.log"
    init = _INIT.format(
        modules=" ".join(_MODULES),
        addresses=",".join(map(hex, addresses)),
        path=ROOT,
        python=sys.executable,
        program=program,
    )
    image.write_bytes(gzip.compress(_archive(dict(_files(busybox, modules)), init), 1))
    command = [
        *(str(qemu), "-accel", "tcg", "-cpu", "max", "-m", "768", "-smp", "2", "-no-reboot", "-nodefaults"),
        *("-display", "none", "-net", "none", "-kernel", str(kernel), "-initrd", str(image)),
        *("-append", "console=ttyS0 quiet panic=1"),
        *("-serial", f"file:{console}", "-serial", f"file:{said}"),
        *("-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=root,mount_tag=hostroot"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_BOOT_S)
    lines = said.read_text(errors="replace").splitlines() if said.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        log = console.read_text(errors="replace") if console.exists() else ""
        raise AssertionError("\n".join(["the guest failed:", result.stderr, *lines, log[-3000:]])) from None


def _files(busybox: Path, modules: Path) -> Iterator[tuple[str, bytes]]:
    yield "busybox", busybox.read_bytes()
    for name in _MODULES:
        for path in modules.rglob(f"{name}.ko*"):
            data = path.read_bytes()
            yield f"modules/{name}.ko", lzma.decompress(data) if path.suffix == ".xz" else data


def _archive(files: dict[str, bytes], init: str) -> bytes:
    """Return a cpio archive (format "newc") of the guest's first files."""
    entries = [(name, 0o040755, b"") for name in ("dev", "proc", "host", "modules")]
    entries += [(name, 0o100755, data) for name, data in files.items()]
    entries += [("init", 0o100755, init.encode()), ("TRAILER!!!", 0, b"")]
    out = bytearray()
    for number, (name, mode, data) in enumerate(entries):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)
