"""The machine: what it is, where programs run on it, and what else it does."""
import os
import pathlib
import platform
import resource
import shutil
import subprocess
import time

QUIET = 0.05  # of the processors: above it, figures decide nothing
CPUS = pathlib.Path("/sys/devices/system/cpu")


# ---- placement ----------------------------------------------------------------------------

def cpu_list(text):
    """{CPU} of "0-2,5"."""
    cpus = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return cpus


def siblings(cpu):
    """The CPUs of the same core."""
    try:
        return cpu_list((CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text("ascii"))
    except (OSError, ValueError):
        return {cpu}


def choose_pins(allowed, siblings_of=siblings):
    """(CPU of the receiving process, CPU of the other): two cores where there are two."""
    allowed = sorted(allowed)
    first = allowed[0]
    cores = [cpu for cpu in allowed if cpu not in siblings_of(first)]
    others = cores or [cpu for cpu in allowed if cpu != first]
    return first, others[0] if others else first


def placement_text(pins):
    if not pins:
        return "wherever the scheduler puts them"
    if pins[0] == pins[1]:
        return f"both on CPU {pins[0]}"
    shared = ", two threads of one core" if pins[1] in siblings(pins[0]) else ""
    return (f"the receiving or answering process on CPU {pins[0]}, the other on CPU {pins[1]}"
            f"{shared}; their threads with them")


# ---- what it is -----------------------------------------------------------------------------

def read(path, default="unknown"):
    try:
        return pathlib.Path(path).read_text("utf-8").strip()
    except OSError:
        return default


def cpu_info(name, default):
    for line in read("/proc/cpuinfo").splitlines():
        if line.startswith(name):
            return line.split(":", 1)[1].strip()
    return default


def hypervisor():
    """Its name as far as the guest can tell; "none" on bare metal."""
    if "hypervisor" not in cpu_info("flags", "").split():
        return "none"
    names = [read(f"/sys/class/dmi/id/{name}", "") for name in ("sys_vendor", "product_name")]
    if shutil.which("systemd-detect-virt"):
        asked = subprocess.run(["systemd-detect-virt", "--vm"], capture_output=True, text=True,
                               check=False)
        names.insert(0, asked.stdout.strip())
    return " ".join(name for name in names if name and name != "none") or "unknown"


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def compiler():
    asked = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True,
                           text=True, check=False)
    return (asked.stdout.splitlines() or ["unknown"])[0]


def facts(pins):
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(), "cpu": cpu_info("model name", platform.machine()),
        "cpus": os.cpu_count(), "memory_bytes": memory_bytes(), "hypervisor": hypervisor(),
        "congestion": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "governor": read(CPUS / "cpu0/cpufreq/scaling_governor", "not the guest's"),
        "compiler": compiler(), "pins": list(pins) if pins else None,
        "placement": placement_text(pins), "load_before": round(os.getloadavg()[0], 2),
    }


# ---- what else it does ----------------------------------------------------------------------

def cpu_of(pid):
    """Seconds of processor time of a process that is no child of ours to wait for yet."""
    fields = read(f"/proc/{pid}/stat", "").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else 0


def times(daemons=()):
    """Seconds since boot: of all processors, stolen by the host, busy, busy for our runs.
    @param daemons  processes that serve them"""
    ticks = [int(word) for word in read("/proc/stat").splitlines()[0].split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = (
        tick / os.sysconf("SC_CLK_TCK") for tick in ticks)
    busy = user + nice + system + irq + softirq
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    served = sum(cpu_of(pid) for pid in daemons)
    return busy + idle + iowait + steal, steal, busy, ours.ru_utime + ours.ru_stime + served


def shares(before, after):
    """What the host took and what other work took meanwhile, as shares of the processors."""
    total, steal, busy, ours = (b - a for a, b in zip(before, after))
    total = max(total, 0.01)
    return {"steal": round(steal / total, 3), "foreign": round(max(0, busy - ours) / total, 3)}


def quiet(records):
    """How much of the machine was not ours, over all runs; None without any."""
    if not records:
        return None
    said = {}
    for key in ("foreign", "steal"):
        ordered = sorted(record["result"][key] for record in records)
        said[key] = {"median": ordered[len(ordered) // 2], "worst": ordered[-1]}
    said["quiet"] = all(said[key]["median"] <= QUIET for key in ("foreign", "steal"))
    return said
