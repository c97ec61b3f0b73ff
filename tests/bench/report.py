"""The table, and the comparison with an earlier run."""

import statistics

MIB = 1 << 20
GIB = 1 << 30
LARGE = (("read", "read 1 file", 1), ("read3", "read 3 files at once", 3),
         ("write", "write + fsync + close", 1))


def median(runs, what):
    return statistics.median(what(r) for r in runs)


def spread(runs, what):
    values = [what(r) for r in runs]
    return f"{min(values):.0f}-{max(values):.0f}"


def line(*cells, widths=(26, 8, 12, 10, 7, 26, 8, 28)):
    print("".join(f"{str(c):<{w}}" for c, w in zip(cells, widths)).rstrip())


def requests(counts, per=1.0):
    """ "GET 64 PUT 1", or the mean for each of `per` pieces of work."""
    if per == 1:
        return " ".join(f"{k} {v}" for k, v in sorted(counts.items())) or "none"
    return " ".join(f"{k} {v / per:.2f}" for k, v in sorted(counts.items())
                    if v / per >= 0.005) or "none"


def others(runs):
    """A warning where the figures are not to be trusted."""
    return f"   !! others took {runs['others']:.0%} of the CPUs" if runs["others"] > 0.1 else ""


def show_memory(m):
    idle = sum(m["idle"]["pss"].values())
    cost = m["idle"]["cost"]
    print("\nMEMORY, MiB" + " " * 17 + "PSS  held in memfds, mapped or not")
    parts = "  ".join(f"{k} {v / MIB:.1f}" for k, v in sorted(m["idle"]["pss"].items()))
    print(f"  {'idle':<22}{idle / MIB:7.1f}{m['idle']['memfds'] / MIB:9.1f}   ({parts})"
          f"{'' if idle <= 16 * MIB else '   OVER 16'}")
    for key, name in (("read", "peak, read 1 file"), ("read3", "peak, read 3 files"),
                      ("write", "peak, write")):
        p = m["peak"][key]
        print(f"  {name:<22}{p['pss'] / MIB:7.1f}{p['memfds'] / MIB:9.1f}")
    print(f"  {'afterwards':<22}{m['after']['pss'] / MIB:7.1f}{m['after']['memfds'] / MIB:9.1f}")
    print(f"  idle: {cost['cpu_s'] / cost['seconds'] * 1000:.2f} CPU ms per s, "
          f"S3 requests: {requests(cost['s3'])}")


def show_large(results, size):
    print(f"\nTHROUGHPUT, {size >> 20} MiB a file")
    line("", "MiB/s", "(range)", "curl", "ratio", "CPU s/GiB (user+system)", "curl's",
         "requests of a run")
    for part, name, files in LARGE:
        if part not in results:
            continue
        mount, curl = results[part]["mount"], results[part]["curl"]
        total = size * files

        def rate(r):
            return total / MIB / r["seconds"]

        cpu = median(mount, lambda r: r["cpu_s"]) * GIB / total
        user = median(mount, lambda r: r["user_s"]) * GIB / total
        system = median(mount, lambda r: r["system_s"]) * GIB / total
        fuse = {k: v for k, v in mount[-1]["fuse"].items() if k in ("READ", "WRITE")}
        line(name, f"{median(mount, rate):.0f}", spread(mount, rate), f"{median(curl, rate):.0f}",
             f"{median(mount, rate) / median(curl, rate):.2f}",
             f"{cpu:.2f} ({user:.2f}+{system:.2f})",
             f"{median(curl, lambda r: r['cpu_s']) * GIB / total:.2f}",
             f"{requests(fuse)}; S3: {requests(mount[-1]['s3'])}{others(results[part])}")


def show_link(ways):
    print("\nA LINK with 20 ms and 50 MiB/s a connection")
    for name, runs in ways.items():
        m = runs["mount"]
        rates = [f"{m['wanted'] / MIB / m['seconds']:7.1f} MiB/s"]
        rates += [f"{who} {m['wanted'] / MIB / runs[who]['seconds']:.1f}"
                  for who in ("curl 1", "curl 8") if who in runs]
        print(f"  {name:<24}{', '.join(rates):<44}received / wanted "
              f"{m['received'] / m['wanted']:.3f}   S3: {requests(m['s3'])}")


def show_hot(hot):
    print("\nHOT, open + read + close of one file of 4 KiB within cache.open_ttl, microseconds")
    for name, t in hot.items():
        print(f"  {name:<24}p50 {t['p50']:7.1f}   p99 {t['p99']:7.1f}")


def show_syscalls(calls, size):
    print("\nSYSTEM CALLS per MiB")
    for part, counts in calls.items():
        most = sorted(counts.items(), key=lambda x: -x[1])[:9]
        print(f"  {part:<8}{sum(counts.values()) * MIB / size:7.1f}   "
              + "  ".join(f"{k} {v * MIB / size:.1f}" for k, v in most))


