"""The programs that take part: what they need, how they are compiled, where netqueue is."""
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

BENCH = pathlib.Path(__file__).resolve().parent.parent
TREE = BENCH.parent
ICEORYX = "/usr/include/iceoryx/v2.0.3"  # its headers
SHM = TREE / "plugins/shm"  # whose ring raw_shm measures


@dataclasses.dataclass
class Rival:
    """A C program of ours that uses a library, or a program of a package that a script of ours
    starts, so that all have the same options and print the same line."""
    source: str  # below bench/
    packages: str = ""
    needs: str = ""  # the header, or the command, that tells whether they are there
    flags: tuple = ()
    reads: tuple = ()  # files that it is compiled of, beside the common ones

    def is_script(self):
        return not self.source.endswith(".c")

    def is_there(self):
        if not self.needs:
            return True
        if self.is_script():
            return shutil.which(self.needs) is not None
        return any((pathlib.Path(top) / self.needs).exists()
                   for top in ("/usr/include", "/usr/local/include"))


RIVALS = {
    "raw": Rival("raw_tcp.c"),
    "unix": Rival("raw_tcp.c"),
    "raw_shm": Rival("raw_shm.c", flags=(f"-I{TREE}", str(SHM / "shm_ring.c")),
                     reads=(SHM / "shm_ring.c", *sorted(SHM.glob("shm_*.h")))),
    "futex": Rival("raw_shm.c", flags=(f"-I{TREE}", str(SHM / "shm_ring.c"))),
    "raw_tls": Rival("raw_tls.c", "libssl-dev", "openssl/ssl.h", ("-lssl", "-lcrypto")),
    "raw_grpc": Rival("raw_grpc.c", "libgrpc-dev", "grpc/grpc.h", ("-lgrpc", "-lgpr")),
    "paho": Rival("paho.c", "libpaho-mqtt-dev", "MQTTAsync.h", ("-lpaho-mqtt3as", "-lpthread")),
    "zmq": Rival("zmq.c", "libzmq3-dev", "zmq.h", ("-lzmq",)),
    "nng": Rival("nng.c", "libnng-dev", "nng/nng.h", ("-lnng", "-lpthread")),
    "nano": Rival("nano.c", "libnanomsg-dev", "nanomsg/nn.h", ("-lnanomsg",)),
    "ucx": Rival("ucx", "ucx-utils", "ucx_perftest"),
    "iperf": Rival("iperf", "iperf3", "iperf3"),
    "iceoryx": Rival("iceoryx.c", "iceoryx libiceoryx-binding-c-dev",
                     f"{ICEORYX}/iceoryx_binding_c/runtime.h",
                     ("-isystem", ICEORYX, "-liceoryx_binding_c")),
}


def note(text):
    print(text, file=sys.stderr, flush=True)


def install_missing(allowed):
    missing = [package for rival in RIVALS.values() if not rival.is_there()
               for package in rival.packages.split()]
    missing += [] if shutil.which("gnuplot") else ["gnuplot-nox"]
    if not missing or not allowed or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    note("installing " + " ".join(missing))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-qq", "-y"]
    subprocess.run(apt + ["update"], env=env, stdout=sys.stderr, check=False)
    # One by one: a package that this release does not have keeps no other from being installed.
    for package in missing:
        subprocess.run(apt + ["install", "--no-install-recommends", package], env=env,
                       stdout=sys.stderr, check=False)


def build_rival(rival, out):
    """The program, compiled unless it is newer than all it is made of.  None: that fails."""
    if rival.is_script():
        return BENCH / rival.source
    target = out / rival.source.removesuffix(".c")
    files = [BENCH / rival.source, BENCH / "report.c", BENCH / "pair.c"]
    reads = [*files, BENCH / "report.h", BENCH / "pair.h", *rival.reads]
    newest = max(file.stat().st_mtime for file in reads)
    if target.exists() and target.stat().st_mtime >= newest:
        return target
    command = [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2",
               *map(str, files), "-o", str(target), *rival.flags]
    return target if subprocess.run(command, check=False).returncode == 0 else None


def build_rivals(out):
    """Compile what can be compiled.  @return {name: program}, {name: why it is absent}"""
    out.mkdir(parents=True, exist_ok=True)
    built, absent = {}, {}
    for name, rival in RIVALS.items():
        if not rival.is_there():
            absent[name] = f"not installed (Debian: {rival.packages})"
            continue
        program = build_rival(rival, out)
        if program:
            built[name] = program
        else:
            absent[name] = f"bench/{rival.source} does not compile here"
    return built, absent


OWN = ("peers", "beside")  # of bench/, that use the library


def build_own(build):
    """Those, which are the build tree's.  @return {name: path}, {name: why not}"""
    names = [f"bench/{name}" for name in OWN]
    if not (build / "Makefile").exists():
        return {}, {name: f"{build} is no configured build tree" for name in OWN}
    done = subprocess.run(["make", "-s", "-C", str(build), *names], stdout=sys.stderr, check=False)
    if done.returncode:
        return {}, {name: "it does not compile here" for name in OWN}
    return {name: build / f"bench/{name}" for name in OWN}, {}


def versions():
    """{package: version} of those that the rivals come from."""
    names = sorted({package for rival in RIVALS.values() for package in rival.packages.split()})
    if not shutil.which("dpkg-query"):
        return {}
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names],
                           capture_output=True, text=True, check=False)
    return dict(line.split(" ", 1) for line in asked.stdout.splitlines() if " " in line.strip())


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


def version_of(netqueue):
    if not netqueue:
        return "netqueue not found"
    asked = subprocess.run([str(netqueue), "--version"], env=environment(netqueue),
                           capture_output=True, text=True, check=False)
    return (asked.stdout.strip().splitlines() or ["unknown"])[0]
