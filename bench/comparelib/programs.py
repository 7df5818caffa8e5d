"""The programs that take part: what they need, how they are compiled, where netqueue is."""
import os
import pathlib
import shutil
import subprocess
import sys

BENCH = pathlib.Path(__file__).resolve().parent.parent
TREE = BENCH.parent
ICEORYX = "iceoryx/v2.0.3"  # its headers, below /usr/include

RIVALS = {  # name: (source, header that must be there, package, libraries)
    "raw": ("raw_tcp.c", None, None, []),
    "unix": ("raw_tcp.c", None, None, []),
    "raw_tls": ("raw_tls.c", "openssl/ssl.h", "libssl-dev", ["-lssl", "-lcrypto"]),
    "zmq": ("zmq.c", "zmq.h", "libzmq3-dev", ["-lzmq"]),
    "nng": ("nng.c", "nng/nng.h", "libnng-dev", ["-lnng", "-lpthread"]),
    "paho": ("paho.c", "MQTTAsync.h", "libpaho-mqtt-dev", ["-lpaho-mqtt3as", "-lpthread"]),
    "raw_grpc": ("raw_grpc.c", "grpc/grpc.h", "libgrpc-dev", ["-lgrpc", "-lgpr"]),
    "raw_shm": ("raw_shm.c", None, None, []),
    "iceoryx": ("iceoryx.c", f"{ICEORYX}/iceoryx_binding_c/runtime.h",
                "iceoryx libiceoryx-binding-c-dev", ["-liceoryx_binding_c"]),
}

MORE = {"raw_shm.c": [f"-I{TREE}", str(TREE / "plugins/shm/shm_ring.c")],
        "iceoryx.c": ["-isystem", f"/usr/include/{ICEORYX}"]}  # to compile it
READS = {"raw_shm.c": sorted((TREE / "plugins/shm").glob("shm_*.h"))}  # beside its own headers


OURS = ("netqueue", "base")  # the library's own command, of this build and of another


def note(text):
    print(text, file=sys.stderr, flush=True)


def has_header(header):
    return header is None or any((pathlib.Path(top) / header).exists()
                                 for top in ("/usr/include", "/usr/local/include"))


def install_missing(allowed):
    missing = [package for _, header, packages, _ in RIVALS.values() if not has_header(header)
               for package in packages.split()]
    if not missing or not allowed or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    note("installing " + " ".join(missing))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-qq", "-y"]
    subprocess.run(apt + ["update"], env=env, stdout=sys.stderr, check=False)
    subprocess.run(apt + ["install", "--no-install-recommends"] + missing, env=env,
                   stdout=sys.stderr, check=False)


def build_rivals(out):
    """Compile what can be compiled; {name: program}."""
    out.mkdir(parents=True, exist_ok=True)
    flags = [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2"]
    built = {}
    for name, (source, header, package, libs) in RIVALS.items():
        if not has_header(header):
            note(f"{name} is left out: {package} is not installed")
            continue
        files = [BENCH / source, BENCH / "report.c", BENCH / "pair.c"]
        target = out / source.removesuffix(".c")
        reads = [BENCH / "report.h", BENCH / "pair.h", *READS.get(source, []),
                 *(pathlib.Path(word) for word in MORE.get(source, []) if word.endswith(".c"))]
        newest = max(file.stat().st_mtime for file in files + reads)
        if not target.exists() or target.stat().st_mtime < newest:
            subprocess.run(flags + [*map(str, files), *MORE.get(source, []), "-o", str(target),
                                    *libs], check=True)
        built[name] = target
    return built


def find_netqueue(given, build):
    if given:
        found = shutil.which(given)
        if not found:
            sys.exit(f"compare: {given}: no such program")
        return pathlib.Path(found)
    for place in (build / "tools/netqueue", TREE / "tools/netqueue"):
        if os.access(place, os.X_OK) and place.is_file():
            return place
    found = shutil.which("netqueue")
    if not found:
        note("netqueue is left out: not built and not installed (--netqueue PATH names it)")
    return pathlib.Path(found) if found else None


def environment(netqueue):
    """A program of a build tree takes the transports that were built beside it, and no others:
    of two builds each has its own."""
    env = dict(os.environ, LC_ALL="C")
    if netqueue:
        plugins = netqueue.resolve().parent.parent / "plugins"
        folders = sorted(str(path) for path in plugins.glob("*/.libs"))
        if folders:
            env["NETQUEUE_PLUGIN_PATH"] = ":".join(folders)
    return env


def has_transport(netqueue, name):
    if not netqueue:
        return False
    asked = subprocess.run([str(netqueue), "transports", name], env=environment(netqueue),
                           capture_output=True, check=False)
    return asked.returncode == 0