def show_small(small, files):
    print(f"\nSMALL FILES, 4 KiB, one after the other, {files} a run")
    line("", "per s", "(range)", "curl", "ratio", "CPU ms each", "curl's", "requests each")
    for key, name in (("open+read", "open + read + close"), ("create", "create + fsync + close"),
                      ("create, known", "... in a known directory")):
        mount, curl = small[key]["mount"], small[key]["curl"]

        def rate(r):
            return files / r["seconds"]

        user = median(mount, lambda r: r["user_s"]) * 1000 / files
        system = median(mount, lambda r: r["system_s"]) * 1000 / files
        line(name, f"{median(mount, rate):.0f}", spread(mount, rate), f"{median(curl, rate):.0f}",
             f"{median(mount, rate) / median(curl, rate):.2f}",
             f"{median(mount, lambda r: r['cpu_s']) * 1000 / files:.2f} ({user:.2f}+{system:.2f})",
             f"{median(curl, lambda r: r['cpu_s']) * 1000 / files:.2f}",
             f"S3: {requests(mount[-1]['s3'], files)}; {requests(mount[-1]['fuse'], files)}"
             f"{others(small[key])}")


def show_ls(ls):
    print("\nLISTINGS")
    line("", "s", "again, s", "bare LIST", "ratio", "CPU s (again)", "", "requests")
    for key, both in ls.items():
        mount, bare = both["mount"], both["curl"]
        cold = median(mount, lambda r: r["cold"]["seconds"])
        base = median(bare, lambda r: r["seconds"])
        line(key, f"{cold:.3f}", f"{median(mount, lambda r: r['again']['seconds']):.3f}",
             f"{base:.3f}", f"{cold / base:.2f}",
             f"{median(mount, lambda r: r['cold']['cpu_s']):.3f} "
             f"({median(mount, lambda r: r['again']['cpu_s']):.3f})", "",
             f"S3: {requests(mount[-1]['cold']['s3'])}; {requests(mount[-1]['cold']['fuse'])}")


def show_trips(trips):
    print("\nREQUESTS / ROUND TRIPS, of single operations on a fresh mount, 20 ms a request")
    for name, t in trips.items():
        received = f" ({t['received'] / 1e6:.2f} MB)" if t["received"] > 1e6 else ""
        print(f"  {name:<28}{t['requests']:3d} / {t['trips']:<7.2f}"
              f"{requests(t['counts'])}{received}")


def show(results, size, files):
    m = results["machine"]
    print(f"{m['cpus']} CPUs, shared with server and programs; load before: {m['load_before']}; "
          f"workers: {m['settings']['workers']}, memory.limit: {m['settings']['memory']}")
    if "memory" in results:
        show_memory(results["memory"])
    if any(part in results for part, *_ in LARGE):
        show_large(results, size)
    if "syscalls" in results.get("memory", {}):
        show_syscalls(results["memory"]["syscalls"], size)
    if "link" in results:
        show_link(results["link"])
    if "hot" in results:
        show_hot(results["hot"])
    if "small" in results:
        show_small(results["small"], files)
    if "ls" in results:
        show_ls(results["ls"])
    if "trips" in results:
        show_trips(results["trips"])
    if results.get("locks"):
        print("\nLOCKS, ns")
        for name, ns in results["locks"].items():
            print(f"  {name:<30}{ns:7.1f}")


# -- comparing


def figures(results):
    """{name: number}: what is comparable."""
    out = {}
    memory = results.get("memory")
    if memory:
        out["PSS idle, MiB"] = sum(memory["idle"]["pss"].values()) / MIB
        for key, peak in memory["peak"].items():
            out[f"PSS peak, {key}, MiB"] = peak["pss"] / MIB
    sides = {part: results[part] for part, *_ in LARGE if part in results}
    sides.update(results.get("small", {}))
    for name, both in sides.items():
        seconds = median(both["mount"], lambda r: r["seconds"])
        out[f"{name}, time / curl's"] = seconds / median(both["curl"], lambda r: r["seconds"])
        out[f"{name}, CPU s"] = median(both["mount"], lambda r: r["cpu_s"])
        out[f"{name}, S3 requests"] = sum(both["mount"][-1]["s3"].values())
    for name, both in results.get("ls", {}).items():
        out[f"{name}, s"] = median(both["mount"], lambda r: r["cold"]["seconds"])
        out[f"{name}, CPU s"] = median(both["mount"], lambda r: r["cold"]["cpu_s"])
    for name, t in results.get("trips", {}).items():
        out[f"{name}, requests"] = t["requests"]
        out[f"{name}, round trips"] = t["trips"]
    return out


def compare(old, new):
    print(f"\nAGAINST {old['machine']['time']}" + " " * 17 + "before       now    factor")
    before, now = figures(old), figures(new)
    for name in now:
        if name in before and before[name]:
            print(f"  {name:<34}{before[name]:10.3f}{now[name]:10.3f}"
                  f"{now[name] / before[name]:10.2f}")
