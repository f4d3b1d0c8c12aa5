"""A benchmark in a network namespace of its own, with nothing in it but the loopback."""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

MARK = "GRAYGATE_BENCHMARK_HAS_NO_NETWORK"
NAMESPACES = (["--net"], ["--net", "--map-root-user"])
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
REQUEST = struct.Struct("16sh22x")


def leave_network() -> None:
    """Start this program again without a network, where that is allowed; return where it is not, or was done."""
    if MARK in os.environ:
        _raise_loopback()
        return
    if shutil.which("unshare") is None:
        return
    for options in NAMESPACES:
        if subprocess.run(["unshare", *options, "true"], capture_output=True, check=False).returncode == 0:
            os.environ[MARK] = "1"
            os.execvp("unshare", ["unshare", *options, sys.executable, *sys.orig_argv[1:]])


def network() -> str:
    """What this process can reach: "none" with the loopback alone."""
    return "none" if [name for _, name in socket.if_nameindex()] == ["lo"] else "this machine's"


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        _, flags = REQUEST.unpack(fcntl.ioctl(any_socket, SIOCGIFFLAGS, REQUEST.pack(b"lo", 0)))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, REQUEST.pack(b"lo", flags | IFF_UP))
